// Rules for the sources: which rooms may import and include each other, no cycles, and the maximum length of files and
// functions. The sources are read as text. `npm run lint` runs the rules through scripts/rules.mjs.
import { readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import ts from "typescript";

/**
 * The layers of the TypeScript, from the bottom up. A file imports from its own room and from lower layers; the rooms
 * of a layer do not import each other. A room is a folder or a file. A file belongs to the room with the longest
 * matching path.
 */
const layers = [
  ["lib/errors.ts", "lib/version.ts"],
  ["lib/options.ts"],
  ["lib/turns.ts"],
  ["lib/native"],
  ["lib/tensor"],
  ["lib/ops", "lib/media", "lib/checkpoint"],
  ["lib/synth"],
  ["lib/tensorFiles.ts"],
  ["lib/model/types.ts", "lib/model/packed"],
  ["lib/model/weightSource.ts"],
  ["lib/model/weights.ts"],
  ["lib/model/language", "lib/model/vision", "lib/model/audio", "lib/model/speech"],
  ["lib/model/prompt"],
  ["lib/model/reply"],
  ["lib/model/loader.ts"],
  ["lib/live"],
  ["lib/model/omni.ts"],
  ["lib/verify"],
  ["lib/index.ts", "lib/server"], // a program that imports the index does not load the server
  ["lib/cli"],
  ["bench"],
  ["lib/cli/main.ts"], // loads all commands, including those of bench
  ["page"],
];
/** A room that runs in browsers: it imports no other, and no other imports it. */
const apart = "page";

/** The prefixes of paths that each part of native/ may include, relative to native/. The first matching row applies. */
const includes = [
  [/^core\//, ["core/"]],
  [/^vgpu\//, ["vgpu/", "cuda/cuda_api.h"]],
  [/^cpu\//, ["cpu/", "core/"]],
  [/^cuda\//, ["cuda/", "core/"]],
  [/^engine\//, ["engine/", "cpu/", "cuda/", "core/"]],
  [/^node\//, ["node/", "engine/", "cpu/", "cuda/", "core/"]],
  [/^ops\/.*\.cpu\.(cc|h)$/, ["ops/", "cpu/", "core/"]],
  [/^ops\/.*(\.cuda\.(cc|h)|\.kernels\.h|\.cuh?)$/, ["ops/", "cuda/", "core/"]],
  [/^ops\//, ["ops/", "core/"]],
];

/** The kinds of headers in native/ops that each kind of file may include. */
const kinds = {
  "": [""],
  cpu: ["", "cpu"],
  kernels: ["", "kernels"],
  device: ["", "kernels", "device"],
  cuda: ["", "kernels", "cuda"],
};
const kindOf = (path) => (/\.cuh?$/.test(path) ? "device" : (/\.(cpu|cuda|kernels)\.(?:cc|h)$/.exec(path)?.[1] ?? ""));

const maxLines = 400;
const maxFunctionLines = 60;
/** Longer files, each with the reason. */
const longFiles = {
  "native/cuda/cuda_api.h": "declarations only, in the order of NVIDIA's header",
  "lib/native/operations.ts": "generated",
};

/** Checks sources, given as a map from path to text. @returns one line for each broken rule */
export function brokenRules(sources) {
  const typescript = [...sources].filter(([path]) => /^(lib|bench|page)\/.*\.ts$/.test(path));
  const native = [...sources].filter(([path]) => /^native\/.*\.(cc|h|cu|cuh)$/.test(path));
  return [
    ...importRules(typescript),
    ...cycles(new Map(typescript.map(([path, text]) => [path, importsOf(path, text)]))),
    ...typescript.flatMap(([path, text]) => longFunctions(path, text)),
    ...[...sources].flatMap(([path, text]) => (path.endsWith(".test.ts") ? looseMatches(path, text) : [])),
    ...native.flatMap(([path, text]) => includeRules(path, text, sources)),
    ...cycles(new Map(native.map(([path, text]) => [path, includesOf(path, text, sources)]))),
    ...native.flatMap(([path, text]) => longNativeFunctions(path, text)),
    ...[...sources].flatMap(([path, text]) => {
      const lines = text.split("\n").length - 1;
      return lines > maxLines && !longFiles[path] ? [`${path} has ${lines} lines; split it below ${maxLines}`] : [];
    }),
  ];
}

// --- TypeScript ------------------------------------------------------------------------------------------------------

/** The files that a file imports, including imports of types. */
function importsOf(path, text) {
  const specifiers = text.matchAll(/^(?:import|export)\b[^"]*?\bfrom "(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm);
  return Array.from(specifiers, ([, from, dynamic]) =>
    posix.join(dirname(path), from ?? dynamic).replace(/\.js$/, ".ts"),
  );
}

function roomOf(path) {
  const rooms = layers.flatMap((rooms, layer) => rooms.map((room) => ({ room, layer })));
  const inside = rooms.filter(({ room }) => path === room || path.startsWith(`${room}/`));
  return inside.sort((a, b) => b.room.length - a.room.length)[0];
}

function importRules(files) {
  return files.flatMap(([path, text]) => {
    const own = roomOf(path);
    if (!own) return [`${path} belongs to no room: add one to scripts/lib/rules.mjs`];
    return importsOf(path, text).flatMap((target) => {
      const other = roomOf(target);
      if (!other || other.room === own.room) return [];
      if (other.room === apart || own.room === apart)
        return [`${path} imports ${target}, but ${apart} runs in browsers, and the rest does not`];
      if (other.layer < own.layer) return [];
      return [`${path} imports ${target}, but ${own.room} is not above ${other.room}`];
    });
  });
}

/** All nodes of the TypeScript compiler's syntax tree, each with its first line and its number of lines. */
function* nodesOf(path, text) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const line = (position) => source.getLineAndCharacterOfPosition(position).line;
  const waiting = [source];
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    const first = line(node.getStart(source));
    yield { node, at: `${path}:${first + 1}`, lines: line(node.end) - first + 1 };
    waiting.push(...node.getChildren(source));
  }
}

/** Functions and methods above the limit. */
function longFunctions(path, text) {
  return Array.from(nodesOf(path, text)).flatMap(({ node, at, lines }) =>
    ts.isFunctionLike(node) && node.body && lines > maxFunctionLines
      ? [`${at}: a function of ${lines} lines; split it below ${maxFunctionLines}`]
      : [],
  );
}

/** Regular expressions in `toMatchObject`, which compares them with a string by their own properties: it never fails. */
function looseMatches(path, text) {
  const isLoose = (node) =>
    ts.isRegularExpressionLiteral(node) &&
    ts.isPropertyAssignment(node.parent) &&
    ts.isCallExpression(node.parent.parent.parent) &&
    node.parent.parent.parent.expression.getText().endsWith(".toMatchObject");
  return Array.from(nodesOf(path, text)).flatMap(({ node, at }) =>
    isLoose(node) ? [`${at}: toMatchObject takes any string for a regular expression; use expect.stringMatching`] : [],
  );
}

// --- C++ and CUDA ----------------------------------------------------------------------------------------------------

const quoted = (text) => Array.from(text.matchAll(/^\s*#\s*include "([^"]+)"/gm), ([, name]) => name);

/** The files in native/ that a file includes. Files of native/vgpu also include relative to that folder. */
function includesOf(path, text, sources) {
  const folders = path.startsWith("native/vgpu/") ? ["native/vgpu", "native"] : ["native"];
  return quoted(text).flatMap((name) =>
    folders
      .map((f) => `${f}/${name}`)
      .filter((file) => sources.has(file))
      .slice(0, 1),
  );
}

function includeRules(path, text, sources) {
  const broken = [];
  const own = path.slice("native/".length);
  const row = includes.find(([pattern]) => pattern.test(own));
  if (!row) return [`${path} belongs to no room: add one to scripts/lib/rules.mjs`];
  if (/^ops\/[^/]+$/.test(own)) broken.push(`${path} is loose in native/ops: move it into the folder of its family`);
  const found = includesOf(path, text, sources);
  const named = quoted(text).length;
  if (found.length < named) broken.push(`${path} includes a file that is not below native/`);
  for (const file of found) {
    const target = file.slice("native/".length);
    const allowed = row[1].some((prefix) => target.startsWith(prefix));
    if (!allowed) broken.push(`${path} includes ${target}; it may include ${row[1].join(", ")}`);
    else if (own.startsWith("ops/") && target.startsWith("ops/") && !kinds[kindOf(own)].includes(kindOf(target)))
      broken.push(`${path} includes ${target}, which belongs to another side (see the suffixes in CONTRIBUTING.md)`);
  }
  if (/extern "C" __global__/.test(text) && own !== "cuda/kernel.h")
    broken.push(`${path} defines a kernel without CARACAL_KERNEL, which checks its parameters against the launch`);
  if (/\basm\b/.test(text.replace(/\/\/.*/g, "")) && /\.cuh?$/.test(own) && !own.startsWith("cuda/ptx/"))
    broken.push(`${path} has inline assembly; wrap the instruction in native/cuda/ptx`);
  return broken;
}

/** Functions above the limit. clang-format aligns the closing brace with the beginning of the definition. */
function longNativeFunctions(path, text) {
  const lines = text.split("\n");
  return lines.flatMap((line, i) => {
    const indent = /^( {0,4})[\w~[*&<].*\)(?: const| noexcept| override| try)*(?: : .*)? \{$/.exec(line)?.[1];
    if (indent === undefined || /^\s*(?:if|for|while|switch|else|return)\b/.test(line)) return [];
    const length = lines.slice(i).findIndex((l) => l.startsWith(`${indent}}`)) + 1;
    return length > maxFunctionLines
      ? [`${path}:${i + 1}: a function of ${length} lines; split it below ${maxFunctionLines}`]
      : [];
  });
}

// --- cycles ----------------------------------------------------------------------------------------------------------

/** One line for each group of files that import each other in a cycle (Tarjan's strongly connected components). */
function cycles(graph) {
  const index = new Map();
  const low = new Map();
  const stack = [];
  const found = [];
  const visit = (file) => {
    index.set(file, index.size);
    low.set(file, index.get(file));
    stack.push(file);
    for (const next of graph.get(file)) {
      if (!graph.has(next)) continue;
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(file, Math.min(low.get(file), low.get(next)));
    }
    if (low.get(file) !== index.get(file)) return;
    const group = stack.splice(stack.indexOf(file));
    if (group.length > 1) found.push(`${group.sort().join(", ")} import each other in a cycle`);
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found;
}

/** Reads files in `root`, as a map from path to text. */
export function readSources(root, paths) {
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
}
