import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { CaracalError } from "../errors.js";
import { nativeSignal, onAbort } from "../options.js";
import { mediaError } from "./input.js";
import { Places } from "./places.js";

export interface ToolOptions {
  /** Names the input in messages. */
  readonly name: string;
  readonly signal?: AbortSignal;
  /** The input is refused when the tool writes more bytes. Default: no limit for `toolOutput`, 2^22 for `runTool`. */
  readonly maxBytes?: number;
  /** Is given every line that the tool writes to its standard error: "[aac @ 0x…] [error] reason". */
  readonly onMessage?: (message: string) => void;
}

/**
 * The containers that ffmpeg may read, by the names of its demuxers. Playlists, manifests, sequences of images and
 * scripts are left out, whatever the file's name: they make ffmpeg open other files, or never end.
 */
const containers = {
  "mov,mp4,m4a,3gp,3g2,mj2": "MP4/MOV",
  "matroska,webm": "Matroska/WebM",
  mpegts: "MPEG-TS",
  mpeg: "MPEG-PS",
  avi: "AVI",
  flv: "FLV",
  asf: "ASF",
  ogg: "Ogg",
  "wav,w64": "WAV",
  aiff: "AIFF",
  au: "AU",
  caf: "CAF",
  flac: "FLAC",
  mp3: "MP3",
  aac: "AAC",
  ac3: "AC-3",
  amr: "AMR",
  wv: "WavPack",
  gif: "GIF",
};
const onlyContainers = ["-format_whitelist", Object.keys(containers).join(",")];

/** Options of demuxers. MPEG-TS would end at the first hole of 64 KiB, as an interrupted download has. */
const containerOptions: Partial<Record<string, readonly string[]>> = { mpegts: ["-resync_size", `${2 ** 31 - 1}`] };

/**
 * The `-i` arguments for a local file, which `checkReadable` should have accepted. They keep ffmpeg from parsing the
 * path as an option, from following URLs and from opening a second file. (References of MP4 to other files are off
 * unless ffmpeg is given `-enable_drefs`.)
 * @param container its `format_name` by ffprobe, once it is known
 */
export function inputFile(path: string, container = ""): string[] {
  const options = containerOptions[container] ?? [];
  return [...options, "-protocol_whitelist", "file", ...onlyContainers, "-i", `file:${path}`];
}

const places = new Places(() => setting("CARACAL_FFMPEG_PROCESSES", 4));

/**
 * Runs ffmpeg or ffprobe and yields its standard output in chunks. Ending the iteration early kills the tool. At most
 * `CARACAL_FFMPEG_PROCESSES` tools (default 4) run at once in each JavaScript thread, the others wait; a tool that its reader waits
 * for longer than `CARACAL_FFMPEG_SECONDS` (default 300) in total is stopped.
 *
 * @throws {CaracalError} `MEDIA_INVALID` with the tool's message when it fails or exceeds a limit, `MISSING_TOOL` with
 *   the command that installs it, `IO_ERROR` when the system cannot start it, `ABORTED`
 */
