// How audio operations are cut into blocks. These are pure functions of sizes, so no GPU is needed, not even a virtual
// one.
import koffi from "koffi";
import { expect, test } from "vitest";
import { dtypes } from "../../lib/tensor/dtype.js";
import { compiled } from "../support/compiled.js";

const lib = compiled(new URL("audioTiles.cc", import.meta.url));
const [f32, bf16] = [dtypes.indexOf("f32"), dtypes.indexOf("bf16")];
const multiprocessors = [1, 4, 28, 84, 108, 132, 170];
const smallest = 99 * 1024; // shared memory of a block on sm_86, sm_89 and sm_120
const h100 = 227 * 1024;

type Plan<Result> = (...sizes: (number | boolean)[]) => Result | undefined;

/** Calls a function whose last parameter is a struct to fill; undefined where it returns false. */
function plan<Result>(declaration: string): Plan<Result> {
  const call = lib.func(declaration);
  return (...sizes) => {
    const out = {};
    return call(...sizes, out) ? (out as Result) : undefined;
  };
}

interface Depthwise {
  readonly blocksX: number;
  readonly blocksY: number;
  readonly shared: number;
  readonly block: { readonly rows: number; readonly total: number; readonly staged: boolean };
}
koffi.struct("DepthwiseBlock", { rows: "int", total: "int64_t", staged: "bool" });
koffi.struct("Depthwise", { blocksX: "uint", blocksY: "uint", shared: "size_t", block: "DepthwiseBlock" });
const depthwise = plan<Depthwise>(
  "bool plan_depthwise(int64_t, int64_t, int64_t, int64_t, int64_t, int, size_t, _Out_ Depthwise *out)",
);

test("depthwise: blocks cover the output, and shared memory holds the taps and, if they fit, the input rows", () => {
  for (const rows of [0, 1, 13, 255, 256, 257, 8192])
    for (const channels of [1, 64, 65, 1536])
      for (const [taps, stride, span] of [
        [11, 1, 10],
        [3, 2, 2],
        [1, 1, 0],
        [3, 1, 3000],
      ] as const)
        for (const [dtype, bytes] of [
          [f32, 4],
          [bf16, 2],
        ] as const) {
          const { blocksX, blocksY, shared, block } = depthwise(rows, channels, taps, stride, span, dtype, smallest)!;
          expect(blocksX).toBe(Math.ceil(rows / block.rows));
          expect(blocksY).toBe(Math.ceil(channels / 64));
          expect(block.total).toBe(rows);
          expect(block.rows).toBe(Math.min(Math.max(rows, 1), 256));
          const [weights, input] = [64 * (taps | 1) * 4, ((block.rows - 1) * stride + span + 1) * 64 * bytes];
          expect(block.staged).toBe(weights + input <= smallest);
          expect(shared).toBe(weights + (block.staged ? input : 0));
        }
  expect(depthwise(128, 1536, 11, 1, 10, bf16, h100)).toEqual({
    blocksX: 1,
    blocksY: 24,
    shared: 64 * 11 * 4 + 138 * 64 * 2,
    block: { rows: 128, total: 128, staged: true },
  });
  expect(depthwise(5, 64, 395, 1, 394, f32, smallest)?.block.staged).toBe(false); // only the taps fit
  expect(depthwise(5, 64, 397, 1, 396, f32, smallest)).toBeUndefined();
});

interface Fsmn {
  readonly rows: number;
  readonly columns: number;
  readonly shared: number;
}
koffi.struct("Fsmn", { rows: "int64_t", columns: "int64_t", shared: "size_t" });
const fsmn = plan<Fsmn>("bool plan_fsmn(int64_t, int64_t, int64_t, int64_t, bool, int, int, size_t, _Out_ Fsmn *out)");

