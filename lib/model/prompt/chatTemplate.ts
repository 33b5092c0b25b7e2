import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { CaracalError, shown } from "../../errors.js";
import { untilAborted } from "../../media/input.js";
import { Places } from "../../media/places.js";
import { checkOptionNames, nativeSignal } from "../../options.js";
import { Turns } from "../../turns.js";
import { plainJson } from "./plainJson.js";

/** Limits of the rendering of a chat template. */
export interface RenderOptions {
  /** Longest time in milliseconds, from the start of the rendering itself. Default 5000. */
  readonly timeLimit?: number | undefined;
  /** Most memory in MiB for variables, template and text. Default 128. */
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
  /** The other variables, as plain data. */
  readonly variables: object;
  /** Names of all control tokens. */
  readonly names: Iterable<string>;
  /** Names the template in errors. */
  readonly file: string;
}

/** The most UTF-16 units that a template may write. */
const maxCharacters = 2 ** 24;

// A template runs nothing, but it can loop for ever or fill the memory, and the library reads it with expressions. A
// worker thread would not do: V8 ends the whole process when one value exceeds the limit of a thread's heap by much. So
// a process of its own renders it and looks for names. It keeps the time itself, so that it also ends without its parent.
// Should it crash, no memory is dumped. It is a string because a file would have to exist twice: compiled, and as
// TypeScript for the tests.
const program = `
  try { require("node:fs").writeFileSync("/proc/self/coredump_filter", "0"); } catch {}
  process.once("message", async (data) => {
    const { library, template, tokens, json, firsts, names, mark, maxCharacters, timeLimit } = data;
    const { Template } = await import(library);
    globalThis.render = () => {
      // Replacing millions of letters in one call would take 64 bytes for each.
      const inBlocks = (text, change) => text.replace(/[^]{1,4096}/gu, change);
      const first = new RegExp(firsts, "gu");
      const markBlock = (block) => block.replace(first, "$&" + mark);
      const marked = (_, value) => typeof value === "string" ? inBlocks(value, markBlock) : value;
      const variables = { ...tokens, ...JSON.parse(json, marked) };
      const text = new Template(template).render(variables);
      const unmark = (piece) => inBlocks(piece, (block) => block.split(mark).join(""));
      const pieces = text.split(new RegExp(names, "u")).map(unmark);
      const characters = pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (characters > maxCharacters) throw new Error("it writes " + characters + " characters");
      return pieces;
    };
    try {
      process.send({ pieces: require("node:vm").runInThisContext("render()", { timeout: Math.ceil(timeLimit) }) });
    } catch (error) {
      const late = error?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT";
      const problem = late ? "it takes longer than " + timeLimit + " ms (timeLimit)" : String(error?.message ?? error);
      process.send({ problem: problem.slice(0, 200) });
    }
  });
`;

type Answer = { readonly pieces: string[] } | { readonly problem: string };

/** How many templates are rendered at once. */
const places = new Places(() => 4);

/**
 * Renders a Jinja template in another process, and cuts the result at the names of control tokens that the template
 * wrote. Names in the variables stay text: a mark after each character with which a name begins hides them until the
 * result is cut.
 *
 * `@huggingface/jinja` is not Python's Jinja2 in everything: see `OmniTokenizer.renderChat`. Numbers of rounds and
 * `tojson` come out alike.
 *
 * @returns text and names in turn
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the template fails, takes too long or too much memory, or writes more
 *   than 2^24 characters; `ABORTED`; `INVALID_ARGUMENT` when an option is unknown or out of range, or the variables are
 *   no plain data or too large;
 *   `MISSING_TOOL` when `@huggingface/jinja` or Node.js is not found; `IO_ERROR` when the system starts no process
 */
