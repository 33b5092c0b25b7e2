import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The path of a file of the checkout that this module is in; undefined in an installed package or a bundle, which have no
 * sources. The module is in lib/native, or below dist once it is compiled.
 */
export function checkout(path: string): string | undefined {
  if (!import.meta.url) return undefined; // in a bundle of CommonJS
  for (let folder = dirname(fileURLToPath(import.meta.url)), up = 0; up < 4; folder = dirname(folder), up++)
    if (existsSync(join(folder, "native/node/exports.map"))) return join(folder, path);
  return undefined;
}