test("an FSMN memory with a norm: no more blocks than multiprocessors, or no tile if not even one row fits", () => {
  for (const rows of [0, 1, 2, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 8192])
    for (const [channels, taps, span] of [
      [1536, 11, 10],
      [512, 12, 11],
      [37, 3, 90],
    ] as const)
      for (const stream of [false, true])
        for (const sms of multiprocessors) {
          const tile = fsmn(rows, channels, taps, span, stream, bf16, sms, smallest)!;
          const blocks = Math.ceil(rows / tile.rows) * Math.ceil(channels / tile.columns);
          expect(tile.rows).toBeGreaterThan(0);
          expect(tile.columns % 64).toBe(0);
          expect(tile.shared).toBeLessThanOrEqual(smallest);
          expect(tile.shared).toBe((tile.rows + span) * channels * 2 + tile.columns * (taps | 1) * 4);
          if (stream && rows <= 16) expect(tile.rows).toBe(Math.max(rows, 1));
          if (tile.columns < channels && tile.shared < smallest / 2) expect(blocks).toBeLessThanOrEqual(sms);
        }
  expect(fsmn(13, 1536, 12, 11, true, bf16, 132, smallest)).toMatchObject({ rows: 13, columns: 64 });
  expect(fsmn(128, 1536, 11, 10, false, bf16, 132, smallest)).toMatchObject({ rows: 3, columns: 512 });
  expect(fsmn(8, 30_000, 3, 2, false, bf16, 132, smallest)).toBeUndefined();
  expect(fsmn(8, 64, 2, 3000, false, bf16, 132, smallest)).toBeUndefined();
});

interface Conv {
  readonly tile: { readonly name: string; readonly rows: number; readonly columns: number; readonly threads: number };
  readonly shares: number;
}
koffi.struct("ConvTile", {
  name: "const char *",
  rows: "int64_t",
  columns: "int64_t",
  threads: "uint",
  stages: "int",
  shared: "size_t",
});
koffi.struct("Conv", { tile: "ConvTile", shares: "int64_t" });
const conv: (m: number, n: number, k: number, groups: number, sms: number) => Conv = lib.func(
  "Conv plan_conv(int64_t, int64_t, int64_t, int64_t, int)",
);

test("a convolution in exact f32: large tiles if they fill the GPU, else small ones, which may split the depth", () => {
  for (const m of [1, 8, 16, 17, 48, 288, 1440, 10_000])
    for (const n of [1, 33, 96, 384, 1536])
      for (const k of [1, 256, 257, 672, 16_128])
        for (const groups of [1, 3])
          for (const sms of multiprocessors) {
            const { tile, shares } = conv(m, n, k, groups, sms);
            const tiles = (rows: number, columns: number) => Math.ceil(m / rows) * Math.ceil((n * groups) / columns);
            const large = m > 16 && tiles(128, 64) * 2 >= sms;
            expect(tile.name).toBe(large ? "simt_large" : "simt_small");
            expect([tile.rows, tile.columns, tile.threads]).toEqual(large ? [128, 64, 256] : [16, 32, 128]);
            const idle = !large && groups === 1 && tiles(16, 32) < 2 * sms;
            expect(shares).toBe(idle ? Math.ceil(k / 256) : 1);
          }
  // The decoder's first two convolutions, for one frame and for many.
  const choice = (m: number, n: number, k: number) => {
    const { tile, shares } = conv(m, n, k, 1, 132);
    return [tile.name, shares];
  };
  expect(choice(1, 1536, 16_128)).toEqual(["simt_small", 63]);
  expect(choice(8, 768, 5376)).toEqual(["simt_small", 21]);
  expect(choice(1440, 96, 672)).toEqual(["simt_small", 1]);
  expect(choice(8000, 768, 5376)).toEqual(["simt_large", 1]);
  // A grid has at most 65535 blocks along y.
  expect(choice(1, 1, 65_535 * 256)).toEqual(["simt_small", 65_535]);
  expect(choice(1, 1, 65_535 * 256 + 1)).toEqual(["simt_small", 1]);
});

koffi.struct("Overlap", { rows: "int64_t", reach: "int64_t" });
const overlap: (rows: number, n: number, taps: number, stride: number) => { rows: number; reach: number } = lib.func(
  "Overlap plan_overlap(int64_t, int64_t, int64_t, int64_t)",
);

test("a transposed convolution: a block's products fit into L2, and its reach covers every overlapping row", () => {
  for (const rows of [0, 1, 8, 700, 100_000])
    for (const n of [1, 960, 12_288, 100_000_000])
      for (const [taps, stride] of [
        [16, 8],
        [10, 5],
        [11, 2],
        [2, 5],
        [3, 1],
      ] as const) {
        const { rows: block, reach } = overlap(rows, n, taps, stride);
        expect(block).toBeGreaterThan(0);
        expect(block).toBeLessThanOrEqual(Math.max(rows, 1));
        if (block > 1) expect(block * n).toBeLessThanOrEqual(2 ** 22);
        // Row -reach still adds to position 0, and the row before it does not.
        expect(-reach * stride + taps - 1).toBeGreaterThanOrEqual(0);
        expect(-(reach + 1) * stride + taps - 1).toBeLessThan(0);
      }
  expect(overlap(8, 12_288, 16, 8)).toEqual({ rows: 8, reach: 1 });
  expect(overlap(1200, 3840, 40, 15)).toEqual({ rows: 1092, reach: 2 });
});

