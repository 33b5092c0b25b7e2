import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The folder of package.json, which is above lib/ in a checkout and above dist/lib/ in a published package. */
const root = dirname(createRequire(import.meta.url).resolve("caracal/package.json"));

/** The path of a file below build/. An installed package has no such files. */
export const built = (path: string): string => join(root, "build", path);
