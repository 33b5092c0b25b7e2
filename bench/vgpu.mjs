// node bench/vgpu.mjs [--write DOCUMENT]: the speed of the virtual GPU on this machine. Needs nvcc and what `npm test` builds.
// Times are the best of several launches. Only the checks and counters that a line names are on.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import koffi from "koffi";
import { openTable } from "../dist/bench/document.js";
import { formatTable } from "../dist/lib/cli/table.js";
import { root } from "../scripts/lib/steps.mjs";

const { write } = parseArgs({ options: { write: { type: "string" } } }).values;
const writeTable = write === undefined ? undefined : await openTable(write, "node bench/vgpu.mjs");

const lib = koffi.load(join(root, "build/Release/libcaracal_vgpu.so"));
const f = (signature) => lib.func(signature);
const cu = {
  init: f("int cuInit(uint flags)"),
  reset: f("void caracalVgpuReset()"),
  report: f("const char *caracalVgpuReport()"),
  counters: f("const char *caracalVgpuCounters()"),
  retain: f("int cuDevicePrimaryCtxRetain(_Out_ void **context, int device)"),
  setCurrent: f("int cuCtxSetCurrent(void *context)"),
  synchronize: f("int cuCtxSynchronize()"),
  load: f("int cuModuleLoadData(_Out_ void **module, const char *image)"),
  unload: f("int cuModuleUnload(void *module)"),
  getFunction: f("int cuModuleGetFunction(_Out_ void **f, void *module, const char *name)"),
  alloc: f("int cuMemAlloc_v2(_Out_ uint64_t *address, size_t bytes)"),
  fill: f("int cuMemsetD8_v2(uint64_t address, uint8_t value, size_t bytes)"),
  launch: f(
    "int cuLaunchKernel(void *f, uint gx, uint gy, uint gz, uint bx, uint by, uint bz, uint shared, void *stream, void **params, void *extra)",
  ),
};

function check(code) {
  if (code !== 0) throw new Error(`CUresult ${code}: ${cu.report()}`);
}

const folder = mkdtempSync(join(tmpdir(), "caracal-bench-vgpu-"));
process.on("exit", () => rmSync(folder, { recursive: true }));

function compile(source) {
  const [from, to] = [join(folder, "kernel.cu"), join(folder, "kernel.ptx")];
  writeFileSync(from, source);
  const { status, stderr, error } = spawnSync("nvcc", ["-ptx", "-arch=sm_80", "-lineinfo", "-o", to, from]);
  if (error) throw new Error("nvcc is not on the PATH: there are no kernels to run");
  if (status !== 0) throw new Error(String(stderr));
  return readFileSync(to, "utf8");
}

/** Resets the library to these settings. */
function start(settings) {
  for (const name of Object.keys(process.env)) if (name.startsWith("CARACAL_VGPU_")) delete process.env[name];
  Object.assign(process.env, { CARACAL_VGPU_THREADS: "1", CARACAL_VGPU_BUDGET: "100000000000" }, settings);
  cu.reset();
  check(cu.init(0));
  const context = [null];
  check(cu.retain(context, 0));
  check(cu.setCurrent(context[0]));
}

function device(bytes) {
  const out = [0n];
  check(cu.alloc(out, bytes));
  check(cu.fill(out[0], 0, bytes));
  return BigInt(out[0]);
}

const u64 = (value) => new BigUint64Array([value]);
const u32 = (value) => new Uint32Array([value]);

/** The best time of `times` launches in ms. */
function time(ptx, kernel, grid, block, parameters, times = 7) {
  const [module, fn] = [[null], [null]];
  check(cu.load(module, ptx));
  check(cu.getFunction(fn, module[0], kernel));
  const values = parameters().map((array) => new Uint8Array(array.buffer));
  let best = Infinity;
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    check(cu.launch(fn[0], ...grid, ...block, 0, null, values, null));
    check(cu.synchronize());
    best = Math.min(best, performance.now() - began);
  }
  return best;
}

const gemmPtx = compile(readFileSync(join(root, "test/vgpu/kernels/gemm.cu"), "utf8"));
const n = 512;
function gemm(settings) {
  start(settings);
  const matrices = () => [2, 2, 4].map((bytes) => u64(device(n * n * bytes)));
  return time(gemmPtx, "gemm", [n / 128, n / 128, 1], [256, 1, 1], () => [...matrices(), u32(n), u32(n), u32(n)]);
}

const steps = 20_000;
const chainPtx = compile(`extern "C" __global__ void chain(float* x, int n) {
  float a = x[threadIdx.x], b = 1, c = 2, d = 3;
  for (int i = 0; i < n; i++) { a = a * 0.5f + b; b = b * 0.25f + c; c = c * 0.125f + d; d = d * 0.5f + a; }
  x[blockIdx.x * blockDim.x + threadIdx.x] = a + b + c + d;
}`);
function chain(settings) {
  start(settings);
  return time(chainPtx, "chain", [8, 1, 1], [256, 1, 1], () => [u64(device(8 * 256 * 4)), u32(steps)], 3);
}

const rows = [];
const row = (what, ms, aim) => rows.push([what, `${ms.toFixed(1)} ms`, aim]);
const plain = gemm({});
row("512³ bf16 GEMM, memcheck", plain, "40 ms");
row("the same, counted", gemm({ CARACAL_VGPU_COUNT: join(folder, "counts") }), "60 ms");
row("the same, two threads", gemm({ CARACAL_VGPU_THREADS: "2" }), `${(plain / 1.8).toFixed(1)} ms`);
const checks = { CARACAL_VGPU_CHECK: "initcheck,racecheck" };
row("the same, initcheck and racecheck", gemm(checks), `${(plain * 2.5).toFixed(1)} ms`);
chain({ CARACAL_VGPU_COUNT: join(folder, "counts") });
const instructions = JSON.parse(cu.counters()).total.executed;
const rate = instructions / chain({}) / 1e3;
rows.push(["chains of multiply-adds", `${rate.toFixed(0)} M warp-instructions/s`, "100 M warp-instructions/s"]);

start({});
const copies = Math.ceil(2 ** 20 / gemmPtx.length);
const [header, body] = [gemmPtx.slice(0, gemmPtx.indexOf(".visible")), gemmPtx.slice(gemmPtx.indexOf(".visible"))];
const kernelText = body.slice(0, body.indexOf("\n}\n") + 3);
const large = header + Array.from({ length: copies }, (_, i) => kernelText.replace(/\bgemm\b/, `gemm${i}`)).join("\n");
let loading = Infinity;
for (let i = 0; i < 5; i++) {
  const module = [null];
  const began = performance.now();
  check(cu.load(module, large));
  loading = Math.min(loading, performance.now() - began);
  check(cu.unload(module[0]));
}
row(`loading ${(large.length / 2 ** 20).toFixed(2)} MB of PTX`, loading, "150 ms");
const table = formatTable(["work", "measured", "aim"], rows, true);
if (writeTable) await writeTable(table);
else process.stdout.write(`${table}\n`);
process.exit(0);
