import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The path of a file or folder of the package: it is beside the folder of the sources, or of what was compiled from them. Of a
 * bundle, it is in the folder of the bundle or one above. undefined if it is not there.
 */
export function packageFile(path: string): string | undefined {
  // A bundle of CommonJS has no import.meta.url, but __filename.
  const module = import.meta.url ? fileURLToPath(import.meta.url) : __filename;
  for (let folder = dirname(module), up = 0; up < 4; folder = dirname(folder), up++)
    if (existsSync(join(folder, path))) return join(folder, path);
  return undefined;
}
