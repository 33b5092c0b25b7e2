// Builds the CUDA kernels: nvcc compiles every native/ops/<family>/<name>.cu to PTX, ptxas assembles cubins from that
// PTX, and a C++ source embeds both. Tests run the same PTX that ships.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { generated, operationFiles } from "./sources.mjs";
import { fail, root, writeIfChanged } from "./steps.mjs";

const folder = "build/kernels";
const options = `${generated}/kernels.json`;
/** The compute capability of the PTX, which the driver compiles if no cubin fits. */
const baseline = 80;
/** Tests check a cubin for each of these generations; a release embeds cubins for all of `released`. */
const checked = [80, 90, 100];
const released = [80, 86, 89, 90, 100, 120];

/** Kernels that may spill registers, each with the reason. */
const exceptions = {};

/** Whether the nvcc that prints this version can compile the kernels. */
export function usable(version) {
  return Number(/release (\d+)\./.exec(version ?? "")?.[1] ?? 0) >= 13;
}

function hasNvcc() {
  const { status, stdout } = spawnSync("nvcc", ["--version"], { encoding: "utf8" });
  if (status === 0 && usable(stdout)) return true;
  const found = status === 0 ? (/release [\d.]+/.exec(stdout)?.[0] ?? "of an unknown release") : "not on the PATH";
  console.error(`caracal: building without CUDA kernels: nvcc is ${found}, but 13.0 or newer is needed`);
  return false;
}

/** The compute capabilities of this machine's GPUs that can run the kernels, such as 90. */
function gpus() {
  const query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8" });
  if (status !== 0) return [];
  const found = stdout.trim().split("\n");
  return [...new Set(found.map((line) => Number(line.replace(".", ""))))].filter((a) => a >= baseline);
}

/**
 * Whether the build has CUDA kernels, and the architectures whose cubins it embeds. Kernels take a third of a build's
 * time, so a machine without a GPU builds them only for those who ask: CARACAL_CUDA=on, or a build that already has
 * them. Cubins are for CARACAL_CUDA_ARCHS ("80,90" or "all"), else for this machine's GPUs.
 */
function chooseKernels() {
  const { CARACAL_CUDA: wanted, CARACAL_CUDA_ARCHS: chosen } = process.env;
  if (wanted === "off") return { cuda: false, architectures: [] };
  const here = gpus();
  if ((wanted !== "on" && here.length === 0 && !lastChoice().cuda) || !hasNvcc())
    return { cuda: false, architectures: [] };
  if (chosen === "all") return { cuda: true, architectures: released };
  return { cuda: true, architectures: chosen?.split(",").filter(Boolean).map(Number) ?? here };
}

/** What the last build chose. */
export function lastChoice() {
  const file = join(root, options);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { cuda: false, architectures: [] };
}

function command(program, args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => fail(`${program} could not be run: ${error.message}`));
    child.on("close", (status) => {
      const advice = "CARACAL_CUDA=off builds without the CUDA kernels";
      if (status !== 0) fail(`${program} failed:\n${output}\nCommand: ${program} ${args.join(" ")}\n${advice}`);
      resolve(output);
    });
  });
}