export async function* toolOutput(
  tool: "ffmpeg" | "ffprobe",
  args: readonly string[],
  options: ToolOptions,
): AsyncGenerator<Uint8Array> {
  const { name, maxBytes = Number.POSITIVE_INFINITY } = options;
  const signal = options.signal && nativeSignal(options.signal);
  const during = `decoding ${name}`;
  const secondsLimit = setting("CARACAL_FFMPEG_SECONDS", 300);
  await places.take(signal, during);
  const child = start(tool, args, name);
  const closed = once(child, "close"); // rejects with the child's "error"
  closed.catch(() => {}).finally(() => places.leave());
  const hasPipes: boolean = Boolean(child.stdout && child.stderr);
  if (!hasPipes) throw startError(tool, name, await closed.catch((cause: unknown) => cause)); // no file descriptors
  let messages = "";
  eachLine(child.stderr, (line) => {
    messages = `${messages}${line}\n`.slice(-longestMessage);
    options.onMessage?.(line);
    if (isAppended.test(line)) stop(mediaError(name, appended));
  });
  let stopped: CaracalError | undefined;
  const stop = (error: CaracalError) => {
    stopped ??= error;
    child.kill("SIGKILL");
    child.stdout.destroy(error); // frees the reader at once
  };
  const abort = () => stop(abortedError(signal, during));
  const stopListening = onAbort(signal, abort);
  if (signal?.aborted) abort(); // while the turn began
  const budget = new TimeBudget(secondsLimit, () => {
    const advice = "CARACAL_FFMPEG_SECONDS raises the limit";
    stop(mediaError(name, `${tool} was not done with it after ${secondsLimit} s; ${advice}`));
  });
  let bytes = 0;
  try {
    const output = child.stdout[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    for (;;) {
      const { value, done } = await budget.spend(output.next());
      if (done) break;
      bytes += value.length;
      if (bytes > maxBytes) stop(mediaError(name, `${tool} wrote more than the limit of ${maxBytes} bytes`));
      if (stopped) throw stopped;
      yield value;
    }
    const [status] = await budget.spend(closed);
    if (stopped) throw stopped;
    // Its last message is then about some piece of the file only.
    if (status === tooManyErrors)
      throw mediaError(name, "it is damaged: much of it cannot be decoded; copy or encode it again");
    if (status !== 0) throw mediaError(name, reasonOf(messages, args) || `${tool} failed with status ${status}`);
  } catch (error) {
    throw stopped ?? (error instanceof CaracalError ? error : startError(tool, name, error));
  } finally {
    stopListening();
    child.kill("SIGKILL");
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

/**
 * Runs ffmpeg or ffprobe and returns its whole standard output.
 * @throws {CaracalError} as `toolOutput`
 */
export async function runTool(
  tool: "ffmpeg" | "ffprobe",
  args: readonly string[],
  options: ToolOptions,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of toolOutput(tool, args, { maxBytes: 2 ** 22, ...options })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Messages about a second MP4, Matroska or Ogg file behind the first, of which ffmpeg leaves out parts. */
const isAppended =
  /Found duplicated MOOV Atom|File extends beyond end of segment|Changing stream parameters in multistream ogg/;
const appended =
  "another file is appended to it, of which parts would be lost: pass them one by one, or join them with ffmpeg's concat demuxer";

/** ffmpeg's own lines have up to 1024 characters. */
const longestMessage = 4000;

/** Of a longer line, only the end is kept: node:readline would throw where nobody can catch it. */
function eachLine(stream: Readable, take: (line: string) => void): void {
  let unended = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (unended + text).split("\n");
    unended = lines.pop()!.slice(-longestMessage);
    for (const line of lines) take(line);
  });
  stream.on("end", () => {
    if (unended !== "") take(unended);
  });
}

/** Every message, with its level. */
const verbosity = ["-v", "repeat+level+warning"];

/** The status of ffmpeg when the share of errors exceeds its `-max_error_rate`. */
const tooManyErrors = 69;

function start(tool: string, args: readonly string[], name: string): ChildProcessByStdio<null, Readable, Readable> {
  try {
    return spawn(tool, [...verbosity, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    places.leave(); // arguments that the system refuses, such as very long ones
    throw startError(tool, name, error);
  }
}

const installCommand: Partial<Record<NodeJS.Platform, string>> = {
  darwin: "brew install ffmpeg",
  win32: "winget install ffmpeg",
};

function startError(tool: string, name: string, cause: unknown): CaracalError {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code !== "ENOENT")
    return new CaracalError("IO_ERROR", `cannot run ${tool} to decode ${name}: ${message}`, { tool }, { cause });
  const install = installCommand[process.platform] ?? "sudo apt-get install ffmpeg";
  return new CaracalError(
    "MISSING_TOOL",
    `${tool === "ffprobe" ? "ffprobe of ffmpeg" : tool} is needed to decode ${name} and was not found; install it with: ${install}`,
    { tool, install },
  );
}

function abortedError(signal: AbortSignal | undefined, during: string): CaracalError {
  return new CaracalError("ABORTED", `${during} was aborted`, { during }, { cause: signal?.reason });
}

/** The `reason` of the error when an input lacks the stream that `-map` names. */
const noSuchStream = "it has no such stream";

/** Why ffmpeg failed: the last lines of its messages, without prefixes such as "[mov,mp4 @ 0x…]" and the path. */
function reasonOf(messages: string, args: readonly string[]): string {
  const taken = `taken are ${Object.values(containers).join(", ")}`;
  const refused = /\[([^\]]*) @ 0x[0-9a-f]+\] (?:\[\w+\] )?Format not on whitelist/.exec(messages)?.[1];
  if (refused !== undefined && /^image2|_pipe$/.test(refused))
    return `by its name or content it is an image, not sound or video; ${taken}`;
  if (refused !== undefined) return `ffmpeg sees the format "${refused}" in it, which is not taken; ${taken}`;
  if (messages.includes("moov atom not found")) {
    const reason = 'it is cut short or no MP4/MOV file, whatever its name: its index (the "moov" box) is missing';
    return `${reason}; ${taken}`;
  }
  if (messages.includes("matches no streams")) return noSuchStream;
  const input = args[args.indexOf("-i") + 1];
  const lines = messages
    .trim()
    .replaceAll(`${input}: `, "")
    .split("\n")
    .filter((line) => !line.includes("[warning] "));
  const unknown = "Invalid data found when processing input";
  if (lines.length === 1 && lines[0]!.endsWith(unknown)) return `no sound or video is found in it; ${taken}`;
  if (lines.length > 1 && lines.at(-1)!.endsWith(unknown)) lines.pop(); // the line before says more
  return (lines.at(-1) ?? "").replaceAll(/\[([^\]]* @ 0x[0-9a-f]+|error|fatal|panic)\] /g, "");
}

/** A positive number from the environment. @throws {CaracalError} `INVALID_ARGUMENT` for anything else */
function setting(variable: string, byDefault: number): number {
  const text = process.env[variable];
  if (text === undefined) return byDefault;
  const value = Number(text);
  if (value > 0 && value <= 2 ** 20) return value;
  throw new CaracalError("INVALID_ARGUMENT", `${variable} must be a positive number, got "${text}"`, { variable });
}

/** Calls back when the promises given to `spend` have taken too long in total. */
class TimeBudget {
  #milliseconds: number;
  readonly #onEnd: () => void;

  constructor(seconds: number, onEnd: () => void) {
    this.#milliseconds = seconds * 1000;
    this.#onEnd = onEnd;
  }

  async spend<T>(promise: Promise<T>): Promise<T> {
    const start = performance.now();
    const timer = setTimeout(this.#onEnd, this.#milliseconds);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#milliseconds -= performance.now() - start;
    }
  }
}
