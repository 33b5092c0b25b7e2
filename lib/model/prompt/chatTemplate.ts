import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { CaracalError, throwIfAborted } from "../../errors.js";
import { checkOptionNames } from "../../options.js";

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

/** The most UTF-16 units that a template may write. */
const maxCharacters = 2 ** 24;

// A template runs nothing, but it can loop for ever or fill the memory, and the library reads it with expressions. So a
// thread of its own renders it, which can be ended. It is a string because a file would have to exist twice: compiled,
// and as TypeScript for the tests.
const program = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { Template } = require(workerData.library);
  const text = new Template(workerData.template).render(workerData.variables);
  if (text.length > workerData.maxCharacters) throw new Error("it writes " + text.length + " characters");
  parentPort.postMessage(text);
`;
const library = createRequire(import.meta.url).resolve("@huggingface/jinja");

/**
 * Renders a Jinja template on another thread. `@huggingface/jinja` is not Python's Jinja2 in everything: it prints
 * `true` for `True` and `2` for `2.0`, and gives `-7 % 3` the sign of −7. The published templates use none of it.
 *
 * @param variables plain data
 * @param file names the template in errors
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the template fails, takes too long or too much memory, or writes more
 *   than 2^24 characters; `ABORTED`; `INVALID_ARGUMENT` when an option is unknown
 */
export async function renderTemplate(
  template: string,
  variables: Readonly<Record<string, unknown>>,
  file: string,
  options: RenderOptions = {},
): Promise<string> {
  checkOptionNames("renderChat", options, renderOptions);
  const { timeLimit = 5000, memoryLimit = 128, signal } = options;
  throwIfAborted(signal, "rendering the chat template");
  const worker = startWorker({ template, variables, library, maxCharacters }, memoryLimit);
  let timer: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  try {
    return await new Promise<string>((resolve, reject) => {
      const fail = (problem: string, cause?: unknown) => reject(failure(file, problem, cause));
      worker.once("message", resolve);
      worker.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "ERR_WORKER_OUT_OF_MEMORY") fail(`it needs more than ${memoryLimit} MiB (memoryLimit)`);
        else fail(String(error?.message ?? error).slice(0, 200), error);
      });
      worker.once("exit", () => fail("its thread ended"));
      timer = setTimeout(() => fail(`it takes longer than ${timeLimit} ms (timeLimit)`), timeLimit);
      stop = () => reject(new CaracalError("ABORTED", "rendering was aborted", {}, { cause: signal?.reason }));
      signal?.addEventListener("abort", stop, { once: true });
    });
  } finally {
    clearTimeout(timer);
    if (stop) signal?.removeEventListener("abort", stop);
    await worker.terminate();
  }
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

/**
 * Keeps the names of control tokens in messages apart from those that the template writes. A mark after each character
 * with which a name begins prevents the names; it is removed once the rendered text has been searched for them.
 */
export class NameMark {
  readonly #mark: string;
  readonly #firsts: RegExp;
  readonly #names: RegExp;

  /** @param text everything that will be rendered */
  constructor(names: Iterable<string>, text: string) {
    const longestFirst = [...names].sort((a, b) => b.length - a.length);
    this.#mark = unusedCharacter(text);
    this.#firsts = new RegExp(`[${longestFirst.map((name) => literal([...name][0]!)).join("")}]`, "gu");
    this.#names = new RegExp(`(${longestFirst.map(literal).join("|")})`, "u");
  }

  add(text: string): string {
    return text.replace(this.#firsts, (character) => character + this.#mark);
  }

  /** Cuts rendered text at the names of control tokens, which get odd positions, and removes the marks. */
  split(rendered: string): string[] {
    return rendered.split(this.#names).map((piece) => piece.replaceAll(this.#mark, ""));
  }
}

/** A character of Unicode's private use area that `text` does not contain. */
function unusedCharacter(text: string): string {
  const used = new Set(text);
  for (let code = 0xe000; code < 0xf900; code++) {
    const character = String.fromCharCode(code);
    if (!used.has(character)) return character;
  }
  throw new CaracalError("INVALID_ARGUMENT", "the messages use every character of the private use area");
}

/** An expression that matches this text only. */
function literal(text: string): string {
  return Array.from(text, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`).join("");
}
