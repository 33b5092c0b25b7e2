import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { CaracalError } from "../errors.js";

/**
 * Checks that a file can be written, before time is spent on its contents. Nothing is created: a missing folder is more
 * often a misspelt one.
 * @throws {CaracalError} `IO_ERROR` when it cannot
 */
export async function checkWritable(file: string): Promise<void> {
  const path = resolve(file);
  const refuse = (why: string, cause?: unknown): never => {
    throw new CaracalError("IO_ERROR", `cannot write ${path}: ${why}`, { file: path }, { cause });
  };
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) refuse("it is a folder");
  const isTaken = !existing || existing.isFile() || existing.isCharacterDevice(); // such as /dev/null
  if (!isTaken) refuse("it is not a regular file"); // a FIFO would wait for its reader
  if (!existing) {
    const folder = await stat(dirname(path)).catch(() => undefined);
    if (!folder) refuse(`the folder ${dirname(path)} does not exist`);
    if (!folder?.isDirectory()) refuse(`${dirname(path)} is not a folder`);
  }
  await access(existing ? path : dirname(path), constants.W_OK).catch((cause: Error) => refuse(cause.message, cause));
}
