// The CUDA kernels: nvcc makes PTX of every native/ops/<family>.cu, ptxas makes a cubin of that PTX for each
// architecture, and build/kernels/images.cc embeds them all. The PTX that is tested is the PTX that is shipped.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fail, newest, root } from "./steps.mjs";

const folder = "build/kernels";
const images = `${folder}/images.cc`;
/** Of which cubins are made: one of each generation, which takes a machine minutes. What ships has every one. */
const chosen = process.env.CARACAL_CUDA_ARCHS ?? "80,90,100";
const architectures = (chosen === "all" ? "80,86,89,90,100,120" : chosen).split(",").map(Number);
/** PTX is made for this one; the cubins are made of it, and a driver makes what is missing. */
const baseline = 80;

/** Kernels that may spill registers or that ptxas warns about, each with the reason. */
const exceptions = {};

/** Whether the nvcc that says this of itself can make the kernels. */
export function usable(version) {
  return Number(/release (\d+)\./.exec(version ?? "")?.[1] ?? 0) >= 13;
}

function hasNvcc() {
  if (process.env.CARACAL_CUDA === "off") return false;
  const { status, stdout } = spawnSync("nvcc", ["--version"], { encoding: "utf8" });
  if (status !== 0) return false;
  if (usable(stdout)) return true;
  const found = /release [\d.]+/.exec(stdout)?.[0] ?? "of an unknown release";
  console.error(`caracal: the CUDA kernels are left out: nvcc is ${found}, 13.0 or newer is needed`);
  return false;
}

/** The newest of the files that the kernels are made of. */
function newestSource() {
  const files = ["native/ops", "native/cuda", "native/core"].flatMap((path) =>
    readdirSync(join(root, path), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(cu|cuh|h)$/.test(name))
      .map((name) => join(path, name)),
  );
  return newest("scripts/lib/kernels.mjs", ...files);
}

function command(program, args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => fail(`${program} could not be run: ${error.message}`));
    child.on("close", (status) => {
      const mend = "CARACAL_CUDA=off builds without the CUDA kernels";
      if (status !== 0) fail(`${program} failed:\n${output}\nCommand: ${program} ${args.join(" ")}\n${mend}`);
      resolve(output);
    });
  });
}

/** Runs tasks, as many at once as there are cores. */
async function all(tasks) {
  const queue = [...tasks];
  const work = async () => {
    for (let task = queue.shift(); task; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
}

/** What ptxas -v says of each kernel, and of functions that it calls: registers, spilled bytes, static shared memory. */
export function resourcesOf(output) {
  const found = {};
  // Only kernels have a line of what they use.
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

function refuseBadKernels(family, architecture, output) {
  const bad = Object.entries(resourcesOf(output))
    .filter(([name, { spilled }]) => spilled > 0 && !exceptions[name])
    .map(([name, { spilled }]) => `${name} spills ${spilled} bytes of registers`);
  for (const [line] of output.matchAll(/^.*(?:warning|Potential Performance Loss).*$/gm)) bad.push(line);
  if (bad.length > 0)
    fail(
      `sm_${architecture} kernels of ${family}:\n  ${bad.join("\n  ")}\nMend them, or name them in ${import.meta.url}`,
    );
}

async function compile(family) {
  const ptx = `${folder}/${family}.ptx`;
  const flags = ["-std=c++20", "-O3", "-lineinfo", "-I", "native", `-arch=compute_${baseline}`];
  await command("nvcc", ["-ptx", ...flags, "-o", ptx, `native/ops/${family}.cu`]);
  // What ships says nothing of where it was made.
  const path = join(root, ptx);
  writeFileSync(path, readFileSync(path, "utf8").replaceAll(`"${root}/`, '"'));
}

async function assemble(family, architecture) {
  const [ptx, cubin] = [`${folder}/${family}.ptx`, `${folder}/${family}.sm_${architecture}.cubin`];
  const output = await command("ptxas", ["-v", `-arch=sm_${architecture}`, "-lineinfo", ptx, "-o", cubin]);
  refuseBadKernels(family, architecture, output);
  writeFileSync(join(root, folder, `${family}.sm_${architecture}.json`), JSON.stringify(resourcesOf(output), null, 1));
}

/** A C++ file that embeds the images, as they stand now, under the names of native/cuda/kernels.h. */
function embed(entries) {
  const blobs = entries.map(({ file }, i) => {
    const path = join(root, file);
    return (
      `__asm__(".section .rodata\\n.balign 64\\nkernel_image_${i}:\\n.incbin \\"${path}\\"\\n` +
      `kernel_image_${i}_end:\\n.byte 0\\n.previous\\n");\n` +
      `extern "C" __attribute__((visibility("hidden"))) const char kernel_image_${i}[], kernel_image_${i}_end[];`
    );
  });
  const rows = entries.map(
    ({ family, target, ptx, bytes }, i) => `    {"${family}", ${target}, ${ptx}, kernel_image_${i}, ${bytes}},`,
  );
  const table = entries.length
    ? `  static const KernelImage images[] = {\n${rows.join("\n")}\n  };\n  return images;`
    : "  return {};";
  return `// Made by scripts/lib/kernels.mjs.\n#include "cuda/kernels.h"\n\n${blobs.join("\n")}\n
namespace caracal {
std::span<const KernelImage> kernel_images() {
${table}
}
}  // namespace caracal\n`;
}

/** Makes build/kernels/images.cc: with every kernel where nvcc is found, with none elsewhere. */
export async function buildKernels() {
  mkdirSync(join(root, folder), { recursive: true });
  const began = Date.now();
  const families = readdirSync(join(root, "native/ops"))
    .filter((name) => name.endsWith(".cu"))
    .map((name) => name.slice(0, -3));
  const entries = [];
  if (hasNvcc()) {
    const source = newestSource();
    const stale = (file) => !existsSync(join(root, file)) || statSync(join(root, file)).mtimeMs < source;
    for (const name of readdirSync(join(root, folder)))
      if (/\.sm_\d+\./.test(name) && stale(`${folder}/${name}`)) rmSync(join(root, folder, name));
    const old = families.filter((family) => stale(`${folder}/${family}.ptx`));
    await all(old.map((family) => () => compile(family)));
    const cubins = families.flatMap((family) => architectures.map((architecture) => [family, architecture]));
    const missing = cubins.filter(([family, architecture]) => stale(`${folder}/${family}.sm_${architecture}.cubin`));
    await all(missing.map((pair) => () => assemble(...pair)));
    for (const family of families) {
      const entry = (file, target, ptx) =>
        entries.push({ family, target, ptx, file, bytes: statSync(join(root, file)).size });
      entry(`${folder}/${family}.ptx`, baseline, true);
      for (const architecture of architectures)
        entry(`${folder}/${family}.sm_${architecture}.cubin`, architecture, false);
    }
    if (old.length + missing.length > 0)
      console.error(`caracal: compiled the CUDA kernels (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  }
  const text = embed(entries);
  const path = join(root, images);
  const changed = entries.some(
    ({ file }) => existsSync(path) && statSync(join(root, file)).mtimeMs > statSync(path).mtimeMs,
  );
  if (changed || !existsSync(path) || readFileSync(path, "utf8") !== text) writeFileSync(path, text);
}
