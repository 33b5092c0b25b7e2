import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { CaracalError } from "../errors.js";

/** `CHECKPOINT_INVALID` for `file`; `problem` says what was expected, what is there and how to mend it. */
export function invalid(file: string, problem: string, cause?: unknown): CaracalError {
  return new CaracalError("CHECKPOINT_INVALID", `${file}: ${problem}`, { file, problem }, { cause });
}

/** A string from a file made fit for a message: quoted, escaped, and cut when a hostile file made it long. */
export function quote(text: string): string {
  return printable(JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text));
}

/** Without control characters, which could command the reader's terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "\uFFFD");
}

/** A file opened for bounded reads: a read outside it is refused before any memory is taken for it. */
export class BoundedFile {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  /** Opens `path`, runs `use` and closes it again. `CHECKPOINT_INVALID` if it is missing or not a regular file. */
  static async use<T>(path: string, use: (file: BoundedFile) => Promise<T>): Promise<T> {
    let handle: FileHandle | undefined;
    try {
      // Asked before opening: opening a FIFO would wait for a writer.
      if (!(await stat(path)).isFile()) throw invalid(path, "expected a regular file");
      handle = await open(path, "r");
      return await use(new BoundedFile(path, (await handle.stat()).size, handle));
    } catch (error) {
      throw asReadError(path, error);
    } finally {
      await handle?.close();
    }
  }

  /** Reads exactly `length` bytes at `offset`; `what` names the part in the error when they are not all there. */
  async read(offset: number, length: number, what: string): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      const end = offset + length;
      throw invalid(this.path, `truncated: ${what} ends at byte ${end}, the file has ${this.size}; fetch it again`);
    }
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.handle.read(bytes, done, length - done, offset + done);
      if (bytesRead === 0) throw invalid(this.path, `became shorter while ${what} was read`);
      done += bytesRead;
    }
    return bytes;
  }
}

/** The whole of a small file as text. `CHECKPOINT_INVALID` if it is missing, longer than `maxBytes` or not UTF-8. */
export function readText(path: string, maxBytes: number): Promise<string> {
  return BoundedFile.use(path, async (file) => {
    if (file.size > maxBytes) throw invalid(path, `has ${file.size} bytes; expected a small text file`);
    return decodeUtf8(await file.read(0, file.size, "the text"), path);
  });
}

/** The names in a directory. `CHECKPOINT_INVALID` if there is no such directory. */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    throw asReadError(path, error);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw invalid(path, "expected UTF-8 text, found bytes that are not", error);
  }
}

function asReadError(path: string, error: unknown): unknown {
  if (error instanceof CaracalError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT" || code === "ENOTDIR") return invalid(path, "no such file", error);
  if (code === "ERR_INVALID_ARG_VALUE") return invalid(path, "not a file name", error);
  if (code === undefined) return error;
  return new CaracalError(
    "IO_ERROR",
    `${path}: cannot be read (${code})`,
    { file: path, errno: code },
    { cause: error },
  );
}
