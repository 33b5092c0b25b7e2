// Finds the native sources and generates, in build/generated, the list of operations and the sources that the build
// tools compile. Parsing the shared headers takes longer than compiling most files, so a generated source includes all
// files of a room (native/<room>, native/ops/<family>), or of several small ones.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fail, root, writeIfChanged } from "./steps.mjs";

export const generated = "build/generated";

/** The files in native/<folder> whose names end with `suffix`, sorted, as paths relative to native/. */
function filesIn(folder, suffix) {
  return readdirSync(join(root, "native", folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(suffix))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    .sort();
}

/** The files in native/ops whose names end with `suffix`, sorted, as paths relative to native/. */
export const operationFiles = (suffix) => filesIn("ops", suffix);

/** The sources of the host that belong to no backend's operations, such as native/core/allocator.cc. */
function hostFiles() {
  return ["core", "cpu", "cuda", "engine", "node", "ops"]
    .flatMap((folder) => filesIn(folder, ".cc"))
    .filter((path) => !/\.(cpu|cuda)\.cc$/.test(path));
}

/** The contracts, as `{ header, structs }` for each header that defines the kName of an operation. */
function contracts() {
  return operationFiles(".h").flatMap((header) => {
    const text = readFileSync(join(root, "native", header), "utf8");
    const structs = Array.from(
      text.matchAll(/^struct (\w+)(?: : \w+)? \{(?:(?!^struct )[\s\S])*?\bkName = "/gm),
      ([, name]) => name,
    );
    return structs.length > 0 ? [{ header, structs }] : [];
  });
}

const room = (path) => path.replace(/^ops\//, "").split("/")[0];
const includes = (files) => files.map((file) => `#include "${file}"\n`).join("");

/** A source includes further rooms until its files have about this many bytes. */
const sourceBytes = 16_000;

/** Divides files among sources, as [name, files]. The name of a source joins the names of its rooms. */
function bySource(files) {
  const size = (file) => statSync(join(root, "native", file)).size;
  const total = files.reduce((sum, file) => sum + size(file), 0);
  const share = total / Math.max(1, Math.round(total / sourceBytes)); // so that the last source is not a small one
  const sources = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const name of new Set(files.map(room))) {
    const own = files.filter((file) => room(file) === name);
    if (bytes >= share) {
      sources.push([[], []]);
      bytes = 0;
    }
    const [names, all] = sources.at(-1);
    names.push(name);
    all.push(...own);
    bytes += own.reduce((sum, file) => sum + size(file), 0);
  }
  return sources.map(([names, all]) => [names.join("_"), all]);
}

/** The sources that derive an Operation from each contract, and one that lists all operations. */
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
 * Writes the generated sources. Files whose contents are unchanged keep their modification time.
 * @returns the paths relative to the project's root: those in `cpu` are compiled once per instruction set, those in
 *   `core` once
 */
export function generateSources() {
  mkdirSync(join(root, generated), { recursive: true });
  const unities = (suffix, files = operationFiles(suffix)) =>
    bySource(files).map(([name, included]) => [`${name}${suffix}`, includes(included)]);
  const cpu = unities(".cpu.cc");
  const core = [...unities(".host.cc", hostFiles()), ...unities(".cuda.cc"), ...operationSources()];
  for (const [name, text] of [...cpu, ...core])
    writeIfChanged(`${generated}/${name}`, `// Generated by scripts/lib/sources.mjs.\n${text}`);
  const current = new Set([...cpu, ...core].map(([name]) => name));
  // Removes sources of rooms that no longer exist.
  for (const name of readdirSync(join(root, generated)))
    if (/\.(cpu|cuda|host|operations)\.cc$/.test(name) && !current.has(name)) rmSync(join(root, generated, name));
  const paths = (sources) => sources.map(([name]) => `${generated}/${name}`);
  const native = (files) => files.map((path) => `native/${path}`);
  return {
    cpu: [...native(filesIn("cpu", ".cpu.cc")), ...paths(cpu)],
    core: paths(core),
    vgpu: native(filesIn("vgpu", ".cc")),
  };
}
