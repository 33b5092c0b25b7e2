// How attention divides its work. These are pure functions of sizes, so no GPU is needed, not even a virtual one.
import koffi from "koffi";
import { expect, test } from "vitest";
import { dtypes } from "../../lib/tensor/dtype.js";
import { compiled } from "../support/compiled.js";
import type { Tile } from "../support/gemmTile.js";
import "../support/gemmTile.js";

const lib = compiled(new URL("attentionTiles.cc", import.meta.url));

koffi.struct("Columns", { perLane: "int64_t", parts: "int64_t" });
koffi.struct("Sizes", { heads: "int64_t", nope: "int64_t", rope: "int64_t", value: "int64_t", latent: "int64_t" });
interface Sizes {
  readonly heads: number;
  readonly nope: number;
  readonly rope: number;
  readonly value: number;
  readonly latent: number;
}
type Numbers<Result> = (...sizes: number[]) => Result;

const countFlashTiles: Numbers<number> = lib.func("int64_t count_flash_tiles(int64_t, int64_t, int64_t)");
const divideColumns: Numbers<{ perLane: number; parts: number }> = lib.func("Columns divide_columns(int64_t)");
const chooseFlash: Numbers<string> = lib.func("const char *choose_flash(int64_t, int64_t)");
const flashSharedBytes: Numbers<number> = lib.func("size_t flash_shared_bytes(int64_t, int64_t)");
const canMove: (address: number, row: number, head: number, isBf16: boolean, elements: number) => boolean = lib.func(
  "bool can_move(uint64_t, int64_t, int64_t, bool, int64_t)",
);
const chooseKeyRoom: Numbers<number> = lib.func("int64_t choose_key_room(int64_t, int64_t, int64_t, size_t)");
const prefillOnTensorCores: (d: Sizes, q: number, cache: number, w: number, aligned: boolean) => boolean = lib.func(
  "bool prefill_on_tensor_cores(const Sizes *, int, int, int, bool)",
);
const chooseKeys: (tensor: boolean, w: number) => Tile = lib.func("Tile choose_keys(bool, int)");
const countSplits: Numbers<number> = lib.func("int64_t count_splits(int64_t)");
const splitSharedBytes: Numbers<number> = lib.func("size_t split_shared_bytes(int)");
const chooseSplitHeads: Numbers<number> = lib.func("int choose_split_heads(int64_t, int64_t, int, size_t)");
const splitOnTensorCores: (d: Sizes, q: number, cache: number, aligned: boolean) => boolean = lib.func(
  "bool split_on_tensor_cores(const Sizes *, int, int, bool)",
);
const valuesOnTensorCores: (d: Sizes, tensorSplits: boolean, w: number, aligned: boolean) => boolean = lib.func(
  "bool values_on_tensor_cores(const Sizes *, bool, int, bool)",
);
const chooseValues: (sequences: number, tensor: boolean, w: number) => Tile = lib.func(
  "Tile choose_values(int64_t, bool, int)",
);
const chooseRopeHeads: Numbers<number> = lib.func("int64_t choose_rope_heads(int64_t, int64_t)");

const [f32, bf16, f8e4m3] = [dtypes.indexOf("f32"), dtypes.indexOf("bf16"), dtypes.indexOf("f8e4m3")];
const model: Sizes = { heads: 64, nope: 128, rope: 64, value: 128, latent: 512 };
// Shared memory that a block can have: sm_80, and sm_86, sm_89 and sm_120.
const [a100, ada] = [166_912, 101_376];

test("every sequence has its tiles, wherever it starts", () => {
  for (const lengths of [[1], [0, 0, 5], [64, 64], [63, 1, 130, 0, 65], Array(40).fill(33)]) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1)! + length);
    const first = (s: number) => Math.floor(starts[s]! / 64) + s;
    const tiles = countFlashTiles(starts.at(-1)!, lengths.length, 64);
    lengths.forEach((length, s) => {
      const end = s + 1 < lengths.length ? first(s + 1) : tiles;
      expect(end - first(s)).toBeGreaterThanOrEqual(Math.ceil(length / 64));
    });
  }
  expect(countFlashTiles(0, 0, 64)).toBe(1);
});