interface Lstm {
  readonly units: number;
  readonly cached: number;
  readonly blocks: number;
  readonly threads: number;
  readonly shared: number;
}
koffi.struct("Lstm", { units: "int", cached: "int", blocks: "uint", threads: "uint", shared: "size_t" });
const lstm = plan<Lstm>("bool plan_lstm(int64_t, bool, int, int, size_t, _Out_ Lstm *out)");

const stepsTogether: (steps: number, hidden: number, sms: number) => number = lib.func(
  "int64_t steps_together(int64_t, int64_t, int)",
);

test("an LSTM: blocks share out the units, run at once for several steps, and cache the weights that fit", () => {
  for (const hidden of [1, 3, 12, 264, 2304, 2305])
    for (const several of [false, true])
      for (const [dtype, bytes] of [
        [f32, 4],
        [bf16, 2],
      ] as const)
        for (const sms of multiprocessors)
          for (const max of [smallest, h100]) {
            if (several && stepsTogether(2, hidden, sms) === 1) continue;
            const found = lstm(hidden, several, dtype, sms, max);
            const { units, cached, blocks, threads, shared } = found!;
            expect(blocks).toBe(Math.ceil(hidden / units));
            if (several) expect(blocks).toBeLessThanOrEqual(sms);
            expect(threads % 32).toBe(0);
            expect(threads).toBeLessThanOrEqual(512);
            expect(threads).toBeGreaterThanOrEqual(units); // a thread computes the cell of one unit
            const fixed = (Math.ceil(hidden / 4) * 4 + 4 * units) * 4;
            expect(shared).toBe(fixed + cached * 4 * hidden * bytes);
            expect(shared).toBeLessThanOrEqual(max);
            if (!several) expect(cached).toBe(0);
            else if (cached < units) expect(shared + 4 * hidden * bytes).toBeGreaterThan(max);
          }
  expect(lstm(2304, true, bf16, 132, h100)).toMatchObject({ units: 18, cached: 12, blocks: 128, threads: 288 });
  expect(lstm(2304, true, f32, 108, 163 * 1024)).toMatchObject({ units: 22, cached: 4, blocks: 105, threads: 352 });
  expect(lstm(2304, false, bf16, 132, h100)).toMatchObject({ units: 4, cached: 0, blocks: 576, threads: 128 });
  expect(stepsTogether(30, 2304, 108)).toBe(30);
  expect(stepsTogether(5000, 2304, 108)).toBe(1024);
  expect(stepsTogether(30, 512, 1)).toBe(30);
  expect(stepsTogether(30, 513, 1)).toBe(1);
  expect(lstm(26_000, false, f32, 132, smallest)).toBeUndefined();
});

interface FbankPlan {
  readonly blocks: number;
  readonly threads: number;
  readonly shared: number;
  readonly staged: boolean;
}
koffi.struct("FbankPlan", { blocks: "uint", threads: "uint", shared: "size_t", staged: "bool" });
const fbank = plan<FbankPlan>("bool plan_fbank(int64_t, int64_t, size_t, int, size_t, _Out_ FbankPlan *out)");

test("fbank: as many blocks as the GPU can run, and tables in shared memory only if they fit", () => {
  for (const frames of [1, 7, 100, 5000])
    for (const half of [2, 16, 64, 256, 4096])
      for (const tables of [100, 5000, 200_000])
        for (const sms of multiprocessors) {
          const found = fbank(frames, half, tables, sms, smallest);
          const { blocks, threads, shared, staged } = found!;
          expect(blocks).toBe(Math.min(frames, 8 * sms));
          expect(threads % 32).toBe(0);
          expect(threads).toBeLessThanOrEqual(256);
          const values = 4 * (half + 32) * 4; // two buffers of complex values
          expect(staged).toBe(values + tables <= smallest);
          expect(shared).toBe(values + (staged ? tables : 0));
        }
  expect(fbank(98, 256, 6000, 132, h100)).toEqual({ blocks: 98, threads: 128, shared: 4608 + 6000, staged: true });
  expect(fbank(1, 8192, 6000, 132, smallest)).toBeUndefined();
});
