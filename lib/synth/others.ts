import { constants } from "node:fs";
import { copyFile, lstat, mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { asReadError } from "../checkpoint/formats/file.js";
import { invalid } from "../checkpoint/problems.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import { asWriteError, writing } from "./writer.js";

/** A file or folder in a model directory beside the language model: of the tokenizer, another module, or none of ours. */
export interface Other {
  /** The path in the directory. */
  readonly name: string;
  /** Of a file. */
  readonly bytes: number | undefined;
}

const isOther = (name: string) => !/^\.|\.safetensors$|\.index\.json$|^config\.json$|^caracal-unfinished\./.test(name);
const during = "copying the files beside the language model";

/**
 * Lists them, folders before what is in them. A link to a file counts as the file, since the hub's cache consists of such
 * links. One to a folder is refused: it may lead to a folder that it is in, or to a whole disk.
 * @throws {CaracalError} `CHECKPOINT_INVALID` for such a link, one that leads nowhere, and what is no regular file;
 *   `IO_ERROR`, `ABORTED`
 */
export async function findOthers(source: string, signal?: AbortSignal): Promise<Other[]> {
  const found: Other[] = [];
  const folders = [""]; // grows as it is gone through
  for (const folder of folders)
    for (const entry of await reading(join(source, folder), (path) => readdir(path, { withFileTypes: true }))) {
      throwIfAborted(signal, during);
      if (folder === "" && !isOther(entry.name)) continue;
      const name = join(folder, entry.name);
      const isFolder = entry.isDirectory();
      if (isFolder) folders.push(name);
      found.push({ name, bytes: isFolder ? undefined : await fileSize(join(source, name)) });
    }
  return found;
}

async function fileSize(path: string): Promise<number> {
  const file = await reading(path, (file) => stat(file));
  if (file.isFile()) return file.size;
  const problem = file.isDirectory()
    ? "is a link to a folder, and only links to files are followed; put the folder itself there"
    : "expected a regular file; move it elsewhere";
  throw invalid(path, problem);
}

const reading = <T>(path: string, read: (path: string) => Promise<T>): Promise<T> =>
  read(path).catch((error) => Promise.reject(asReadError(path, error)));

/**
 * Copies everything but the language model, by reference where the file system can. They are no hard links, through which
 * a change to one directory would change the other. What has their names in `target` is replaced, and links there are not
 * followed.
 * @throws {CaracalError} `IO_ERROR`, `ABORTED`
 */
export async function copyOthers(
  source: string,
  others: readonly Other[],
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  for (const { name, bytes } of others) {
    throwIfAborted(signal, during);
    const path = join(target, name);
    if (bytes === undefined) await makeFolder(path);
    else {
      await writing(path, rm(path, { force: true }));
      await writing(path, copyFile(join(source, name), path, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL));
    }
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const found = await lstat(path).catch(() => undefined);
    if (found?.isDirectory()) return;
    if (!found) throw asWriteError(path, error);
    throw new CaracalError("IO_ERROR", `${path}: something else than a folder has this name; remove it`, {
      file: path,
    });
  }
}

/** The bytes that `copyOthers` takes where files cannot be copied by reference, less those that are in `target` already. */
export async function missingBytes(others: readonly Other[], target: string): Promise<number> {
  let missing = 0;
  for (const { name, bytes = 0 } of others)
    if (bytes > 0) missing += Math.max(0, bytes - (await fileBytes(join(target, name))));
  return missing;
}

const fileBytes = (path: string): Promise<number> =>
  lstat(path).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
