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
  const folder = dirname(path);
  if (!existing && !(await stat(folder).catch(() => undefined))) refuse(`the folder ${folder} does not exist`);
  await access(existing ? path : folder, constants.W_OK).catch((cause: Error) => refuse(cause.message, cause));
}
