// The choices of tiles, blocks and chunks are pure functions of sizes, tested here without a GPU.
import koffi from "koffi";
import { expect, test } from "vitest";
import { dtypes } from "../../lib/tensor/dtype.js";
import { compiled } from "../support/compiled.js";
import type { Tile } from "../support/gemmTile.js";
import "../support/gemmTile.js";

const lib = compiled(new URL("tiles.cc", import.meta.url));

const chooseSimt: (m: number, n: number, groups: number, sms: number) => Tile = lib.func(
  "Tile choose_simt(int64_t m, int64_t n, int groups, int sms)",
);
const chooseTensor: (m: number, n: number, groups: number, dtype: number, sms: number) => Tile = lib.func(
  "Tile choose_tensor(int64_t m, int64_t n, int groups, int dtype, int sms)",
);
const chooseConv: (m: number, n: number, sms: number) => Tile = lib.func(
  "Tile choose_conv(int64_t m, int64_t n, int sms)",
);
const countTiles: (tile: Tile, m: number, n: number) => number = lib.func(
  "int64_t count_tiles(const Tile *t, int64_t m, int64_t n)",
);

const chooseLogits: (m: number, n: number, x: number, w: number, sms: number) => Tile = lib.func(
  "Tile choose_logits(int64_t m, int64_t n, int x, int w, int sms)",
);
const chooseLaneScores: (all: number) => number = lib.func("int choose_lane_scores(int64_t all)");

interface Group {
  readonly tile: Tile;
  readonly minRows: number;
  readonly maxRows: number;
  readonly blockBytes: number;
}
koffi.struct("Group", { tile: "Tile", minRows: "int", maxRows: "int", blockBytes: "size_t" });
const countGroups: (x: number, w: number, groups: number, rows: number) => number = lib.func(
  "int count_groups(int x, int w, int groups, int64_t rows)",
);
const chooseGroup: (x: number, w: number, groups: number, rows: number, index: number) => Group = lib.func(
  "Group choose_group(int x, int w, int groups, int64_t rows, int index)",
);
const countBlocks: (group: Group, rows: number, n: number, experts: number, sms: number, shared: number) => number =
  lib.func("uint count_group_blocks(const Group *c, int64_t rows, int64_t n, int64_t experts, int sms, size_t shared)");

koffi.struct("Chunks", { picks: "int", perBlock: "int", blocks: "uint", counterBytes: "size_t" });
const chooseChunks: (
  picks: number,
  experts: number,
  sms: number,
) => { picks: number; perBlock: number; blocks: number; counterBytes: number } = lib.func(
  "Chunks choose_chunks(int64_t picks, int64_t experts, int sms)",
);

const [f32, bf16, f8e4m3] = [dtypes.indexOf("f32"), dtypes.indexOf("bf16"), dtypes.indexOf("f8e4m3")];
// The dtypes of codes come after those of plain tensors (native/core/dtype.h).
const [q4, q8] = [dtypes.length, dtypes.length + 1];
/** The bytes of a stage's weights for one column, with the pairs of scales and biases of two groups. */
const columnBytes = new Map([
  [bf16, 128],
  [f8e4m3, 64],
  [q4, 32 + 16],
  [q8, 64 + 16],
]);
const sizes = [1, 2, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 8192];
const outputs = [1, 24, 576, 2048, 6144, 12_288, 131_072];
const multiprocessors = [1, 4, 28, 84, 108, 132, 170];

/** Calls fn(tile, m, n, groups, sms) for every combination of the sizes above. */
function each(fn: (tile: Tile, m: number, n: number, groups: number, sms: number, w: number) => void): void {
  for (const m of sizes)
    for (const n of outputs)
      for (const groups of [1, 2])
        for (const sms of multiprocessors) {
          fn(chooseSimt(m, n, groups, sms), m, n, groups, sms, f32);
          for (const w of columnBytes.keys()) fn(chooseTensor(m, n, groups, w, sms), m, n, groups, sms, w);
        }
}

test("the tiles cover the output, and none lies outside", () => {
  each((tile, m, n) => {
    expect(countTiles(tile, m, n)).toBe(Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns));
  });
});

test("up to 16 rows are padded to 16 at most, and whole tiles are not padded", () => {
  each((tile, m) => {
    if (m <= 16) expect(tile.rows).toBe(16);
    if (tile.name.startsWith("tensor") && m > 16) expect(tile.rows).toBeGreaterThan(16);
    if (m % 128 === 0) expect(m % tile.rows).toBe(0);
  });
});

