import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { CaracalError } from "../../errors.js";
import { invalid } from "../problems.js";

/** Options of every function that reads the files of a checkpoint. */
export interface OpenOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Tells a file and its contents from others: its device, inode, size and time of modification. */
export function fileVersion({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs].join(":");
}

/**
 * Refuses a file that is not the one whose header was read: it was replaced, or written to.
 * @param described the version in the tensor's entry, if it is known
 * @throws {CaracalError} `IO_ERROR`
 */
export function checkVersion(path: string, described: string | undefined, found: string): void {
  if (described === undefined || described === found) return;
  const message = `${path} was replaced or written to after its header was read: load it again when it is complete`;
  throw new CaracalError("IO_ERROR", message, { path });
}

/** A file opened for bounded reads: a read outside the file is refused before any memory is allocated for it. */
export class BoundedFile {
  readonly path: string;
  readonly size: number;
  /** As `fileVersion`. */
  readonly version: string;
  /** The id of the user whose file it is. */
  readonly owner: number;
  readonly #handle: FileHandle;

  private constructor(path: string, found: BigIntStats, handle: FileHandle) {
    this.path = path;
    this.size = Number(found.size);
    this.version = fileVersion(found);
    this.owner = Number(found.uid);
    this.#handle = handle;
  }

  /**
   * Opens `path`, runs `use` and closes the file.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the file is missing or not a regular file, `IO_ERROR` when it
   *   cannot be read
   */
  static async use<T>(path: string, use: (file: BoundedFile) => Promise<T>): Promise<T> {
    let handle: FileHandle | undefined;
    try {
      // Without O_NONBLOCK, opening a FIFO would wait for a writer. What was opened is checked, not what has the name now.
      handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
      const found = await handle.stat({ bigint: true });
      if (!found.isFile()) throw invalid(path, "expected a regular file");
      return await use(new BoundedFile(path, found, handle));
    } catch (error) {
      throw asReadError(path, error);
    } finally {
      await handle?.close();
    }
  }

  /** Reads exactly `length` bytes at `offset`. If the file is too short, the error names them as `what`. */
  async read(offset: number, length: number, what: string): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      const end = offset + length;
      throw invalid(
        this.path,
        `truncated: ${what} ends at byte ${end}, but the file has ${this.size}; download it again`,
      );
    }
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, length - done, offset + done);
      if (bytesRead === 0) throw invalid(this.path, `became shorter while ${what} was being read`);
      done += bytesRead;
    }
    return bytes;
  }

  /** Reads exactly `length` bytes at `offset` as UTF-8, piece by piece, so that the event loop has turns meanwhile. */
  async text(offset: number, length: number, what: string): Promise<string> {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    let text = "";
    for (let at = 0; at < length; at += pieceBytes) {
      const piece = await this.read(offset + at, Math.min(pieceBytes, length - at), what);
      text += decodeUtf8(piece, this.path, decoder, at + pieceBytes < length);
    }
    return text;
  }
}

const pieceBytes = 1 << 20;

/**
 * A small file as text.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the file is missing, longer than `maxBytes` or not UTF-8
 */
export function readText(path: string, maxBytes: number): Promise<string> {
  return BoundedFile.use(path, async (file) => {
    if (file.size > maxBytes) throw invalid(path, `has ${file.size} bytes; expected at most ${maxBytes} of text`);
    return file.text(0, file.size, "the text");
  });
}

/**
 * Whether a path is that of a directory.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when nothing is there, `IO_ERROR`
 */
export async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw asReadError(path, error);
  }
}

/**
 * The names in a directory.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when there is no such directory
 */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    throw asReadError(path, error);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** @param stream whether more of the text follows */
export function decodeUtf8(bytes: Uint8Array, path: string, decoder = utf8, stream = false): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch (error) {
    throw invalid(path, "expected UTF-8 text, found other bytes", error);
  }
}

/** Turns an error of the operating system into a `CaracalError`. Returns any other error unchanged. */
export function asReadError(path: string, error: unknown): unknown {
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
