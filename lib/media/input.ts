import { access, constants, readFile } from "node:fs/promises";
import { CaracalError, shown, throwIfAborted } from "../errors.js";

/** Whether `input` is an object with this field, as decoded media have it. */
export function hasField(input: unknown, field: string): boolean {
  return typeof input === "object" && input !== null && field in input;
}

/** The `INVALID_ARGUMENT` error for an input of another kind than `expected`. */
export function inputError(input: unknown, name: string, expected: string): CaracalError {
  return new CaracalError("INVALID_ARGUMENT", `${name} must be ${expected}, got ${shown(input)}`, { name });
}

/** The `MEDIA_INVALID` error for an input. @param name a file's path, or another name of the input */
export function mediaError(name: string, reason: string, cause?: unknown): CaracalError {
  return new CaracalError("MEDIA_INVALID", `${name}: ${reason}`, { name, reason }, { cause });
}

/**
 * Reads a file.
 * @throws {CaracalError} `IO_ERROR`, `ABORTED`
 */
export async function readMedia(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return await readFile(path, { signal });
  } catch (cause) {
    throwIfAborted(signal, `reading ${path}`);
    throw unreadable(path, cause);
  }
}

/**
 * Checks that there is a readable file at `path`.
 * @throws {CaracalError} `IO_ERROR`
 */
export async function checkReadable(path: string): Promise<void> {
  await access(path, constants.R_OK).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
}

function unreadable(path: string, cause: unknown): CaracalError {
  return new CaracalError("IO_ERROR", `cannot read ${path}: ${(cause as Error).message}`, { path }, { cause });
}