/** Runs tasks in parallel, one per core at a time. */
async function all(tasks) {
  const queue = [...tasks];
  const work = async () => {
    for (let task = queue.shift(); task; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
}

/** Parses the output of `ptxas -v`: registers, spilled bytes and static shared memory of each kernel and function. */
export function resourcesOf(output) {
  const found = {};
  // Only kernels have a line that starts with "Used".
  for (const [, name, properties, used = ""] of output.matchAll(
    /Function properties for (\w+)\n([^\n]*)(?:\n[^\n]*(Used \d+ registers[^\n]*))?/g,
  )) {
    const number = (pattern, text) => Number(pattern.exec(text)?.[1] ?? 0);
    found[name] = {
      registers: number(/Used (\d+) registers/, used),
      spilled: number(/(\d+) bytes spill stores/, properties) + number(/(\d+) bytes spill loads/, properties),
      shared: number(/(\d+) bytes smem/, used),
    };
  }
  return found;
}

function refuseBadKernels(name, architecture, output) {
  const bad = Object.entries(resourcesOf(output))
    .filter(([kernel, { spilled }]) => spilled > 0 && !exceptions[kernel])
    .map(([kernel, { spilled }]) => `${kernel} spills ${spilled} bytes of registers`);
  for (const [line] of output.matchAll(/^.*(?:warning|Potential Performance Loss).*$/gm)) bad.push(line);
  if (bad.length > 0)
    fail(`sm_${architecture} kernels of ${name}:\n  ${bad.join("\n  ")}\nFix them, or list them in ${import.meta.url}`);
}

const time = (path) => (existsSync(join(root, path)) ? statSync(join(root, path)).mtimeMs : undefined);

/** Whether a file is missing or older than one of its inputs, or an input is missing. */
function stale(file, inputs) {
  const made = time(file);
  return made === undefined || inputs.some((input) => !(time(input) <= made));
}

/** The inputs that nvcc listed in a depfile, without the headers of the toolkit. */
function dependencies(depfile) {
  if (time(depfile) === undefined) return [depfile];
  const paths = readFileSync(join(root, depfile), "utf8").replace(/\\\n/g, " ").split(/\s+/).slice(2);
  return paths.filter((path) => path.startsWith("native/"));
}

/** Compiles a .cu to PTX unless the PTX is newer than all inputs. @returns whether it did */
async function compile({ source, ptx }) {
  const depfile = ptx.replace(/ptx$/, "d");
  if (!stale(ptx, ["scripts/lib/kernels.mjs", source, ...dependencies(depfile)])) return false;
  const flags = ["-std=c++20", "-O3", "-lineinfo", "-I", "native", `-arch=compute_${baseline}`];
  await command("nvcc", ["-ptx", ...flags, "-MD", "-MF", depfile, "-o", ptx, source]);
  // Paths of the build must not ship.
  const path = join(root, ptx);
  writeFileSync(path, readFileSync(path, "utf8").replaceAll(`"${root}/`, '"'));
  return true;
}

/** Removes line numbers from PTX, because ptxas would otherwise copy the whole text into the cubin. */
function withoutLines(text) {
  return text.replace(/^\s*\.(?:loc|file)\b.*\n/gm, "").replace(/^\s*\.section\s+\.debug[\s\S]*?^\s*\}\n/gm, "");
}

/** Assembles PTX to a cubin and a JSON list of its kernels' resources, unless both are newer. @returns whether it did */
async function assemble({ name, ptx }, architecture) {
  const [cubin, resources] = ["cubin", "json"].map((ending) => `${folder}/${name}.sm_${architecture}.${ending}`);
  if (!stale(resources, [ptx, "scripts/lib/kernels.mjs"]) && time(cubin) !== undefined) return false;
  const plain = `${folder}/${name}.sm_${architecture}.plain`; // ptxas reads no standard input
  writeFileSync(join(root, plain), withoutLines(readFileSync(join(root, ptx), "utf8")));
  const output = await command("ptxas", ["-v", `-arch=sm_${architecture}`, plain, "-o", cubin]);
  rmSync(join(root, plain));
  refuseBadKernels(name, architecture, output);
  writeFileSync(join(root, resources), JSON.stringify(resourcesOf(output), null, 1));
  return true;
}

/** The names of a module's kernels. */
function entriesOf({ ptx }) {
  return Array.from(readFileSync(join(root, ptx), "utf8").matchAll(/\.entry (\w+)/g), ([, entry]) => entry);
}

/** The modules, one per .cu file of the operations, with name, source and PTX. */
function modules() {
  return operationFiles(".cu").map((path) => {
    const name = basename(path, ".cu");
    return { name, source: `native/${path}`, ptx: `${folder}/${name}.ptx` };
  });
}

/** The modules of the build with the names of their kernels; none if the build had no nvcc. */
export function kernelModules() {
  return lastChoice().cuda ? modules().map((module) => ({ ...module, entries: entriesOf(module) })) : [];
}

/** The C++ source that embeds the images and defines the functions of native/cuda/kernels.h. */
function embed(found, targets) {
  const files = found.flatMap((module) => [
    { module: module.name, file: module.ptx, target: baseline, ptx: true },
    ...targets.map((target) => ({
      module: module.name,
      file: `${folder}/${module.name}.sm_${target}.cubin`,
      target,
      ptx: false,
    })),
  ]);
  const blobs = files.map(
    ({ file }, i) =>
      `__asm__(".section .rodata\\n.balign 64\\nkernel_image_${i}:\\n.incbin \\"${join(root, file)}\\"\\n` +
      `kernel_image_${i}_end:\\n.byte 0\\n.previous\\n");\n` +
      `extern "C" __attribute__((visibility("hidden"))) const char kernel_image_${i}[];`,
  );
  const rows = files.map(({ module, file, target, ptx }, i) => {
    return `    {"${module}", ${target}, ${ptx}, kernel_image_${i}, ${statSync(join(root, file)).size}},`;
  });
  const entries = found
    .flatMap((module) => entriesOf(module).map((entry) => [entry, module.name]))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const twice = entries.find(([entry], i) => entries[i + 1]?.[0] === entry);
  if (twice) fail(`two kernels are called ${twice[0]}: rename one`);
  const table = (type, name, lines) =>
    lines.length > 0
      ? `  static const ${type} ${name}[] = {\n${lines.join("\n")}\n  };\n  return ${name};`
      : "  return {};";
  return `// Generated by scripts/lib/kernels.mjs.
#include "cuda/kernels.h"

${blobs.join("\n")}

namespace caracal {
std::span<const KernelImage> kernel_images() {
${table("KernelImage", "images", rows)}
}
std::span<const KernelEntry> kernel_entries() {
${table(
  "KernelEntry",
  "entries",
  entries.map(([entry, name]) => `    {"${entry}", "${name}"},`),
)}
}
}  // namespace caracal
`;
}

/** The inputs of the kernels. The file `options` changes with the tools and settings of the build. */
export function kernelInputs() {
  mkdirSync(join(root, generated), { recursive: true });
  writeIfChanged(options, JSON.stringify(chooseKernels()));
  const sources = ["native/ops", "native/cuda", "native/core"].flatMap((path) =>
    readdirSync(join(root, path), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(cu|cuh|h)$/.test(name))
      .map((name) => `${path}/${name}`),
  );
  return [options, "scripts/lib/kernels.mjs", ...sources.sort()];
}

/** Compiles the kernels and writes the source that embeds them to `file`. Without nvcc it embeds none. */
export async function buildKernels(file) {
  kernelInputs();
  mkdirSync(join(root, folder), { recursive: true });
  const { cuda, architectures: targets } = lastChoice();
  const known = modules(); // without CUDA their PTX is kept for the next build that wants it
  const found = cuda ? known : [];
  const names = new Set(known.map(({ name }) => name));
  if (names.size < known.length) fail("two .cu files below native/ops have one name: rename one");
  for (const file of readdirSync(join(root, folder)))
    if (!names.has(file.split(".")[0])) rmSync(join(root, folder, file)); // its module no longer exists
  await all(found.map((module) => () => compile(module)));
  await all(found.flatMap((module) => targets.map((target) => () => assemble(module, target))));
  writeFileSync(file, embed(found, targets)); // even if unchanged, since make compares its time with the inputs'
}

/** Assembles the kernels for each generation in `checked` and fails if one of them spills registers. */
export async function checkKernels() {
  if (kernelModules().length === 0) return;
  const began = Date.now();
  let made = 0;
  const pairs = modules().flatMap((module) => checked.map((target) => [module, target]));
  await all(
    pairs.map(
      ([module, target]) =>
        async () =>
          (made += (await assemble(module, target)) ? 1 : 0),
    ),
  );
  if (made > 0)
    console.error(`caracal: checked the CUDA kernels with ptxas (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}