test("columns of values: each in one block and one lane, at most four to a lane", () => {
  for (let dim = 1; dim <= 600; dim++) {
    const { perLane, parts } = divideColumns(dim);
    expect(perLane).toBe(Math.min(4, Math.ceil(dim / 32)));
    expect(parts).toBe(Math.ceil(dim / 128));
  }
});

test("the model's heads have an instance for tensor cores, whose shared memory every GPU has", () => {
  expect(chooseFlash(80, 80)).toBe("80_80");
  expect(chooseFlash(192, 128)).toBe("192_128");
  expect(chooseFlash(64, 64)).toBe("64_64");
  expect(chooseFlash(128, 128)).toBe("128_128");
  for (const [qkDim, vDim] of [
    [80, 64],
    [128, 192],
    [8, 8],
    [256, 256],
  ] as const)
    expect(chooseFlash(qkDim, vDim)).toBe("simt");
  for (const dim of [64, 80, 128]) expect(flashSharedBytes(dim, dim)).toBe(512 * dim);
  expect(flashSharedBytes(192, 128)).toBe(81_920);
  expect(flashSharedBytes(192, 128)).toBeLessThanOrEqual(ada);
});

test("rows can be moved eight at a time only if every head of every row is aligned", () => {
  expect(canMove(256, 1280, 80, true, 8)).toBe(true);
  expect(canMove(256 + 16, 1280, 80, true, 8)).toBe(true);
  expect(canMove(256 + 8, 1280, 80, true, 8)).toBe(false);
  expect(canMove(256, 1284, 80, true, 8)).toBe(false);
  expect(canMove(256, 1280, 84, true, 8)).toBe(false);
  expect(canMove(256 + 8, 1284, 84, true, 4)).toBe(true);
  expect(canMove(256 + 8, 1284, 84, false, 4)).toBe(false);
  expect(canMove(256 + 16, 1284, 84, false, 4)).toBe(true);
});

test("keys are expanded in whole tiles, within a 128th of the memory, all at once if they fit", () => {
  const gib = 2 ** 30;
  for (const capacity of [0, 1, 64, 1000, 8192, 131_072])
    for (const sequences of [0, 1, 7, 64])
      for (const memory of [gib / 16, 24 * gib, 80 * gib]) {
        const room = chooseKeyRoom(capacity, sequences, 40_960, memory);
        expect(room % 64).toBe(0);
        expect(room).toBeGreaterThanOrEqual(64);
        expect(room).toBeLessThanOrEqual(Math.max(64, Math.ceil(capacity / 64) * 64));
        if (room > 64) expect(room * sequences * 40_960).toBeLessThanOrEqual(memory / 128);
      }
  expect(chooseKeyRoom(8192, 1, 40_960, 80 * gib)).toBe(8192);
  expect(chooseKeyRoom(131_072, 1, 40_960, 80 * gib)).toBe(16_384);
});

test("prefill runs on tensor cores for aligned bf16 and the model's heads", () => {
  const on = (change: Partial<Sizes> = {}, q = bf16, cache = bf16, w = bf16, aligned = true) =>
    prefillOnTensorCores({ ...model, ...change }, q, cache, w, aligned);
  expect(on()).toBe(true);
  expect(on({}, bf16, bf16, f8e4m3)).toBe(true);
  expect(on({}, f32)).toBe(false);
  expect(on({}, bf16, f32)).toBe(false);
  expect(on({}, bf16, bf16, f32)).toBe(false);
  expect(on({}, bf16, bf16, bf16, false)).toBe(false);
  expect(on({ nope: 132, rope: 60 })).toBe(false); // 192, but neither part is a multiple of 8
  expect(on({ value: 64 })).toBe(false);
  expect(on({ heads: 3, latent: 24 })).toBe(true);
});

