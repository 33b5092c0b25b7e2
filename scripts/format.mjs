// npm run lint checks that the C++ and CUDA sources are formatted as .clang-format says; npm run format formats them.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./lib/steps.mjs";

const files = ["native", "test"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(cc|h|cu|cuh)$/.test(name))
    .map((name) => join(folder, name)),
);
const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "-Werror"];
const formatter = join(root, "node_modules/.bin/clang-format-node");
const { status, error } = spawnSync(formatter, [...mode, ...files], { cwd: root, stdio: "inherit" });
if (error) throw error;
process.exit(status ?? 1);
