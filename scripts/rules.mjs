// npm run lint: checks the sources against the rules of scripts/lib/rules.mjs.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { brokenRules, readSources } from "./lib/rules.mjs";
import { root } from "./lib/steps.mjs";

const paths = ["lib", "bench", "page", "native", "scripts", "test"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|mjs|cc|h|cu|cuh)$/.test(name))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`),
);
const broken = brokenRules(readSources(root, paths.sort()));
for (const line of broken) console.error(line);
if (broken.length > 0) console.error(`\n${broken.length} rules are broken; scripts/lib/rules.mjs explains them`);
process.exit(broken.length > 0 ? 1 : 0);