test("keys are made in linear's largest tile on tensor cores, else in tiles of 64 x 64", () => {
  expect(chooseKeys(true, bf16)).toMatchObject({ rows: 128, columns: 128, threads: 256, stages: 3, shared: 98_304 });
  expect(chooseKeys(true, f8e4m3)).toMatchObject({ rows: 128, columns: 128, threads: 256, stages: 3, shared: 73_728 });
  expect(chooseKeys(false, f32)).toMatchObject({ rows: 64, columns: 64, threads: 256, shared: 0 });
});

test("splits are 512 keys long", () => {
  expect([0, 1, 512, 513, 131_072].map((n) => countSplits(n))).toEqual([1, 1, 1, 2, 256]);
});

test("64 heads share a block if the GPU is busy and has the memory", () => {
  expect(splitSharedBytes(64)).toBe(156_928);
  expect(splitSharedBytes(16)).toBe(97_664);
  expect(splitSharedBytes(64)).toBeLessThanOrEqual(a100);
  expect(splitSharedBytes(16)).toBeLessThanOrEqual(ada);
  expect(chooseSplitHeads(64, 200, 108, a100)).toBe(64);
  expect(chooseSplitHeads(64, 108, 108, a100)).toBe(64);
  expect(chooseSplitHeads(64, 107, 108, a100)).toBe(16);
  expect(chooseSplitHeads(128, 54, 108, a100)).toBe(64); // two blocks per split
  expect(chooseSplitHeads(64, 200, 108, ada)).toBe(16);
  expect(chooseSplitHeads(16, 200, 108, a100)).toBe(16);
});

test("splits run on tensor cores for latents of 512 + 64", () => {
  expect(splitOnTensorCores(model, bf16, bf16, true)).toBe(true);
  expect(splitOnTensorCores({ ...model, heads: 1, nope: 8, value: 20 }, bf16, bf16, true)).toBe(true);
  expect(splitOnTensorCores(model, f32, bf16, true)).toBe(false);
  expect(splitOnTensorCores(model, bf16, f32, true)).toBe(false);
  expect(splitOnTensorCores(model, bf16, bf16, false)).toBe(false);
  expect(splitOnTensorCores({ ...model, latent: 576, rope: 0 }, bf16, bf16, true)).toBe(false);
  expect(splitOnTensorCores({ ...model, rope: 32 }, bf16, bf16, true)).toBe(false);
});

test("values run on tensor cores if a head's columns begin at a block of scales", () => {
  expect(valuesOnTensorCores(model, true, bf16, true)).toBe(true);
  expect(valuesOnTensorCores(model, true, f8e4m3, true)).toBe(true);
  expect(valuesOnTensorCores({ ...model, nope: 64 }, true, bf16, true)).toBe(true);
  expect(valuesOnTensorCores({ ...model, nope: 64 }, true, f8e4m3, true)).toBe(false);
  expect(valuesOnTensorCores({ ...model, value: 64 }, true, f8e4m3, true)).toBe(false);
  expect(valuesOnTensorCores(model, false, bf16, true)).toBe(false);
  expect(valuesOnTensorCores(model, true, f32, true)).toBe(false);
  expect(valuesOnTensorCores(model, true, bf16, false)).toBe(false);
  expect(chooseValues(1, true, bf16).name).toBe("tensor_small");
  expect(chooseValues(16, true, f8e4m3).name).toBe("tensor_small");
  expect(chooseValues(17, true, bf16).name).toBe("tensor_medium");
  expect(chooseValues(17, false, bf16)).toMatchObject({ rows: 16, columns: 32, threads: 128, shared: 0 });
});

test("rope: about a thousand vectors to a block, and no more blocks than a grid can have", () => {
  expect(chooseRopeHeads(64, 24)).toBe(42);
  expect(chooseRopeHeads(1, 24)).toBe(1);
  expect(chooseRopeHeads(64, 5000)).toBe(1);
  for (const heads of [1, 64, 65_535, 65_536, 1_000_000])
    expect(Math.ceil(heads / chooseRopeHeads(heads, 100_000))).toBeLessThanOrEqual(65_535);
});