export async function renderTemplate(
  { template, tokens, variables, names, file }: ChatTemplate,
  options: RenderOptions = {},
): Promise<string[]> {
  checkOptionNames("renderChat", options, renderOptions);
  const { timeLimit = 5000, memoryLimit = 128 } = options;
  checkLimit("timeLimit", timeLimit);
  checkLimit("memoryLimit", memoryLimit);
  const turns = new Turns(during, options.signal);
  const json = await turns.during(plainJson(variables, memoryLimit));
  await turns.next(); // to write a million characters takes milliseconds, to search them too, and so does starting a process
  const longestFirst = [...names].sort((a, b) => b.length - a.length);
  const mark = unusedCharacter(template, json, ...longestFirst, ...Object.values(tokens));
  const firsts = `[${longestFirst.map((name) => literal([...name][0]!)).join("")}]`;
  const pattern = `(${longestFirst.map(literal).join("|")})`;
  const data = { library: findJinja(), template, tokens, json, firsts, names: pattern, mark, maxCharacters };
  await turns.next();
  return runProgram(data, file, { ...options, timeLimit, memoryLimit });
}

async function runProgram(
  data: object,
  file: string,
  options: RenderOptions & { readonly timeLimit: number; readonly memoryLimit: number },
): Promise<string[]> {
  const { timeLimit, memoryLimit } = options;
  const tooLarge = `it needs more than ${memoryLimit} MiB (memoryLimit)`;
  const signal = options.signal && nativeSignal(options.signal);
  await places.take(signal, during);
  const child = startProcess(memoryLimit);
  const closed = once(child, "close"); // rejects with the child's "error"
  closed.catch(() => {}).finally(() => places.leave());
  let timer: NodeJS.Timeout | undefined;
  const pieces = new Promise<string[]>((resolve, reject) => {
    const fail = (problem: string) => reject(failure(file, problem));
    child.once("message", (answer: Answer) => ("pieces" in answer ? resolve(answer.pieces) : fail(answer.problem)));
    closed.then(
      ([status, signal]) =>
        fail(crashes.has(signal) ? tooLarge : `its process ended (${signal ?? `status ${status}`})`),
      (cause) => reject(startError(cause)),
    );
    timer = setTimeout(() => fail("its process does not answer"), Math.min(timeLimit + patience, 2 ** 31 - 1));
  });
  try {
    if (child.connected) child.send({ ...data, timeLimit }, () => {}); // what fails here, closes the child
    return await untilAborted(pieces, signal, during);
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
}

const during = "rendering the chat template";

/** How V8 ends a process that exceeds the limit of its heap. */
const crashes: ReadonlySet<unknown> = new Set(["SIGABRT", "SIGTRAP", "SIGILL"]);

/** Milliseconds that a process may take for its start and to stop in time, on a machine that has much else to do. */
const patience = 60_000;

/** The URL of `@huggingface/jinja`, which a bundle must leave outside: another process loads it. */
function findJinja(): string {
  try {
    // File tracers know import.meta.resolve, which bundles of CommonJS lack.
    if (typeof import.meta.resolve === "function") return import.meta.resolve("@huggingface/jinja");
    return pathToFileURL(createRequire(import.meta.url ?? __filename).resolve("@huggingface/jinja")).href;
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

/** The heap of Node.js itself in MiB. */
const ownHeap = 4;

function startProcess(memoryLimit: number): ChildProcess {
  const heap = [`--max-old-space-size=${Math.ceil(memoryLimit) + ownHeap}`, "--max-semi-space-size=4"];
  // An application in one executable would start itself. Electron is Node.js if it is told so.
  const node = process.getBuiltinModule("node:sea")?.isSea() ? "node" : process.execPath;
  const { PATH, LD_LIBRARY_PATH } = process.env;
  try {
    return spawn(node, [...heap, "-e", program], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      serialization: "advanced",
      env: { PATH, LD_LIBRARY_PATH, ELECTRON_RUN_AS_NODE: "1" },
      cwd: "/",
    });
  } catch (error) {
    places.leave();
    throw startError(error);
  }
}

function startError(cause: unknown): CaracalError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const problem = `chat templates are rendered by a process of Node.js, which cannot be started: ${message}`;
  if (code === "ENOENT") return new CaracalError("MISSING_TOOL", problem, { tool: "node" }, { cause });
  return new CaracalError("IO_ERROR", problem, { errno: code }, { cause });
}

function failure(file: string, problem: string): CaracalError {
  const advice = 'use the template "omni", or mend the file';
  return new CaracalError("CHECKPOINT_INVALID", `${file}: the chat template fails: ${problem}; ${advice}`, {
    file,
    problem,
  });
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
