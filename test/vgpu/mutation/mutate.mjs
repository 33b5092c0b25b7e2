// node test/vgpu/mutation/mutate.mjs [chapter ...] [--sample N] [--seed S] [--jobs N] [--chapter-only]
//
// Measures whether the tests of the virtual GPU detect faults in its computations and checks, and so finds code that no
// test covers. A chapter is a source file of native/vgpu. Its mutants are compiled under build/, linked with the other
// objects of the library and run against the chapter's tests; survivors are then run against all of test/vgpu unless
// --chapter-only is given. Mutants that do not compile do not count. --sample limits the number of mutants per chapter
// and spreads them over its definitions. A survivor is either equivalent (the same behaviour, or one that the ISA leaves
// open) or shows a missing test.
// A mutant takes 4 to 8 seconds on one core, 20 to 30 with the tests of hopper/, and minutes if it survives to the full
// run. A sample of 16 takes minutes, all 150 to 500 mutants of a chapter about an hour.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { buildVirtualGpu } from "../../../scripts/lib/build.mjs";
import { fail, root } from "../../../scripts/lib/steps.mjs";
import { mutantsOf, opcodesWithout } from "./mutants.mjs";

const sources = join(root, "native/vgpu");
const objects = join(root, "build/Release/obj.target/caracal_vgpu/native/vgpu");
const folder = join(root, "build/mutants");

/** The tests of each chapter, as path prefixes below test/vgpu. Chapters without a folder are in instructions/. */
const tests = {
  approximation: ["opcodes/floating", "opcodes/half", "opcodes/approximate"],
  async_copy: ["warp/async", "warp/hopper"],
  atomic: ["warp/atomic", "opcodes/atomic", "warp/hopper"],
  atomic_operations: ["warp/atomic", "opcodes/atomic", "warp/hopper", "hopper/tma", "hopper/cuda_ptx"],
  barrier: ["warp/barrier", "warp/meeting", "warp/warp"],
  bits: ["opcodes/integer"],
  bulk_copy: ["hopper/tma", "hopper/cuda_ptx", "hopper/hopper"],
  cluster: ["warp/cluster"],
  comparison: ["opcodes/comparison"],
  control: ["warp/control"],
  convergence: ["warp/meeting", "warp/warp"],
  conversion: ["opcodes/conversion"],
  fence: ["warp/atomic", "hopper/hopper", "hopper/ring"],
  floating: ["opcodes/floating", "opcodes/approximate"],
  half: ["opcodes/half", "opcodes/approximate"],
  integer: ["opcodes/integer"],
  logic: ["opcodes/logic"],
  matrix: ["warp/matrix", "warp/hopper"],
  memory: ["opcodes/memory"],
  move: ["opcodes/logic"],
  numbers: ["opcodes/comparison", "opcodes/conversion", "opcodes/floating", "opcodes/half"],
  reduction: ["hopper/tma", "hopper/cuda_ptx"],
  system_calls: ["warp/system_calls", "warp/control"],
  tensor: ["warp/accumulation", "warp/matrix", "warp/hopper"],
  tensor_map: ["hopper/cuda_ptx", "hopper/tma"],
  warp: ["warp/warp", "warp/hopper", "opcodes/shuffle"],
  wgmma: ["hopper/wgmma", "hopper/hopper"],
  wgmma_multiply: ["hopper/wgmma", "hopper/hopper"],
  wmma: ["opcodes/wmma", "warp/toolkit"],
  "check/monitor": ["checks/", "warp/barrier", "hopper/hopper", "hopper/ring"],
  "count/counters": ["count/"],
  "machine/async": ["warp/async", "checks/"],
  "machine/block": ["warp/warp", "warp/control", "warp/cluster", "warp/async", "checks/", "warp/grid"],
  "machine/bulk": ["hopper/tma", "hopper/cuda_ptx", "hopper/hopper"],
  "machine/launch": ["warp/grid", "warp/budget", "checks/"],
  "machine/mbarrier": ["warp/hopper", "warp/async"],
  "machine/warp": ["warp/warp", "warp/meeting", "warp/control", "warp/cluster", "warp/barrier", "warp/toolkit"],
};
/** The sources to compile for the mutants of a header. */
const includedBy = {
  approximation: ["floating", "half"],
  atomic_operations: ["atomic", "reduction"],
  numbers: ["comparison", "conversion", "floating", "half"],
};
const fileOf = (chapter) => {
  const path = chapter.includes("/") ? chapter : `instructions/${chapter}`;
  return existsSync(join(sources, `${path}.cc`)) ? `${path}.cc` : `${path}.h`;
};

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    jobs: { type: "string", default: "1" },
    "chapter-only": { type: "boolean", default: false },
  },
});

/** Resolves to the exit status, or to null after `limit` ms, when the whole process group has been killed. */
function exitStatus(command, args, limit, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: "ignore", detached: true });
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), limit);
    child.on("exit", (status) => {
      clearTimeout(timer);
      resolve(status);
    });
  });
}

const flags = [
  "-std=c++20 -O1 -fPIC -fvisibility=hidden -w -mavx2 -mfma -mf16c -ffp-contract=off -fno-math-errno",
  "-fno-trapping-math",
].flatMap((line) => line.split(" "));
const compile = (args) => exitStatus("g++", [...flags, ...args], 120_000);

