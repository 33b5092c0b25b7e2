// Finds the operations, native/ops/<family>/, and writes to build/generated what nobody should keep by hand: their list,
// and one source per family and backend. Parsing the shared headers takes longer than compiling an operation, so the
// operations of a family are compiled together.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fail, root, writeIfChanged } from "./steps.mjs";

export const generated = "build/generated";

/** The files below native/ops whose names end with `suffix`, sorted, as paths from native/. */
export function operationFiles(suffix) {
  return readdirSync(join(root, "native/ops"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(suffix))
    .map((name) => `ops/${name.replaceAll("\\", "/")}`)
    .sort();
}

/** The contracts: `{ header, structs }` of every header that defines an operation's kName. */
function contracts() {
  return operationFiles(".h").flatMap((header) => {
    const text = readFileSync(join(root, "native", header), "utf8");
    const structs = Array.from(text.matchAll(/^struct (\w+) \{(?:(?!^struct )[^])*?\bkName = "/gm), ([, name]) => name);
    return structs.length > 0 ? [{ header, structs }] : [];
  });
}

const family = (path) => path.split("/")[1];
const includes = (files) => files.map((file) => `#include "${file}"\n`).join("");

/** Files by family, as [family, files] in order. */
function byFamily(files) {
  const families = new Map();
  for (const file of files) families.set(family(file), [...(families.get(family(file)) ?? []), file]);
  return [...families];
}

function operationList() {
  const found = contracts();
  const names = found.flatMap(({ structs }) => structs).sort();
  const twice = names.find((name, i) => names[i + 1] === name);
  if (twice) fail(`two operations are called ${twice}: rename one`);
  return (
    `#pragma once\n// Written by scripts/lib/operations.mjs: every operation.\n${includes(found.map(({ header }) => header))}\n` +
    `#define CARACAL_OPS(X) \\\n${names.map((name) => `  X(${name})`).join(" \\\n")}\n`
  );
}

/**
 * Writes the sources that are generated. Files that would not change keep their time.
 * @returns the paths from the project's root, by the list of sources that they belong to
 */
export function generateOperations() {
  mkdirSync(join(root, generated), { recursive: true });
  writeIfChanged(`${generated}/operations.h`, operationList());
  const sources = (suffix) =>
    byFamily(operationFiles(suffix)).map(([name, files]) => {
      const path = `${generated}/${name}${suffix}`;
      writeIfChanged(path, `// Written by scripts/lib/operations.mjs.\n${includes(files)}`);
      return path;
    });
  const written = { cpu: sources(".cpu.cc"), cuda: sources(".cuda.cc") };
  const current = new Set([...written.cpu, ...written.cuda].map((path) => basename(path)));
  for (const name of readdirSync(join(root, generated)))
    if (/\.(cpu|cuda)\.cc$/.test(name) && !current.has(name)) rmSync(join(root, generated, name)); // of a family that is gone
  return written;
}