test("the largest tile is chosen exactly if it leaves work for half of the multiprocessors", () => {
  each((tile, m, n, _, sms, w) => {
    const large = tile.name.endsWith("large");
    if (large) expect(countTiles(tile, m, n) * 2).toBeGreaterThanOrEqual(sms);
    const largest = Math.ceil(m / 128) * Math.ceil(n / 128); // of the tiles with 128 columns
    if (w === q4 || w === q8) return expect(large).toBe(false); // there is none for codes
    if (!large && m > 64) expect(largest * 2).toBeLessThan(sms);
  });
  expect(chooseTensor(8192, 12_288, 1, bf16, 132).name).toBe("tensor_large");
  expect(chooseTensor(128, 12_288, 1, bf16, 132).name).toBe("tensor_large");
  expect(chooseTensor(128, 2048, 1, bf16, 132).name).toBe("tensor_medium");
  expect(chooseTensor(1, 12_288, 2, f8e4m3, 132).name).toBe("tensor_small");
  expect(chooseSimt(17, 131_072, 1, 132).name).toBe("simt_large");
  expect(chooseSimt(16, 131_072, 1, 132).name).toBe("simt_small");
});

const maxShared = 99 * 1024; // per block on sm_86, sm_89 and sm_120

test("shared memory holds the ring and the sums, and fits on every GPU from sm_80 on", () => {
  each((tile, _m, _n, groups, _sms, w) => {
    if (tile.name.startsWith("simt")) return expect(tile.shared).toBe(0); // static
    expect(tile.shared).toBeLessThanOrEqual(maxShared);
    expect(tile.shared % 16).toBe(0);
    expect(tile.shared).toBeGreaterThanOrEqual(tile.rows * tile.columns * groups * 4);
    const stage = tile.rows * 128 + tile.columns * groups * columnBytes.get(w)!;
    expect(tile.shared).toBeGreaterThanOrEqual(tile.stages * stage);
    expect(stage % 128).toBe(0); // the swizzles count banks from the start of a stage
    expect(tile.threads % 32).toBe(0);
  });
});

test("a convolution uses tiles of 96 columns if tiles of 64 would pad its output more", () => {
  for (const m of sizes)
    for (const n of [1, 32, 64, 96, 160, 192, 288, 384, 768])
      for (const sms of multiprocessors) {
        const tile = chooseConv(m, n, sms);
        const padded = (columns: number) => Math.ceil(n / columns) * columns;
        if (tile.name === "tensor_96") expect(padded(96)).toBeLessThan(padded(64));
        else expect(tile).toEqual(chooseTensor(m, n, 1, bf16, sms));
        expect(tile.shared).toBeLessThanOrEqual(maxShared);
      }
  const names = (n: number) => [16, 17, 1440, 100_000].map((m) => chooseConv(m, n, 132).name);
  expect(names(96)).toEqual(["tensor_small", "tensor_96", "tensor_96", "tensor_large"]);
  expect(names(192)).toEqual(["tensor_small", "tensor_medium", "tensor_medium", "tensor_large"]);
});

test("the router streams the classifier for one or a few tokens, and fills the GPU for many", () => {
  for (const m of sizes)
    for (const sms of multiprocessors)
      for (const [x, w] of [
        [bf16, f32],
        [f32, f32],
      ] as const) {
        const tile = chooseLogits(m, 768, x, w, sms);
        expect(tile.shared).toBeLessThanOrEqual(maxShared);
        if (tile.name === "large") expect(countTiles(tile, m, 768)).toBeGreaterThanOrEqual(sms);
        if (tile.name === "one") expect(m).toBe(1);
      }
  const names = [1, 8, 32, 64, 8192].map((m) => chooseLogits(m, 768, bf16, f32, 132).name);
  expect(names).toEqual(["one", "small", "small", "medium", "large"]);
});

test("a lane of the router keeps the scores of its experts in registers if they fit", () => {
  const experts = [1, 256, 257, 768, 769, 1000];
  expect(experts.map(chooseLaneScores)).toEqual([8, 8, 24, 24, 0, 0]);
});

/** The launches of a grouped product. */
function launches(x: number, w: number, groups: number, rows: number): Group[] {
  const count = countGroups(x, w, groups, rows);
  return Array.from({ length: count }, (_, i) => chooseGroup(x, w, groups, rows, i));
}

