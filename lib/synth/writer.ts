import { type FileHandle, open, writeFile } from "node:fs/promises";
import { CaracalError, throwIfAborted } from "../errors.js";

/** What a checkpoint that is being written has reached. */
export interface SynthProgress {
  /** The file being written, relative to the checkpoint. */
  readonly file: string;
  /** Bytes of tensors written so far, of `total` in the whole checkpoint. */
  readonly loaded: number;
  readonly total: number;
}

/** Counts the bytes written to all files of a checkpoint, reports them, and stops the writing when aborted. */
export class Progress {
  readonly #total: number;
  readonly #onProgress: ((progress: SynthProgress) => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  #loaded = 0;

  constructor(total: number, onProgress?: (progress: SynthProgress) => void, signal?: AbortSignal) {
    this.#total = total;
    this.#onProgress = onProgress;
    this.#signal = signal;
  }

  /** @throws {CaracalError} `ABORTED` */
  advance(file: string, bytes: number): void {
    throwIfAborted(this.#signal, "writing a checkpoint");
    this.#loaded += bytes;
    this.#onProgress?.({ file, loaded: this.#loaded, total: this.#total });
  }
}

/** A new file, written from start to end. Its errors are `IO_ERROR`s that say what to do. */
export class OutputFile {
  readonly #path: string;
  readonly #handle: FileHandle;
  #position = 0;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** The number of bytes written so far. */
  get position(): number {
    return this.#position;
  }

  /** Creates the file, and refuses what has its name already: a link would lead elsewhere, a FIFO would be waited for. */
  static async use(path: string, write: (file: OutputFile) => Promise<void>): Promise<void> {
    const handle = await writing(path, open(path, "wx"));
    try {
      await write(new OutputFile(path, handle));
    } finally {
      await writing(path, handle.close());
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.patch(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Overwrites bytes written earlier, for fields whose values are only known later. */
  async patch(bytes: Uint8Array, position: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const left = bytes.length - done;
        done += (await this.#handle.write(bytes, done, left, position + done)).bytesWritten;
      }
    } catch (error) {
      throw asWriteError(this.#path, error);
    }
  }
}

/** Writes a new file, as `OutputFile` does. */
export const writeNew = (path: string, text: string): Promise<void> =>
  writing(path, writeFile(path, text, { flag: "wx" }));

/** Waits for something that is done to a file. @throws {CaracalError} `IO_ERROR` for errors of the operating system */
export const writing = <T>(path: string, work: Promise<T>): Promise<T> =>
  work.catch((error) => Promise.reject(asWriteError(path, error)));

/** Turns an error of the operating system into an `IO_ERROR`. Returns any other error unchanged. */
export function asWriteError(path: string, error: unknown): unknown {
  const errno = (error as NodeJS.ErrnoException).code;
  if (error instanceof CaracalError || errno === undefined) return error;
  const isFull = errno === "ENOSPC" || errno === "EDQUOT";
  const reason = isFull ? "the disk is full; free some space or write elsewhere" : errno;
  return new CaracalError("IO_ERROR", `${path}: cannot be written: ${reason}`, { file: path, errno }, { cause: error });
}
