// A ring of stages between a warp that copies and warpgroups that multiply. The correct kernel raises no report in any
// mode, and each faulty variant is caught by the check meant for it.
import { describe, expect, test } from "vitest";
import { deviceWith, hopper } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { numbers } from "../support/ptx.js";

const seeds = ["1", "2", "3"].map((seed) => ({ CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: seed }));
const modes = [
  { CARACAL_VGPU_ASYNC: "late" },
  { CARACAL_VGPU_ASYNC: "late", CARACAL_VGPU_SEED: "9" },
  { CARACAL_VGPU_ASYNC: "early" },
  ...seeds,
];

async function load(mode: Readonly<Record<string, string>> = {}, flags: readonly string[] = []) {
  const { PtxModule } = await deviceWith({ ...hopper, ...mode });
  return new PtxModule(compile("ring", flags, "sm_90a"));
}
type Module = Awaited<ReturnType<typeof load>>;

/** Small numbers, exact in bf16 and in all sums. */
function matrix(rows: number, columns: number, seed: number) {
  const next = numbers(seed);
  const wide = Float32Array.from({ length: rows * columns }, () => ((next() % 31) - 15) / 4);
  return { wide, bf16: Uint16Array.from(new Uint32Array(wide.buffer), (bits) => bits >>> 16) };
}

/** beyond: rows that the tensor map of B has but its memory lacks. */
function gemm(module: Module, m: number, n: number, k: number, beyond = 0) {
  const [a, b, c] = [matrix(m, k, 1), matrix(n, k, 2), new Float32Array(m * n)];
  const bf16 = { swizzle: 3, type: [9, 2] } as const;
  module.run(
    "ring_gemm",
    { grid: [Math.ceil(n / 64), Math.ceil(m / 128), 1], block: 384, shared: 4 * 24576 + 4 * 8192 },
    { ...bf16, tensor: a.bf16, sizes: [k, m], box: [64, 128] },
    { ...bf16, tensor: b.bf16, sizes: [k, n + beyond], box: [64, 64] },
    { tensor: c, sizes: [n, m], box: [32, 64], swizzle: 0 },
    { u32: Math.ceil(k / 64) },
  );
  const expected = c.map((_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    let sum = 0;
    for (let j = 0; j < k; j++) sum += (a.wide[row * k + j] as number) * (b.wide[column * k + j] as number);
    return sum;
  });
  return { c, expected };
}
const both = (module: Module) => gemm(module, 200, 72, 600);

describe.skipIf(!hasNvcc)("a ring", () => {
  test.each(modes)("the correct kernel passes: %o", async (mode) => {
    const module = await load(mode);
    for (const [m, n, k] of [
      [128, 64, 64],
      [200, 72, 600],
    ] as const) {
      const { c, expected } = gemm(module, m, n, k);
      expect(c).toEqual(expected);
    }
  });

  const noticed = /racecheck: a (write and a read|read and a write) of shared memory/;
  test.each([
    ["the consumers' phase bit", "-DCONSUMER_PARITY(round)=(((round)&1)^1)", /initcheck|racecheck/],
    ["the producer's phase bit", "-DPRODUCER_PARITY(round)=((round)&1)", /deadlock|budget/],
    ["the barrier expects a byte too many", "-DEXPECTED=(stage_bytes+1)", /deadlock|budget/],
    ["the barrier expects a byte too few", "-DEXPECTED=(stage_bytes-1)", /deadlock|budget|racecheck|synccheck/],
    ["the producer does not wait for an empty stage", "-DNO_EMPTY_WAIT", /racecheck|synccheck/],
    ["a stage is released that wgmma still reads", "-DRELEASED(k)=(k)", noticed],
    ["no fence between the writes and the store", "-DNO_PROXY_FENCE", noticed],
    ["the block ends before the store has read", "-DNO_STORE_WAIT", /memcheck: bulk copy: the thread exits/],
  ])("%s", async (_, flag, report) => {
    for (const mode of [{ CARACAL_VGPU_ASYNC: "late" }, ...seeds.slice(0, 1)]) {
      const module = await load(mode, [flag]);
      expect(() => both(module)).toThrow(report);
    }
  });

  test("a swizzle other than the copies' gives wrong results", async () => {
    const { c, expected } = both(await load({}, ["-DSWIZZLE=2"]));
    expect(c).not.toEqual(expected);
  });
  test("the last products are not available without a wait", async () => {
    expect(both(await load({}, ["-DNO_LAST_WAIT"])).c.some(Number.isNaN)).toBe(true);
  });
  test("a box beyond the memory is reported", async () => {
    const module = await load();
    expect(() => gemm(module, 128, 72, 64, 8)).toThrow(/memcheck: global read .*outside/);
  });
});

describe.skipIf(!hasNvcc)("stores in flight", () => {
  const run = (module: Module, n: number) => {
    const out = new Float32Array(128 * n);
    module.run("bulk_stores", { block: 32 }, out, { u32: n });
    expect(out).toEqual(out.map((_, i) => i));
  };
  test.each(modes)("the correct kernel passes: %o", async (mode) => run(await load(mode), 7));
  test.each(modes)("a buffer overwritten while it is read is reported: %o", async (mode) => {
    const module = await load(mode, ["-DSTORES_IN_FLIGHT=2"]);
    expect(() => run(module, 7)).toThrow(/racecheck: a read and a write of shared memory/);
  });
});
