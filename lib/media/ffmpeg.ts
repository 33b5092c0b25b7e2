import { spawn } from "node:child_process";
import { once } from "node:events";
import { CaracalError, throwIfAborted } from "../errors.js";
import { nativeSignal } from "../options.js";
import { mediaError } from "./input.js";

export interface ToolOptions {
  /** Names the input in messages. */
  readonly name: string;
  /** Bytes for the tool's standard input. */
  readonly stdin?: Uint8Array;
  readonly signal?: AbortSignal;
}

const installCommand: Partial<Record<NodeJS.Platform, string>> = {
  darwin: "brew install ffmpeg",
  win32: "winget install ffmpeg",
};

/** The `-i` arguments for a local file. They keep ffmpeg from parsing the path as an option or following URLs. */
export function inputFile(path: string): string[] {
  return ["-protocol_whitelist", "file,pipe", "-i", `file:${path}`];
}

/**
 * Runs ffmpeg or ffprobe and yields its standard output in chunks. Ending the iteration early kills the tool.
 *
 * @throws {CaracalError} `MEDIA_INVALID` with the tool's message when it fails, `MISSING_TOOL` with the command that
 *   installs it, `ABORTED`
 */
export async function* toolOutput(
  tool: "ffmpeg" | "ffprobe",
  args: readonly string[],
  options: ToolOptions,
): AsyncGenerator<Uint8Array> {
  const { name, stdin, signal } = options;
  throwIfAborted(signal, `decoding ${name}`);
  const child = spawn(tool, args, {
    stdio: [stdin ? "pipe" : "ignore", "pipe", "pipe"],
    signal: signal && nativeSignal(signal),
    killSignal: "SIGKILL",
  });
  let messages = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    messages = (messages + text).slice(-2000);
  });
  child.stdin?.on("error", () => {}); // the tool may stop reading early; its exit status tells whether that is an error
  child.stdin?.end(stdin);
  const closed = once(child, "close"); // rejects with the child's "error": not found, or aborted
  closed.catch(() => {});
  try {
    yield* child.stdout! as AsyncIterable<Uint8Array>;
    const [status] = await closed;
    if (status !== 0) throw mediaError(name, lastLine(messages) ?? `${tool} failed with status ${status}`);
  } catch (error) {
    throwIfAborted(signal, `decoding ${name}`);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const install = installCommand[process.platform] ?? "sudo apt-get install ffmpeg";
    throw new CaracalError(
      "MISSING_TOOL",
      `${tool} is needed to decode ${name} and was not found; install it with: ${install}`,
      { tool, install },
    );
  } finally {
    child.kill("SIGKILL");
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
  for await (const chunk of toolOutput(tool, args, options)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The last line of ffmpeg's messages, without its "[mov,mp4 @ 0x…]" prefixes. */
function lastLine(text: string): string | undefined {
  const line = text.trim().split("\n").at(-1);
  return line?.replaceAll(/\[[^\]]* @ 0x[0-9a-f]+\] /g, "") || undefined;
}
