import { constants } from "node:fs";
import { type FileHandle, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CaracalError, shown, throwIfAborted } from "../errors.js";
import { aString, type OptionRule, onAbort, optional, plainView } from "../options.js";
import { type Steps, Turns } from "../turns.js";
import { ByteReader } from "./byteReader.js";

/** The most bytes of a medium that are read into memory. */
export const maxFileBytes = 2 ** 30;

/** Whether `input` is a Uint8Array. */
export function isBytes(input: unknown): input is Uint8Array {
  return plainView(input, Uint8Array) !== undefined;
}

/** Whether `input` is an object with this field, as decoded media have it. */
export function hasField(input: unknown, field: string): boolean {
  return typeof input === "object" && input !== null && field in input;
}

/** A file of which more is missing or cannot be decoded is refused as damaged. */
export const tolerableDamage = 0.25;

/** Takes limits: positive numbers, also Infinity, and `undefined`. */
export const limit: OptionRule = optional({
  accepts: (value) => typeof value === "number" && value > 0,
  expected: "a positive number",
});
/** Takes the option `name`. */
export const nameRule: OptionRule = optional(aString);

/** The `INVALID_ARGUMENT` error for an input of another kind than `expected`. */
export function inputError(input: unknown, name: string, expected: string): CaracalError {
  return new CaracalError("INVALID_ARGUMENT", `${name} must be ${expected}, got ${shown(input)}`, { name });
}

/** The `MEDIA_INVALID` error for an input. @param name a file's path, or another name of the input */
export function mediaError(name: string, reason: string, cause?: unknown): CaracalError {
  return new CaracalError("MEDIA_INVALID", `${name}: ${reason}`, { name, reason }, { cause });
}

/** Settles as `promise` does, or rejects with `ABORTED` as soon as `signal` is aborted. */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  during: string,
): Promise<T> {
  if (!signal) return promise;
  promise.catch(() => {}); // it may fail after the abort
  throwIfAborted(signal, during);
  let stopListening = () => {};
  const aborted = new Promise<void>((resolve) => {
    stopListening = onAbort(signal, resolve);
  });
  try {
    await Promise.race([promise, aborted]);
    throwIfAborted(signal, during);
    return await promise;
  } finally {
    stopListening();
  }
}

/** The bytes that are copied at a stretch. */
const copyBytes = 1 << 20;

/**
 * A copy of bytes, since their owner could change or shrink them while other work goes on. It is made in pieces, between
 * which the event loop has its turns.
 * @throws {CaracalError} `MEDIA_INVALID` for bytes that become fewer meanwhile, `ABORTED`
 */
export function ownBytes(bytes: Uint8Array, name: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  return new Turns(`reading ${name}`, signal).during(copySteps(plainView(bytes, Uint8Array) ?? bytes, name));
}

function* copySteps(bytes: Uint8Array, name: string): Steps<Uint8Array> {
  const own = new Uint8Array(bytes.length);
  for (let at = 0; at < own.length; at += copyBytes) {
    if (bytes.length !== own.length)
      throw mediaError(name, `its ${own.length} bytes became ${bytes.length} while they were read`);
    own.set(bytes.subarray(at, at + copyBytes), at);
    yield;
  }
  return own;
}

/** A regular file that is open for reading. */
export interface OpenFile {
  readonly file: FileHandle;
  /** Bytes. */
  readonly size: number;
}

/**
 * Opens a file that is not empty. FIFOs, devices and folders are refused: opening or reading them may never end.
 * @throws {CaracalError} `IO_ERROR`, `INVALID_ARGUMENT` for a URL or "-", `MEDIA_INVALID` for an empty file
 */
