// The toolkit's own wrappers, <cuda/ptx>, with every order of completion.
import { describe, expect, test } from "vitest";
import { completions, deviceWith, hopper } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";

async function load(mode: Readonly<Record<string, string>>, flags: readonly string[] = []) {
  const { PtxModule } = await deviceWith({ ...hopper, ...mode });
  return new PtxModule(compile("cuda_ptx", flags, "sm_90a"));
}
const count = (n: number) => Array.from({ length: n }, (_, i) => i);

describe.skipIf(!hasNvcc).each(completions)("<cuda/ptx>: %o", (mode) => {
  test("st.async and red.async", async () => {
    const out = new Uint32Array(96);
    (await load(mode)).run("remote_stores", { grid: 2, block: 32 }, out);
    const reduced = [0, 11, 7, 12, 42, 12 & 6, 12 | 3, 12 ^ 5]; // combined with 12
    const of = (from: number) => [...count(32).map((t) => 1000 * from + t), 1, -2, 3, from, -5, -1, 6, 7, ...reduced];
    expect([...out]).toEqual([...of(1), ...of(0)].map((x) => x >>> 0));
  });

  test("bulk copies and reductions", async () => {
    const input = Int32Array.from({ length: 128 }, (_, i) => ((i * 37) % 101) - 50);
    const [out, sums] = [new Int32Array(256), Int32Array.from({ length: 64 }, (_, i) => i - 32)];
    const before = sums.slice();
    (await load(mode)).run("bulk", { grid: 2, block: 64 }, input, out, sums);
    const [first, second] = [[...input.subarray(0, 64)], [...input.subarray(64)]];
    const plusOne = (list: number[]) => list.map((x) => x + 1);
    expect([...out]).toEqual([...second, ...plusOne(second), ...first, ...plusOne(first)]);
    expect([...sums]).toEqual(first.map((x, i) => Math.max(x, second[i] as number, before[i] as number)));
  });

  test("boxes", async () => {
    const tensor = Float32Array.from({ length: 120 }, (_, i) => i);
    const [x, y] = [2, 1];
    const expected = tensor.map((v, i) => {
      const [row, column] = [Math.floor(i / 12) - y, (i % 12) - x];
      if (column < 0 || column >= 8 || row < 0 || row >= 8) return v;
      return row < 4 ? 2 * v : v + 2 * (v - 48);
    });
    const map = { tensor, sizes: [12, 10], box: [8, 4], swizzle: 0 };
    (await load(mode)).run("boxes", { block: 32 }, map, { u32: x }, { u32: y });
    expect(tensor).toEqual(expected);
  });

  test("results of mbarrier operations", async () => {
    const out = new Uint32Array(32);
    (await load(mode)).run("answers", { grid: 2, block: 1 }, out);
    const of = (rank: number) => [0, 0, 0, 1, 1, 0, 1, rank, 2, 0, 0, 0, 0, 0, 0, 0];
    expect([...out]).toEqual([...of(0), ...of(1)]);
  });

  test("a tensor map that the kernel modifies", async () => {
    const [to, made] = [new Float32Array(96), new Uint8Array(128)];
    const map = { tensor: new Float32Array(32), sizes: [8, 4], box: [8, 4], swizzle: 0 };
    (await load(mode)).run("map_of_its_own", { block: 32 }, map, to, made);
    // 2 rows of 8 in a matrix of 16 columns and 6 rows, starting at column 12 of row 5
    const at = (i: number) => [Math.floor(i / 16) - 5, (i % 16) - 12] as const;
    const inside = (row: number, column: number) => row >= 0 && row < 2 && column >= 0;
    expect([...to]).toEqual(Array.from(to, (_, i) => (inside(...at(i)) ? 100 + at(i)[0] * 8 + at(i)[1] : 0)));
    expect([...map.tensor]).toEqual(Array(32).fill(0));
  });

  test("remote stores without a wait are reported", async () => {
    const module = await load(mode, ["-DNO_REMOTE_WAIT"]);
    expect(() => module.run("remote_stores", { grid: 2, block: 32 }, new Uint32Array(96))).toThrow(
      /racecheck|initcheck|exits while/,
    );
  });
});
