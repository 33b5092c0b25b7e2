// What sm_90a adds: bulk copies with mbarriers, clusters, wgmma; and mutants, each of which must be noticed.
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";

const checked = {
  CARACAL_VGPU_COMPUTE: "9.0",
  CARACAL_VGPU_CHECK: "initcheck,racecheck",
  CARACAL_VGPU_BUDGET: "2000000",
};
const modes = [
  { CARACAL_VGPU_ASYNC: "late" },
  { CARACAL_VGPU_ASYNC: "early" },
  ...["1", "2", "3"].map((seed) => ({ CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: seed })),
];

async function load(mode: Readonly<Record<string, string>> = {}, flags: readonly string[] = []) {
  const { PtxModule } = await deviceWith({ ...checked, ...mode });
  return new PtxModule(compile("hopper", flags, "sm_90a"));
}
type Module = Awaited<ReturnType<typeof load>>;

/** Quarters, exact in bf16 and in every sum. */
function tile(seed: number) {
  const wide = Float32Array.from({ length: 64 * 64 }, (_, i) => (((i * 37 + seed * 11) % 31) - 15) / 4);
  return { wide, bf16: Uint16Array.from(new Uint32Array(wide.buffer), (bits) => bits >>> 16) };
}

function multiply(module: Module) {
  const a = tile(1);
  const b = tile(2);
  const d = new Float32Array(64 * 64);
  module.run("wgmma_tile", { block: 128 }, a.bf16, b.bf16, d);
  const expected = d.map((_, i) => {
    let sum = 0;
    for (let k = 0; k < 64; k++) sum += (a.wide[Math.floor(i / 64) * 64 + k] ?? 0) * (b.wide[(i % 64) * 64 + k] ?? 0);
    return sum;
  });
  return { d, expected };
}

function copy(module: Module) {
  const x = Float32Array.from({ length: 256 }, (_, i) => i - 100);
  const y = new Float32Array(256);
  module.run("bulk", { block: 256 }, x, y);
  return { y, expected: x.map((v) => 2 * v) };
}

describe.skipIf(!hasNvcc)("sm_90a", () => {
  test.each(modes)("right kernels pass: %o", async (mode) => {
    const module = await load(mode);
    const { d, expected } = multiply(module);
    expect(d).toEqual(expected);
    const { y, expected: doubled } = copy(module);
    expect(y).toEqual(doubled);
    const out = new Int32Array(128);
    module.run("neighbours", { grid: 4, block: 32 }, out);
    expect([...out]).toEqual(Array.from(out, (_, i) => 100 + (((i >> 5) ^ 1) % 2) + (i % 32)));
  });

  test("swizzled by the wrong rows: wrong numbers", async () => {
    const { d, expected } = multiply(await load({}, ["-DSWIZZLE_ROW(row)=((row)/2%8)"]));
    expect(d).not.toEqual(expected);
  });

  test.each([
    ["-DNO_PROXY_FENCE", multiply, /racecheck: a write and a read of shared memory/],
    ["-DNO_WGMMA_FENCE", multiply, /synccheck: .*wgmma\.fence/],
    ["-DEXPECTED=1025", copy, /deadlock|budget/],
    ["-DPARITY=1", copy, /racecheck|initcheck|exits while/],
  ])("%s", async (flag, run, report) => {
    const module = await load({}, [flag]);
    expect(() => run(module)).toThrow(report);
  });

  test("accumulators that nobody waited for are not there yet", async () => {
    const { d } = multiply(await load({}, ["-DNO_WAIT"]));
    expect(d.every(Number.isNaN)).toBe(true);
  });
});
