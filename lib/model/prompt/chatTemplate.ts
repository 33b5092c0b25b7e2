import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { CaracalError, shown, throwIfAborted } from "../../errors.js";
import { checkOptionNames, onAbort } from "../../options.js";

/** Limits of the rendering of a chat template. */
export interface RenderOptions {
  /** Longest time in milliseconds. Default 5000. */
  readonly timeLimit?: number | undefined;
  /** Most memory in MiB. Default 128. */
  readonly memoryLimit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}
const renderOptions = {
  timeLimit: true,
  memoryLimit: true,
  signal: true,
} satisfies Record<keyof RenderOptions, true>;

export interface ChatTemplate {
  readonly template: string;
  /** Variables whose values may become control tokens. */
  readonly tokens: Readonly<Record<string, string>>;
  /** The other variables. */
  readonly json: string;
  /** Names of all control tokens. */
  readonly names: Iterable<string>;
  /** Names the template in errors. */
  readonly file: string;
}

/** The most UTF-16 units that a template may write. */
const maxCharacters = 2 ** 24;

// A template runs nothing, but it can loop for ever or fill the memory, and the library reads it with expressions. So a
// thread of its own renders it and looks for names, which can be ended. It is a string because a file would have to
// exist twice: compiled, and as TypeScript for the tests.
const program = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { library, template, tokens, json, firsts, names, mark, maxCharacters } = workerData;
  import(library).then(({ Template }) => {
    const first = new RegExp(firsts, "gu");
    const marked = (_, value) => typeof value === "string" ? value.replace(first, (letter) => letter + mark) : value;
    const variables = { ...tokens, ...JSON.parse(json, marked) };
    const text = new Template(template).render(variables);
    if (text.length > maxCharacters) throw new Error("it writes " + text.length + " characters");
    parentPort.postMessage(text.split(new RegExp(names, "u")).map((piece) => piece.replaceAll(mark, "")));
  });
`;

/**
 * Renders a Jinja template on another thread, and cuts the result at the names of control tokens that the template
 * wrote. Names in the variables stay text: a mark after each character with which a name begins hides them until the
 * result is cut.
 *
 * `@huggingface/jinja` is not Python's Jinja2 in everything: see `OmniTokenizer.renderChat`. Numbers of rounds and
 * `tojson` come out alike.
 *
 * @returns text and names in turn
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the template fails, takes too long or too much memory, or writes more
 *   than 2^24 characters; `ABORTED`; `INVALID_ARGUMENT` when an option is unknown or out of range;
 *   `MISSING_TOOL` when `@huggingface/jinja` is not found
 */
export async function renderTemplate(
  { template, tokens, json, names, file }: ChatTemplate,
  options: RenderOptions = {},
): Promise<string[]> {
  checkOptionNames("renderChat", options, renderOptions);
  throwIfAborted(options.signal, "rendering the chat template");
  const longestFirst = [...names].sort((a, b) => b.length - a.length);
  const mark = unusedCharacter(template, json, ...longestFirst, ...Object.values(tokens));
  const firsts = `[${longestFirst.map((name) => literal([...name][0]!)).join("")}]`;
  const pattern = `(${longestFirst.map(literal).join("|")})`;
  const data = { library: findJinja(), template, tokens, json, firsts, names: pattern, mark, maxCharacters };
  return runProgram(data, file, options);
}

async function runProgram(data: object, file: string, options: RenderOptions): Promise<string[]> {
  const { timeLimit = 5000, memoryLimit = 128, signal } = options;
  checkLimit("timeLimit", timeLimit);
  checkLimit("memoryLimit", memoryLimit);
  const worker = startWorker(data, memoryLimit);
  let timer: NodeJS.Timeout | undefined;
  let stopListening = () => {};
  try {
    return await new Promise<string[]>((resolve, reject) => {
      const fail = (problem: string, cause?: unknown) => reject(failure(file, problem, cause));
      worker.once("message", resolve);
      worker.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "ERR_WORKER_OUT_OF_MEMORY") fail(`it needs more than ${memoryLimit} MiB (memoryLimit)`);
        else fail(String(error?.message ?? error).slice(0, 200), error);
      });
      worker.once("exit", () => fail("its thread ended"));
      timer = setTimeout(() => fail(`it takes longer than ${timeLimit} ms (timeLimit)`), timeLimit);
      const stop = () => reject(new CaracalError("ABORTED", "rendering was aborted", {}, { cause: signal?.reason }));
      stopListening = onAbort(signal, stop);
    });
  } finally {
    clearTimeout(timer);
    stopListening();
    await worker.terminate();
  }
}

/** The URL of `@huggingface/jinja`, which a bundle must leave outside: another thread loads it. */
function findJinja(): string {
  try {
    // File tracers know import.meta.resolve, which a bundle of CommonJS lacks.
    if (import.meta.url) return import.meta.resolve("@huggingface/jinja");
    return pathToFileURL(createRequire(__filename).resolve("@huggingface/jinja")).href;
  } catch (cause) {
    const message =
      "chat templates need the package @huggingface/jinja, which is not installed beside this program: " +
      "install it, and let a bundler leave it outside";
    throw new CaracalError("MISSING_TOOL", message, { tool: "@huggingface/jinja" }, { cause });
  }
}

function checkLimit(name: string, value: unknown): void {
  if (typeof value === "number" && value > 0 && value < 2 ** 31) return;
  const message = `renderChat: ${name} must be a number above 0 and below 2^31, got ${shown(value)}`;
  throw new CaracalError("INVALID_ARGUMENT", message, { name, value });
}

function startWorker(workerData: object, memoryLimit: number): Worker {
  const resourceLimits = { maxOldGenerationSizeMb: memoryLimit, maxYoungGenerationSizeMb: 16, codeRangeSizeMb: 16 };
  return new Worker(program, { eval: true, workerData, resourceLimits, execArgv: [], env: {} });
}

function failure(file: string, problem: string, cause: unknown): CaracalError {
  const advice = 'use the template "omni", or mend the file';
  return new CaracalError(
    "CHECKPOINT_INVALID",
    `${file}: the chat template fails: ${problem}; ${advice}`,
    { file, problem },
    { cause },
  );
}

const privateUse = /[\uE000-\uF8FF]/g;

/** A character of Unicode's private use area that stands in none of `texts`. */
function unusedCharacter(...texts: readonly string[]): string {
  const [first, end] = [0xe000, 0xf900];
  const used = new Uint8Array(end - first);
  for (const text of texts) for (const [letter] of text.matchAll(privateUse)) used[letter.charCodeAt(0) - first] = 1;
  const free = used.indexOf(0);
  if (free >= 0) return String.fromCharCode(first + free);
  throw new CaracalError("INVALID_ARGUMENT", "the messages use every character of the private use area");
}

/** An expression that matches this text only. */
function literal(text: string): string {
  return Array.from(text, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`).join("");
}