/** Precompiles all headers that the chapter includes, since parsing them takes most of the time of a mutant. */
async function precompileHeaders(chapter) {
  const lines = readFileSync(join(sources, fileOf(chapter)), "utf8").match(/^#include .*$/gm);
  const header = join(folder, chapter, "prefix.h");
  mkdirSync(dirname(header), { recursive: true });
  writeFileSync(header, lines.join("\n"));
  const includes = [`-I${sources}`, `-I${join(root, "native")}`];
  const status = await compile([...includes, "-xc++-header", header, "-o", `${header}.gch`]);
  if (status !== 0) fail(`the headers of ${basename(fileOf(chapter))} do not compile`);
  return header;
}

/** Builds `directory`/libcaracal_vgpu.so with this text in directory of a chapter. Returns false if it does not build. */
async function build(chapter, text, directory, prefix) {
  const file = fileOf(chapter);
  const units = includedBy[chapter]?.map(fileOf) ?? [file];
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, dirname(file)), { recursive: true });
  writeFileSync(join(directory, file), text);
  const compiled = [];
  for (const unit of units) {
    const [source, includes] =
      unit === file ? [join(directory, file), ["-include", prefix]] : [join(sources, unit), [`-I${directory}`]];
    const object = join(directory, `${basename(unit)}.o`);
    if ((await compile([...includes, `-I${sources}`, `-I${join(root, "native")}`, "-c", source, "-o", object])) !== 0)
      return false;
    compiled.push(object);
  }
  const others = readdirSync(objects, { recursive: true })
    .filter((name) => name.endsWith(".o") && !units.includes(name.replace(/o$/, "cc")))
    .map((name) => join(objects, name));
  const library = join(directory, "libcaracal_vgpu.so");
  return (await exitStatus("g++", ["-shared", ...compiled, ...others, "-lpthread", "-o", library], 60_000)) === 0;
}

/** True if the tests in these files pass with the library in `directory`. */
async function testsPass(directory, files, limit) {
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  // The verdict of ptxas does not depend on the library.
  const args = [vitest, "run", "--bail=1", "--typecheck=false", "-t", "^(?!.*ptxas accepts)", ...files];
  const env = { CARACAL_VGPU_LIBRARY: join(directory, "libcaracal_vgpu.so"), CARACAL_VGPU_BUDGET: "20000000" };
  return (await exitStatus(process.execPath, args, limit, env)) === 0;
}

/** A sample of `count` mutants, determined by the seed: one of each definition, then a second of each, and so on. */
function sampled(mutants, count, seed) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const shuffled = mutants.map((m) => ({ m, turn: random() })).sort((a, b) => a.turn - b.turn);
  const rounds = new Map();
  const ordered = shuffled.map(({ m }) => {
    const round = (rounds.get(m.name) ?? 0) + 1;
    rounds.set(m.name, round);
    return { m, round };
  });
  return ordered
    .sort((a, b) => a.round - b.round)
    .slice(0, count)
    .map(({ m }) => m);
}

let unmutated;
/** True if all tests pass without a mutation. Evaluated once, on first use. */
const allPass = () => {
  unmutated ??= testsPass(join(root, "build/Release"), ["test/vgpu/"], 3_600_000);
  return unmutated;
};

/** Tries one mutant. Returns "killed" or "survived", or undefined if it does not compile. */
async function tryMutant(chapter, text, directory, prefix, limit) {
  if (!(await build(chapter, text, directory, prefix))) return undefined;
  if (!(await testsPass(directory, tests[chapter].map(pathOf), limit))) return "killed";
  if (options["chapter-only"]) return "survived";
  if (!(await allPass())) fail("the tests of the virtual GPU fail without a mutation");
  return (await testsPass(directory, ["test/vgpu/"], 15 * limit)) ? "survived" : "killed";
}
const pathOf = (test) => `test/vgpu/${test}`;

async function tryChapter(chapter) {
  const prefix = await precompileHeaders(chapter);
  const name = basename(fileOf(chapter));
  const source = readFileSync(join(sources, fileOf(chapter)), "utf8");
  const directory = (job) => join(folder, `${chapter}-${job}`);
  const began = Date.now();
  if (
    !(await build(chapter, source, directory(0), prefix)) ||
    !(await testsPass(directory(0), tests[chapter].map(pathOf), 600_000))
  )
    fail(`${name}: the tests of the chapter fail without a mutation`);
  const limit = 10_000 + 4 * (Date.now() - began);
  const all = mutantsOf(source);
  const queue = sampled(all, Number(options.sample), Number(options.seed));
  const counts = { killed: 0, survived: 0 };
  const work = async (job) => {
    for (let m = queue.shift(); m; m = queue.shift()) {
      const outcome = await tryMutant(chapter, m.text, directory(job), prefix, limit);
      if (outcome) counts[outcome]++;
      if (outcome === "survived") console.log(`  ${name}:${m.line} in ${m.name}: ${m.change}`);
    }
  };
  await Promise.all(Array.from({ length: Number(options.jobs) }, (_, job) => work(job)));
  const { killed, survived } = counts;
  console.log(`${name}: ${killed + survived} of ${all.length} mutants tried, ${killed} killed, ${survived} survived`);
  const untouched = opcodesWithout(source, new Set(all.map((m) => m.name)));
  if (untouched.length > 0) console.log(`  without a mutant: ${untouched.join(", ")}`);
  return survived;
}

const chapters = Object.keys(tests);
const unknown = positionals.find((chapter) => !chapters.includes(chapter));
if (unknown) fail(`unknown chapter ${basename(unknown)}; the chapters are ${chapters.join(", ")}`);
buildVirtualGpu();
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
let survivors = 0;
for (const chapter of positionals.length > 0 ? positionals : chapters) survivors += await tryChapter(chapter);
process.exit(survivors > 0 ? 1 : 0);
