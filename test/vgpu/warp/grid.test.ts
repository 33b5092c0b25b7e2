// grid.sync of cooperative groups, and lanes that converge at different instructions, as compiled by nvcc.
import { describe, expect, test } from "vitest";
import { PtxModule } from "../support/device.js";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { lanes } from "../support/ptx.js";

const checks = { CARACAL_VGPU_CHECK: "initcheck,racecheck", CARACAL_VGPU_BUDGET: "20000000" };
const modes: Record<string, string>[] = [
  {},
  { CARACAL_VGPU_THREADS: "2" },
  checks,
  { ...checks, CARACAL_VGPU_COMPUTE: "9.0" },
  { CARACAL_VGPU_ASYNC: "early", CARACAL_VGPU_ORDER: "late" },
  ...["1", "2", "3"].map((seed) => ({ ...checks, CARACAL_VGPU_SEED: seed, CARACAL_VGPU_ASYNC: "random" })),
];

const source = (device: { PtxModule: typeof PtxModule } = { PtxModule }, arch = "sm_80") =>
  new device.PtxModule(compile("grid", [], arch));

/** The result of the kernel `rounds`, by definition. */
function afterRounds(blocks: number, threads: number, count: number): Int32Array {
  let values = Int32Array.from({ length: blocks * threads }, (_, i) => (i * 37) % 101);
  for (let round = 0; round < count; round++) {
    const all = values.reduce((a, b) => a + b);
    values = Int32Array.from(values, (_, i) => (all % 1000) + Math.floor(i / threads) + (i % threads));
  }
  return values;
}

describe.skipIf(!hasNvcc)("grid.sync", () => {
  test.each(modes)("several rounds of a reduction over all blocks: %o", async (mode) => {
    const arch = mode.CARACAL_VGPU_COMPUTE === "9.0" ? "sm_90a" : "sm_80";
    const module = source(await deviceWith(mode), arch);
    for (const [blocks, threads, count] of [
      [8, 64, 5],
      [27, 96, 3],
      [100, 32, 4],
    ] as const) {
      const values = Int32Array.from({ length: blocks * threads }, (_, i) => (i * 37) % 101);
      const sums = { uninitialised: 4 * blocks };
      module.run("rounds", { grid: blocks, block: threads, cooperative: true }, values, sums, { u32: count });
      expect(values).toEqual(afterRounds(blocks, threads, count));
      const out = { grid: [blocks, 1, 1], block: threads, cooperative: true } as const;
      const ranks = new Int32Array(blocks * threads);
      module.run("split_arrival", out, ranks);
      expect(ranks).toEqual(ranks.map((_, i) => ((i + threads) % ranks.length) + (i % threads) * 2));
    }
  });

  test.each(["1", "2", "3"])("a missing grid.sync is a race: seed %s", async (seed) => {
    const module = source(await deviceWith({ ...checks, CARACAL_VGPU_SEED: seed }));
    const run = () =>
      module.run(
        "rounds_without_second",
        { grid: 8, block: 32, cooperative: true },
        new Int32Array(8),
        new Int32Array(8),
        { u32: 3 },
      );
    expect(run).toThrow(/racecheck: [\s\S]*of global memory[\s\S]*grid\.cu:\d+/);
  });

  test("without a cooperative launch the toolkit traps", () => {
    const out = new Int32Array(1);
    source().run("valid", {}, out);
    expect(out[0]).toBe(0);
    source().run("valid", { cooperative: true }, out);
    expect(out[0]).toBe(1);
    const run = () =>
      source().run("rounds", { grid: 8, block: 32 }, new Int32Array(256), new Int32Array(8), { u32: 1 });
    expect(run).toThrow(/trap[\s\S]*grid\.cu:\d+/);
  });

  test("more blocks than fit at once are refused", async () => {
    const device = await deviceWith({ CARACAL_VGPU_SM_COUNT: "2" });
    // 2048 threads per SM: 2 blocks of 1024 on each of 2 SMs.
    const run = (grid: number) =>
      source(device).run("split_arrival", { grid, block: 1024, cooperative: true }, new Int32Array(grid * 1024));
    expect(() => run(4)).not.toThrow();
    expect(() => run(5)).toThrow(/CUresult 720: [\s\S]*5 blocks, but only 4 fit/);
  });
});

describe.skipIf(!hasNvcc)("lanes at different instructions", () => {
  test.each(modes)("__syncwarp in both arms of a branch: %o", async (mode) => {
    const out = new Int32Array(32);
    source(await deviceWith(mode)).run("arms", { block: 32 }, out);
    expect(out).toEqual(out.map((_, l) => (l % 2 ? 200 + l - 1 : 100 + l + 1)));
  });

  test.each(modes)("__shfl_sync in two calls of a function: %o", async (mode) => {
    const input = lanes((l) => l * l + 5);
    const out = new Int32Array(32);
    source(await deviceWith(mode)).run("calls", { block: 32 }, input, out);
    const given = input.map((x, l) => x + (l < 7 ? 1 : 3));
    expect(out).toEqual(out.map((_, l) => (l < 7 ? given[l ^ 9]! * 2 : given[l ^ 9]! - 5)));
  });
});
