// node scripts/mutate-vgpu.mjs [chapter ...] [--sample N] [--seed S] [--jobs N] [--chapter-only]
//
// Whether the tests of the virtual GPU notice a fault in what it computes or checks: for finding what no test looks at.
// Of every chapter, a source below native/vgpu, mutants are compiled under build/, linked with the other objects of the
// library, and given to the tests of the chapter; what survives these, to all of test/vgpu unless --chapter-only. What
// does not compile does not count. --sample: so many of each chapter, spread over its definitions. A survivor is
// either no fault (another name for the same thing, what the ISA leaves open) or a row that a test lacks.
// A mutant takes 4 to 8 seconds on one core, 20 to 30 with the tests of hopper/, and minutes more if all tests see it:
// a sample of 16 of a chapter is a matter of minutes, all 150 to 500 of one of an hour.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { buildVirtualGpu } from "./lib/build.mjs";
import { mutantsOf, opcodesWithout } from "./lib/mutants.mjs";
import { fail, root } from "./lib/steps.mjs";

const sources = join(root, "native/vgpu");
const objects = join(root, "build/Release/obj.target/caracal_vgpu/native/vgpu");
const folder = join(root, "build/mutants");

/** The tests about a chapter, below test/vgpu, without what follows. A chapter without a folder is of instructions. */
const tests = {
  approximation: ["opcodes/floating", "opcodes/half", "opcodes/approximate"],
  async_copy: ["warp/async", "warp/hopper"],
  atomic: ["warp/atomic", "opcodes/atomic", "warp/hopper"],
  barrier: ["warp/barrier", "warp/meeting", "warp/warp"],
  bits: ["opcodes/integer"],
  bulk_copy: ["hopper/tma", "hopper/cuda_ptx", "hopper/hopper"],
  cluster: ["warp/cluster"],
  comparison: ["opcodes/comparison"],
  control: ["warp/control"],
  convergence: ["warp/meeting", "warp/warp"],
  conversion: ["opcodes/conversion"],
  floating: ["opcodes/floating", "opcodes/approximate"],
  half: ["opcodes/half", "opcodes/approximate"],
  integer: ["opcodes/integer"],
  logic: ["opcodes/logic"],
  matrix: ["warp/matrix", "warp/hopper"],
  memory: ["opcodes/memory"],
  move: ["opcodes/logic"],
  numbers: ["opcodes/comparison", "opcodes/conversion", "opcodes/floating", "opcodes/half"],
  system_calls: ["warp/system_calls", "warp/control"],
  tensor: ["warp/accumulation", "warp/matrix", "warp/hopper"],
  tensor_map: ["hopper/cuda_ptx", "hopper/tma"],
  warp: ["warp/warp", "warp/hopper", "opcodes/shuffle"],
  wgmma: ["hopper/wgmma", "hopper/hopper"],
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
/** With a header all that includes it is compiled. */
const includedBy = {
  approximation: ["floating", "half"],
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

/** Ends with the exit status, or null where it took longer; then no process of its group is left. */
function finished(command, args, limit, env = {}) {
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
const compile = (args) => finished("g++", [...flags, ...args], 120_000);

/** One header of all that the chapter includes, compiled once: most of the time a mutant takes is parsing. */
async function precompileHeaders(chapter) {
  const lines = readFileSync(join(sources, fileOf(chapter)), "utf8").match(/^#include .*$/gm);
  const header = join(folder, chapter, "prefix.h");
  mkdirSync(dirname(header), { recursive: true });
  writeFileSync(header, lines.join("\n"));
  const includes = [`-I${sources}`, `-I${join(root, "native")}`];
  const status = await compile([...includes, "-xc++-header", header, "-o", `${header}.gch`]);
  if (status !== 0) fail(`what ${basename(fileOf(chapter))} includes does not compile`);
  return header;
}

/** A library with this text in place of a chapter, as `place`/libcaracal_vgpu.so; false if it cannot be built. */
async function build(chapter, text, place, prefix) {
  const file = fileOf(chapter);
  const units = includedBy[chapter]?.map(fileOf) ?? [file];
  rmSync(place, { recursive: true, force: true });
  mkdirSync(join(place, dirname(file)), { recursive: true });
  writeFileSync(join(place, file), text);
  const compiled = [];
  for (const unit of units) {
    const [source, includes] =
      unit === file ? [join(place, file), ["-include", prefix]] : [join(sources, unit), [`-I${place}`]];
    const object = join(place, `${basename(unit)}.o`);
    if ((await compile([...includes, `-I${sources}`, `-I${join(root, "native")}`, "-c", source, "-o", object])) !== 0)
      return false;
    compiled.push(object);
  }
  const others = readdirSync(objects, { recursive: true })
    .filter((name) => name.endsWith(".o") && !units.includes(name.replace(/o$/, "cc")))
    .map((name) => join(objects, name));
  const library = join(place, "libcaracal_vgpu.so");
  return (await finished("g++", ["-shared", ...compiled, ...others, "-lpthread", "-o", library], 60_000)) === 0;
}

/** Whether the tests in these files hold with the library in `place`. */
async function holds(place, files, limit) {
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  // What ptxas says has nothing to do with the library.
  const args = [vitest, "run", "--bail=1", "--typecheck=false", "-t", "^(?!.*ptxas accepts)", ...files];
  const env = { CARACAL_VGPU_LIBRARY: join(place, "libcaracal_vgpu.so"), CARACAL_VGPU_BUDGET: "20000000" };
  return (await finished(process.execPath, args, limit, env)) === 0;
}

/** `count` of the mutants in an order that is the same for the same seed: one of each definition, then another … */
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

let withoutMutation;
/** Whether all tests hold with the library as it is: asked once, when it matters. */
const allHold = () => {
  withoutMutation ??= holds(join(root, "build/Release"), ["test/vgpu/"], 3_600_000);
  return withoutMutation;
};

/** Tries one mutant: "killed", "survived", or undefined where it does not compile. */
async function tried(chapter, text, place, prefix, limit) {
  if (!(await build(chapter, text, place, prefix))) return undefined;
  if (!(await holds(place, tests[chapter].map(pathOf), limit))) return "killed";
  if (options["chapter-only"]) return "survived";
  if (!(await allHold())) fail("the tests of the virtual GPU fail without a mutation");
  return (await holds(place, ["test/vgpu/"], 15 * limit)) ? "survived" : "killed";
}
const pathOf = (test) => `test/vgpu/${test}`;

async function tryChapter(chapter) {
  const prefix = await precompileHeaders(chapter);
  const name = basename(fileOf(chapter));
  const source = readFileSync(join(sources, fileOf(chapter)), "utf8");
  const place = (job) => join(folder, `${chapter}-${job}`);
  const began = Date.now();
  if (
    !(await build(chapter, source, place(0), prefix)) ||
    !(await holds(place(0), tests[chapter].map(pathOf), 600_000))
  )
    fail(`${name}: the tests of the chapter fail without a mutation`);
  const limit = 10_000 + 4 * (Date.now() - began);
  const all = mutantsOf(source);
  const queue = sampled(all, Number(options.sample), Number(options.seed));
  const counts = { killed: 0, survived: 0 };
  const work = async (job) => {
    for (let m = queue.shift(); m; m = queue.shift()) {
      const outcome = await tried(chapter, m.text, place(job), prefix, limit);
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

const known = Object.keys(tests);
const unknown = positionals.find((chapter) => !known.includes(chapter));
if (unknown) fail(`no chapter ${basename(unknown)}; there are ${known.join(", ")}`);
buildVirtualGpu();
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
let survivors = 0;
for (const chapter of positionals.length > 0 ? positionals : known) survivors += await tryChapter(chapter);
process.exit(survivors > 0 ? 1 : 0);
