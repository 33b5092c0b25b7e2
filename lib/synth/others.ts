import { constants } from "node:fs";
import { cp, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";

/** Copies everything but the language model, by reference where the file system can. */
export async function copyOthers(source: string, target: string): Promise<void> {
  const isOther = (name: string) => !/^\.|\.safetensors$|\.index\.json$|^config\.json$/.test(name);
  for (const name of (await readdir(source)).filter(isOther)) {
    const path = resolve(source, name);
    await cp(path, join(target, name), { recursive: true, mode: constants.COPYFILE_FICLONE, dereference: true });
  }
}
