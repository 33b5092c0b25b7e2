import { constants } from "node:fs";
import { cp, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { throwIfAborted } from "../errors.js";

// Whatever is in a model directory beside the language model: the tokenizer, the other modules, their configurations.

const isOther = (name: string) => !/^\.|\.safetensors$|\.index\.json$|^config\.json$/.test(name);
const othersOf = async (directory: string) => (await readdir(directory)).filter(isOther);

/**
 * Copies everything but the language model, by reference where the file system can. They are no hard links, through which
 * a change to one directory would change the other.
 * @throws {CaracalError} `ABORTED`
 */
export async function copyOthers(source: string, target: string, signal?: AbortSignal): Promise<void> {
  const filter = () => {
    throwIfAborted(signal, "copying the files beside the language model");
    return true;
  };
  for (const name of await othersOf(source)) {
    const path = resolve(source, name);
    const mode = constants.COPYFILE_FICLONE;
    await cp(path, join(target, name), { recursive: true, mode, dereference: true, filter });
  }
}

/** The bytes that `copyOthers` takes where files cannot be copied by reference, less those that are in `target` already. */
export async function missingBytes(source: string, target: string): Promise<number> {
  let missing = 0;
  for (const name of await othersOf(source)) {
    const found = await stat(resolve(source, name));
    const below = found.isDirectory() ? await readdir(resolve(source, name), { recursive: true }) : [];
    for (const path of [name, ...below.map((part) => join(name, part))])
      missing += Math.max(0, (await fileBytes(resolve(source, path))) - (await fileBytes(join(target, path))));
  }
  return missing;
}

const fileBytes = (path: string): Promise<number> =>
  stat(path).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
