// Each faulty kernel must be caught by the check meant for its fault, and correct kernels must raise no report.
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";

const settings = { CARACAL_VGPU_CHECK: "initcheck,racecheck", CARACAL_VGPU_BUDGET: "1000000" };
const seeds = ["0", "1", "2", "3"];

async function load(seed = "0") {
  const device = await deviceWith({ ...settings, CARACAL_VGPU_SEED: seed });
  return new device.PtxModule(compile("races"));
}

const ints = (n: number) => new Int32Array(n);

describe.skipIf(!hasNvcc)("with all checks, in any order of warps", () => {
  test.each(seeds)("correct kernels pass: seed %s", async (seed) => {
    const module = await load(seed);
    const out = ints(256);
    module.run("ordered", { block: 256 }, out);
    expect([...out]).toEqual(Array.from(out, (_, i) => (255 - i + 33) % 256));
    const counts = ints(8);
    module.run("atomics", { grid: 4, block: 256 }, counts);
    expect([...counts]).toEqual(Array(8).fill(128));
    const sum = ints(1);
    module.run("last_block", { grid: 20, block: 64 }, sum, ints(20), new Uint32Array(1));
    expect(sum[0]).toBe(210);
  });

  test.each([
    ["write_after_read", 1, /racecheck: a (read and a write|write and a read) of shared memory[\s\S]*races\.cu:1[789]/],
    ["read_after_write", 1, /(racecheck: (a write and a read|a read and a write)|initcheck: shared read)/],
    [
      "uninitialised",
      1,
      /initcheck: shared read of 4 bytes at offset 308[\s\S]*thread \(178,0,0\)[\s\S]*races\.cu:3\d/,
    ],
    ["warps_write_one", 1, /racecheck: two writes of global memory[\s\S]*races\.cu:\d+/],
    ["blocks_write_one", 2, /racecheck: two writes of global memory/],
    ["atomic_and_plain", 1, /racecheck: two writes of global memory/],
    ["barrier_in_a_branch", 1, /synccheck: /],
    [
      "out_of_bounds",
      1,
      /memcheck: global write of 4 bytes[\s\S]*0 bytes past an allocation of 1024[\s\S]*thread \(255,0,0\)/,
    ],
    ["shared_out_of_bounds", 1, /memcheck: shared write of 4 bytes at 0x0: the block has 0 bytes/],
    ["misaligned", 1, /memcheck: global write of 4 bytes at 0x[0-9a-f]+: not a multiple of 4[\s\S]*thread \(9,0,0\)/],
    [
      "waits_for_ever",
      1,
      /budget of 1000000 warp instructions is spent; the warps are at:[\s\S]*warp 7 lanes ffffffff at/,
    ],
  ])("%s", async (kernel, grid, report) => {
    const module = await load();
    expect(() => module.run(kernel, { grid, block: 256 }, ints(256))).toThrow(report);
  });

  test.each(seeds)("a read of an unwritten tail is reported: seed %s", async (seed) => {
    const module = await load(seed);
    const scratch = { uninitialised: 1024 };
    const run = (n: number) =>
      module.run("uninitialised_tail", { block: 256 }, ints(256), ints(256), scratch, { u32: n });
    expect(() => run(255)).toThrow(/initcheck: global read of 4 bytes at offset 1020[\s\S]*thread \(255,0,0\)/);
    expect(() => run(256)).not.toThrow();
  });
});
