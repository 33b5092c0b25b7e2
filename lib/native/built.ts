import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The folder of package.json: above lib/ in the sources, above dist/lib/ in what is published. */
const root = dirname(createRequire(import.meta.url).resolve("caracal/package.json"));

/** The path of a file that a checkout's build writes; an installed package has none. */
export const built = (path: string): string => join(root, "build", path);
