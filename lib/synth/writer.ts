import { type FileHandle, open } from "node:fs/promises";
import { CaracalError, throwIfAborted } from "../errors.js";

export interface SynthProgress {
  /** The file being written, relative to the checkpoint. */
  readonly file: string;
  /** Bytes of tensors written so far, of `total` in the whole checkpoint. */
  readonly loaded: number;
  readonly total: number;
}

/** What every file of a checkpoint being written shares: where it goes, who wants to know, and when to stop. */
export class Progress {
  private loaded = 0;

  constructor(
    private readonly total: number,
    private readonly onProgress: ((progress: SynthProgress) => void) | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  advance(file: string, bytes: number): void {
    throwIfAborted(this.signal, "writing a checkpoint");
    this.loaded += bytes;
    this.onProgress?.({ file, loaded: this.loaded, total: this.total });
  }
}

/** A file written from front to back. Its errors are `IO_ERROR`s that say what to do. */
export class OutputFile {
  /** Bytes written so far. */
  position = 0;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  static async use(path: string, write: (file: OutputFile) => Promise<void>): Promise<void> {
    const handle = await open(path, "w").catch((error) => Promise.reject(asWriteError(path, error)));
    try {
      await write(new OutputFile(path, handle));
    } finally {
      await handle.close();
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.patch(bytes, this.position);
    this.position += bytes.length;
  }

  /** Overwrites bytes that were written before; for fields that are known only afterwards. */
  async patch(bytes: Uint8Array, position: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const left = bytes.length - done;
        done += (await this.handle.write(bytes, done, left, position + done)).bytesWritten;
      }
    } catch (error) {
      throw asWriteError(this.path, error);
    }
  }
}

/** Turns an error of the operating system into an `IO_ERROR`; any other comes back as it is. */
export function asWriteError(path: string, error: unknown): unknown {
  const errno = (error as NodeJS.ErrnoException).code;
  if (error instanceof CaracalError || errno === undefined) return error;
  const mend = errno === "ENOSPC" || errno === "EDQUOT" ? "the disk is full; free space or write elsewhere" : errno;
  return new CaracalError("IO_ERROR", `${path}: cannot be written: ${mend}`, { file: path, errno }, { cause: error });
}
