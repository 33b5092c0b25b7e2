import { access, constants, readFile } from "node:fs/promises";
import { CaracalError, throwIfAborted } from "../errors.js";

/** MEDIA_INVALID: `name` (a file, or what stands for one) cannot be used, and why. */
export function mediaError(name: string, reason: string, cause?: unknown): CaracalError {
  return new CaracalError("MEDIA_INVALID", `${name}: ${reason}`, { name, reason }, { cause });
}

/** The bytes of a file. */
export async function readMedia(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return await readFile(path, { signal });
  } catch (cause) {
    throwIfAborted(signal, `reading ${path}`);
    throw unreadable(path, cause);
  }
}

/** @throws IO_ERROR when there is no readable file at `path` */
export async function checkReadable(path: string): Promise<void> {
  await access(path, constants.R_OK).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
}

function unreadable(path: string, cause: unknown): CaracalError {
  return new CaracalError("IO_ERROR", `cannot read ${path}: ${(cause as Error).message}`, { path }, { cause });
}
