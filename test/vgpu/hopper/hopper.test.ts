// Features of sm_90a: bulk copies with mbarriers, clusters, wgmma; and faulty variants, each of which must be detected.
import { describe, expect, test } from "vitest";
import { completions, deviceWith, hopper } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";

async function load(mode: Readonly<Record<string, string>> = {}, flags: readonly string[] = []) {
  const { PtxModule } = await deviceWith({ ...hopper, ...mode });
  return new PtxModule(compile("hopper", flags, "sm_90a"));
}
type Module = Awaited<ReturnType<typeof load>>;

/** Multiples of 1/4, which are exact in bf16 and in all sums. */
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
  test.each(completions)("correct kernels pass: %o", async (mode) => {
    const module = await load(mode);
    const { d, expected } = multiply(module);
    expect(d).toEqual(expected);
    const { y, expected: doubled } = copy(module);
    expect(y).toEqual(doubled);
    const out = new Int32Array(128);
    module.run("neighbours", { grid: 4, block: 32 }, out);
    expect([...out]).toEqual(Array.from(out, (_, i) => 100 + (((i >> 5) ^ 1) % 2) + (i % 32)));
  });

  test.each(completions)("a box of a matrix is copied both ways, with zeros beyond the edge: %o", async (mode) => {
    const module = await load(mode);
    const [columns, rows] = [40, 20];
    for (const [swizzle, x, y] of [
      [3, 0, 0],
      [3, 12, 15],
      [0, -5, -2],
      [0, 36, 18],
    ] as const) {
      const matrix = Float32Array.from({ length: rows * columns }, (_, i) => i + 1);
      const before = matrix.slice();
      const at = (r: number, c: number) => (r < 0 || r >= rows || c < 0 || c >= columns ? 0 : before[r * columns + c]!);
      const out = new Float32Array(256);
      const [toX, toY] = [4, 10];
      const tensor = { tensor: matrix, sizes: [columns, rows], box: [32, 8], swizzle };
      module.run("tma_box", { block: 256 }, tensor, out, { u32: x }, { u32: y }, { u32: toX }, { u32: toY });
      for (let r = 0; r < 8; r++)
        for (let c = 0; c < 32; c++) {
          // 128-byte swizzle: the 16-byte chunks of row r are in the order of chunk ^ r
          const chunk = swizzle === 3 ? (c >> 2) ^ r : c >> 2;
          expect(out[r * 32 + chunk * 4 + (c & 3)]).toBe(at(y + r, x + c));
        }
      const expected = before.map((v, i) => {
        const [r, c] = [Math.floor(i / columns) - toY, (i % columns) - toX];
        return r >= 0 && r < 8 && c >= 0 && c < 32 ? at(y + r, x + c) : v;
      });
      expect(matrix).toEqual(expected);
    }
  });

  test("a block that ends while a store still needs its shared memory is reported", async () => {
    const module = await load({}, ["-DNO_BULK_WAIT"]);
    const tensor = { tensor: new Float32Array(800), sizes: [40, 20], box: [32, 8], swizzle: 0 };
    const zeros = [0, 0, 0, 0].map((u32) => ({ u32 }));
    const run = () => module.run("tma_box", { block: 256 }, tensor, new Float32Array(256), ...zeros);
    expect(run).toThrow(/memcheck: bulk copy: the thread exits/);
  });

  test("a swizzle by the wrong rows gives wrong results", async () => {
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

  test("accumulators are not available without a wait", async () => {
    const { d } = multiply(await load({}, ["-DNO_WAIT"]));
    expect(d.every(Number.isNaN)).toBe(true);
  });
});