export async function openRegular(path: string): Promise<OpenFile> {
  checkPath(path);
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO would block the open
  } catch (cause) {
    throw unreadable(path, (cause as Error).message.replace(/, open '.*'$/s, ""), cause);
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unreadable(path, stat.isDirectory() ? "it is a folder" : "it is not a regular file");
    if (stat.size === 0) throw mediaError(path, "it is empty");
    return { file, size: stat.size };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Reads a file.
 * @throws {CaracalError} as `openRegular`, `MEDIA_INVALID` for more than `maxBytes` (default `maxFileBytes`) bytes, `ABORTED`
 */
export async function readMedia(path: string, signal?: AbortSignal, maxBytes = maxFileBytes): Promise<Uint8Array> {
  const during = `reading ${path}`;
  throwIfAborted(signal, during);
  const { file, size } = await openRegular(path);
  try {
    if (size > maxBytes) throw mediaError(path, `it has ${size} bytes, at most ${maxBytes} are read`);
    return await untilAborted(readRange(file, path, 0, size), signal, during);
  } finally {
    file.close().catch(() => {}); // not awaited: after an abort, a read may still be pending
  }
}

/** Reads `[from, to)` of a file, or less where the file ends. @throws {CaracalError} `IO_ERROR` */
export async function readRange(file: FileHandle, path: string, from: number, to: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(to - from);
  let done = 0;
  try {
    while (done < bytes.length) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, from + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
  } catch (cause) {
    throw unreadable(path, (cause as Error).message, cause);
  }
  return bytes.subarray(0, done);
}

/** A file that is read from its beginning. Disposing it closes the file. */
export interface FileReader extends AsyncDisposable {
  readonly reader: ByteReader;
}

/** @throws {CaracalError} as `openRegular`, `ABORTED`; from the reader also `IO_ERROR` */
export async function fileReader(path: string, signal?: AbortSignal): Promise<FileReader> {
  throwIfAborted(signal, `reading ${path}`);
  const { file, size } = await openRegular(path);
  async function* chunks() {
    for (let at = 0; at < size; at += chunkBytes) {
      yield await untilAborted(readRange(file, path, at, Math.min(size, at + chunkBytes)), signal, `reading ${path}`);
    }
  }
  return {
    reader: new ByteReader(chunks(), size),
    async [Symbol.asyncDispose]() {
      file.close().catch(() => {}); // not awaited: after an abort, a read may still be pending
    },
  };
}
const chunkBytes = 2 ** 18;

/** Bytes as a file, for tools that must seek in them. Disposing it removes the file. */
export class TemporaryFile implements AsyncDisposable {
  readonly path: string;
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, "input");
  }

  /** @throws {CaracalError} `IO_ERROR`, `ABORTED` */
  static async write(bytes: Uint8Array, signal?: AbortSignal): Promise<TemporaryFile> {
    let file: TemporaryFile | undefined;
    try {
      file = new TemporaryFile(await mkdtemp(join(tmpdir(), "caracal-")));
      await writeFile(file.path, bytes, { mode: 0o600 });
      throwIfAborted(signal, "writing a temporary file");
      return file;
    } catch (cause) {
      await file?.[Symbol.asyncDispose]();
      if (cause instanceof CaracalError) throw cause;
      const message = `cannot write a temporary file: ${(cause as Error).message}`;
      throw new CaracalError("IO_ERROR", message, { path: file?.path ?? tmpdir() }, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/**
 * Checks that there is a readable, regular file with content at `path`.
 * @throws {CaracalError} as `openRegular`
 */
export async function checkReadable(path: string): Promise<void> {
  const { file } = await openRegular(path);
  await file.close();
}

/** Refuses what other programs take in the place of a path. */
function checkPath(path: string): void {
  const got = path === "-" ? '"-" (standard input)' : /^(https?|ftp|s3|gs|blob|data|file):/i.exec(path) && "a URL";
  if (!got) return;
  const message = `expected the path of a file, got ${got}, ${abbreviated(path)}: read it and pass its bytes`;
  throw new CaracalError("INVALID_ARGUMENT", message, { path: abbreviated(path) });
}

function unreadable(path: string, reason: string, cause?: unknown): CaracalError {
  const name = abbreviated(path);
  return new CaracalError("IO_ERROR", `cannot read ${name}: ${reason}`, { path: name }, { cause });
}

/** A path as messages show it: what is given for a path may be a whole file in base64. */
function abbreviated(path: string): string {
  return path.length > 200 ? `${path.slice(0, 60)}… (${path.length} characters)` : path;
}
