// Finds the operations, native/ops/<family>/, and writes to build/generated what nobody should keep by hand: their list,
// and the sources that compile them. Parsing the shared headers takes longer than compiling an operation, so a source
// includes all operations of a family, and those of several families where they are small.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
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
    const structs = Array.from(
      text.matchAll(/^struct (\w+) \{(?:(?!^struct )[\s\S])*?\bkName = "/gm),
      ([, name]) => name,
    );
    return structs.length > 0 ? [{ header, structs }] : [];
  });
}

const family = (path) => path.split("/")[1];
const includes = (files) => files.map((file) => `#include "${file}"\n`).join("");

/** A source holds families, in order, until its files have this many bytes. */
const sourceBytes = 16_000;

/** Files by the source that compiles them, as [name, files]; the name joins those of the families. */
function bySource(files) {
  const sources = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const name of new Set(files.map(family))) {
    const own = files.filter((file) => family(file) === name);
    if (bytes >= sourceBytes) {
      sources.push([[], []]);
      bytes = 0;
    }
    const [names, all] = sources.at(-1);
    names.push(name);
    all.push(...own);
    bytes += own.reduce((sum, file) => sum + statSync(join(root, "native", file)).size, 0);
  }
  return sources.map(([names, all]) => [names.join("_"), all]);
}

/** Sources that make an Operation of each contract, and one that lists them all. */
function operationSources() {
  const found = contracts();
  const names = found.flatMap(({ structs }) => structs).sort();
  const twice = names.find((name, i) => names[i + 1] === name);
  if (twice) fail(`two operations are called ${twice}: rename one`);
  const groups = bySource(found.map(({ header }) => header));
  const sources = groups.map(([name, headers]) => {
    const structs = found.filter(({ header }) => headers.includes(header)).flatMap((contract) => contract.structs);
    return [
      `${name}.operations.cc`,
      `#include "engine/operation_of.h"\n${includes(headers)}\nnamespace caracal {\n\n` +
        `${structs.map((struct) => `CARACAL_OPERATION(${struct})\n`).join("")}\n` +
        `void append_${name}(std::vector<OperationType>& types) {\n` +
        `${structs.map((struct) => `  types.push_back(operation_type<${struct}>());\n`).join("")}}\n\n}  // namespace caracal\n`,
    ];
  });
  sources.push([
    "operations.cc",
    `#include "engine/operations.h"\n\nnamespace caracal {\n\n` +
      `${groups.map(([name]) => `void append_${name}(std::vector<OperationType>& types);\n`).join("")}\n` +
      `std::vector<OperationType> operation_types() {\n  std::vector<OperationType> types;\n` +
      `${groups.map(([name]) => `  append_${name}(types);\n`).join("")}  return types;\n}\n\n}  // namespace caracal\n`,
  ]);
  return sources;
}

/**
 * Writes the sources that are generated. Files that would not change keep their time.
 * @returns the paths from the project's root, by the list of sources that they belong to: `cpu` is compiled once per
 *   instruction set, `core` once
 */
export function generateOperations() {
  mkdirSync(join(root, generated), { recursive: true });
  const unities = (suffix) =>
    bySource(operationFiles(suffix)).map(([name, files]) => [`${name}${suffix}`, includes(files)]);
  const lists = { cpu: unities(".cpu.cc"), core: [...operationSources(), ...unities(".cuda.cc")] };
  const all = [...lists.cpu, ...lists.core];
  for (const [name, text] of all)
    writeIfChanged(`${generated}/${name}`, `// Written by scripts/lib/operations.mjs.\n${text}`);
  const current = new Set(all.map(([name]) => name));
  for (const name of readdirSync(join(root, generated)))
    if (/\.(cpu|cuda|operations)\.cc$/.test(name) && !current.has(name)) rmSync(join(root, generated, name)); // of families that are gone
  return Object.fromEntries(
    Object.entries(lists).map(([list, files]) => [list, files.map(([name]) => `${generated}/${name}`)]),
  );
}