test("exactly one launch of a grouped product computes an expert, however many rows it has", () => {
  for (const rows of [0, ...sizes, 65_536])
    for (const groups of [1, 2])
      for (const [x, w] of [
        [f32, f32],
        [f32, f8e4m3],
        [f32, q4],
        [bf16, f32],
        [bf16, bf16],
        [bf16, f8e4m3],
        [bf16, q4],
        [bf16, q8],
      ] as const) {
        const all = launches(x, w, groups, rows);
        for (const r of [1, 15, ...sizes, 65_536].filter((r) => r <= rows))
          expect(all.filter(({ minRows, maxRows }) => minRows <= r && r <= maxRows)).toHaveLength(1);
        expect(all[0]?.minRows).toBe(1); // also writes the zeros
        for (const group of all) {
          const { tile, blockBytes } = group;
          const tensor = tile.name.startsWith("tensor");
          expect(tensor).toBe(x === bf16 && w !== f32);
          const staged = tensor ? tile.shared : (tile.rows + tile.columns * groups) * 36 * 4;
          expect(blockBytes).toBe(staged + 4096); // 4 KiB hold a block's current tile
          expect(tile.shared + 2.5 * 1024).toBeLessThanOrEqual(maxShared); // it needs less than that
          expect(group.minRows).toBeLessThanOrEqual(Math.max(rows, 1));
          const blocks = countBlocks(group, rows, 2048, 512, 132, maxShared);
          expect(blocks).toBeGreaterThan(0);
          expect(blocks).toBeLessThanOrEqual((132 * 512) / tile.threads);
        }
      }
  const names = (rows: number, w = bf16) => launches(bf16, w, 2, rows).map(({ tile }) => tile.name);
  expect(names(12)).toEqual(["tensor_small"]);
  expect(names(96)).toEqual(["tensor_small", "tensor_medium"]);
  expect(names(98_304)).toEqual(["tensor_small", "tensor_medium", "tensor_large"]);
  expect(names(98_304, q4)).toEqual(["tensor_small", "tensor_medium"]);
});

test("a permutation's chunks cover the picks, and their counters fit into shared memory or are global", () => {
  for (const picks of [0, 1, 31, 32, 33, 128, 129, 4096, 12_288, 12_289, 98_304, 3_000_000])
    for (const experts of [1, 7, 383, 384, 385, 512, 12_288, 12_289, 1 << 20])
      for (const sms of multiprocessors) {
        const chunks = chooseChunks(picks, experts, sms);
        expect(chunks.picks % 32).toBe(0);
        expect(chunks.perBlock).toBeLessThanOrEqual(32); // warps of a block
        const covered = (blocks: number) => blocks * chunks.perBlock * chunks.picks;
        expect(covered(chunks.blocks)).toBeGreaterThanOrEqual(picks);
        if (chunks.blocks > 1) expect(covered(chunks.blocks - 1)).toBeLessThan(picks);
        expect(chunks.blocks).toBeLessThanOrEqual(sms);
        const counterBytes = chunks.perBlock * experts * 4;
        expect(chunks.counterBytes).toBe(experts > 12_288 ? 0 : counterBytes);
        expect(chunks.counterBytes).toBeLessThanOrEqual(48 * 1024);
        if (chunks.counterBytes === 0) expect([chunks.perBlock, chunks.blocks]).toEqual([1, 1]);
      }
  const chosen = (picks: number, experts: number, sms: number) => Object.values(chooseChunks(picks, experts, sms));
  // 512 experts and 12 picks per token: one token, the most that one block sorts, one pick more, 4096 and 8192 tokens.
  expect(chosen(12, 512, 132)).toEqual([128, 1, 1, 2048]);
  expect(chosen(12_288, 512, 132)).toEqual([512, 24, 1, 49_152]);
  expect(chosen(12_289, 512, 132)).toEqual([128, 24, 5, 49_152]);
  expect(chosen(49_152, 512, 132)).toEqual([128, 24, 16, 49_152]);
  expect(chosen(98_304, 512, 132)).toEqual([128, 24, 32, 49_152]);
  expect(chosen(98_304, 512, 28)).toEqual([160, 24, 26, 49_152]);
  expect(chosen(1560, 12_288, 132)).toEqual([128, 1, 13, 49_152]);
  expect(chosen(1560, 13_000, 132)).toEqual([1568, 1, 1, 0]);
});
