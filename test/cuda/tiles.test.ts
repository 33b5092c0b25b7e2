// The choice of tiles, as the functions of sizes that it is: no GPU, not even a virtual one.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { expect, test } from "vitest";
import { dtypes } from "../../lib/tensor/dtype.js";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

function compiled() {
  const folder = mkdtempSync(join(tmpdir(), "caracal-tiles-"));
  const library = join(folder, "tiles.so");
  const flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-I", path("../../native")];
  execFileSync(process.env.CXX ?? "c++", [...flags, "-o", library, path("tiles.cc")], { stdio: "pipe" });
  const lib = koffi.load(library);
  rmSync(folder, { recursive: true });
  return lib;
}
const lib = compiled();

interface Tile {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly threads: number;
  readonly stages: number;
  readonly shared: number;
}
koffi.struct("Tile", {
  name: "const char *",
  rows: "int64_t",
  columns: "int64_t",
  threads: "uint",
  stages: "int",
  shared: "size_t",
});
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

interface Group {
  readonly tile: Tile;
  readonly least: number;
  readonly most: number;
}
koffi.struct("Group", { tile: "Tile", least: "int", most: "int" });
const countGroups: (tensor: boolean, groups: number, dtype: number, rows: number) => number = lib.func(
  "int count_groups(bool tensor, int groups, int dtype, int64_t rows)",
);
const chooseGroup: (tensor: boolean, groups: number, dtype: number, rows: number, index: number) => Group = lib.func(
  "Group choose_group(bool tensor, int groups, int dtype, int64_t rows, int index)",
);
const countBlocks: (
  group: Group,
  groups: number,
  rows: number,
  n: number,
  experts: number,
  sms: number,
  shared: number,
) => number = lib.func(
  "uint count_group_blocks(const Group *c, int groups, int64_t rows, int64_t n, int64_t experts, int sms, size_t shared)",
);

const [f32, bf16, f8e4m3] = [dtypes.indexOf("f32"), dtypes.indexOf("bf16"), dtypes.indexOf("f8e4m3")];
const sizes = [1, 2, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 8192];
const outputs = [1, 24, 576, 2048, 6144, 12_288, 131_072];
const multiprocessors = [1, 4, 28, 84, 108, 132, 170];

/** fn(tile, m, n, groups, sms) for every choice there is among the sizes above. */
function each(fn: (tile: Tile, m: number, n: number, groups: number, sms: number) => void): void {
  for (const m of sizes)
    for (const n of outputs)
      for (const groups of [1, 2])
        for (const sms of multiprocessors) {
          fn(chooseSimt(m, n, groups, sms), m, n, groups, sms);
          for (const dtype of [bf16, f8e4m3]) fn(chooseTensor(m, n, groups, dtype, sms), m, n, groups, sms);
        }
}

test("tiles cover the output, and none lies beside it", () => {
  each((tile, m, n) => {
    expect(countTiles(tile, m, n)).toBe(Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns));
  });
});

test("up to 16 rows are not padded to more than 16, and whole tiles not at all", () => {
  each((tile, m) => {
    if (m <= 16) expect(tile.rows).toBe(16);
    if (tile.name.startsWith("tensor") && m > 16) expect(tile.rows).toBeGreaterThan(16);
    if (m % 128 === 0) expect(m % tile.rows).toBe(0);
  });
});

test("the largest tile is taken where it leaves work for half of the multiprocessors, and only there", () => {
  each((tile, m, n, _, sms) => {
    const large = tile.name.endsWith("large");
    if (large) expect(countTiles(tile, m, n) * 2).toBeGreaterThanOrEqual(sms);
    const most = Math.ceil(m / 128) * Math.ceil(n / 128); // of the largest there is
    if (!large && m > 64) expect(most * 2).toBeLessThan(sms);
  });
  expect(chooseTensor(8192, 12_288, 1, bf16, 132).name).toBe("tensor_large");
  expect(chooseTensor(128, 12_288, 1, bf16, 132).name).toBe("tensor_large");
  expect(chooseTensor(128, 2048, 1, bf16, 132).name).toBe("tensor_medium");
  expect(chooseTensor(1, 12_288, 2, f8e4m3, 132).name).toBe("tensor_small");
  expect(chooseSimt(17, 131_072, 1, 132).name).toBe("simt_large");
  expect(chooseSimt(16, 131_072, 1, 132).name).toBe("simt_small");
});

const most = 99 * 1024; // shared memory of a block on sm_86, sm_89 and sm_120

test("shared memory holds the ring and the sums, and is there on every GPU from sm_80 on", () => {
  each((tile, _m, _n, groups) => {
    if (tile.name.startsWith("simt")) return expect(tile.shared).toBe(0); // static
    expect(tile.shared).toBeLessThanOrEqual(most);
    expect(tile.shared % 16).toBe(0);
    expect(tile.shared).toBeGreaterThanOrEqual(tile.rows * tile.columns * groups * 4);
    expect(tile.shared).toBeGreaterThanOrEqual(tile.stages * 64 * (tile.rows * 2 + tile.columns * groups));
    expect(tile.threads % 32).toBe(0);
  });
});

test("a convolution's tiles: of 96 columns where those of 64 would make more beside the output", () => {
  for (const m of sizes)
    for (const n of [1, 32, 64, 96, 160, 192, 288, 384, 768])
      for (const sms of multiprocessors) {
        const tile = chooseConv(m, n, sms);
        const padded = (columns: number) => Math.ceil(n / columns) * columns;
        if (tile.name === "tensor_96") expect(padded(96)).toBeLessThan(padded(64));
        else expect(tile).toEqual(chooseTensor(m, n, 1, bf16, sms));
        expect(tile.shared).toBeLessThanOrEqual(most);
      }
  const names = (n: number) => [16, 17, 1440, 100_000].map((m) => chooseConv(m, n, 132).name);
  expect(names(96)).toEqual(["tensor_small", "tensor_96", "tensor_96", "tensor_large"]);
  expect(names(192)).toEqual(["tensor_small", "tensor_medium", "tensor_medium", "tensor_large"]);
});

test("the router's tiles: one token or a few stream the classifier, many fill every multiprocessor", () => {
  for (const m of sizes)
    for (const sms of multiprocessors)
      for (const [x, w] of [
        [bf16, f32],
        [f32, f32],
      ] as const) {
        const tile = chooseLogits(m, 768, x, w, sms);
        expect(tile.shared).toBeLessThanOrEqual(most);
        if (tile.name === "large") expect(countTiles(tile, m, 768)).toBeGreaterThanOrEqual(sms);
        if (tile.name === "one") expect(m).toBe(1);
      }
  const names = [1, 8, 32, 64, 8192].map((m) => chooseLogits(m, 768, bf16, f32, 132).name);
  expect(names).toEqual(["one", "small", "small", "medium", "large"]);
});

/** The launches of a grouped product. */
function launches(tensor: boolean, groups: number, dtype: number, rows: number): Group[] {
  const count = countGroups(tensor, groups, dtype, rows);
  return Array.from({ length: count }, (_, i) => chooseGroup(tensor, groups, dtype, rows, i));
}

test("an expert's rows are made by one launch of a grouped product, whatever their number", () => {
  for (const rows of [0, ...sizes, 65_536])
    for (const groups of [1, 2])
      for (const [tensor, dtype] of [
        [false, f32],
        [true, bf16],
        [true, f8e4m3],
      ] as const) {
        const all = launches(tensor, groups, dtype, rows);
        for (const r of [1, 15, ...sizes, 65_536].filter((r) => r <= rows))
          expect(all.filter(({ least, most }) => least <= r && r <= most)).toHaveLength(1);
        expect(all[0]?.least).toBe(1); // makes the zeros, too
        for (const group of all) {
          const known = 2.5 * 1024; // that is static: what a block knows of its tile
          expect(group.tile.shared + known).toBeLessThanOrEqual(most);
          expect(group.least).toBeLessThanOrEqual(Math.max(rows, 1));
          const blocks = countBlocks(group, groups, rows, 2048, 512, 132, most);
          expect(blocks).toBeGreaterThan(0);
          expect(blocks).toBeLessThanOrEqual((132 * 512) / group.tile.threads);
        }
      }
  const names = (rows: number) => launches(true, 2, bf16, rows).map(({ tile }) => tile.name);
  expect(names(12)).toEqual(["tensor_small"]);
  expect(names(96)).toEqual(["tensor_small", "tensor_medium"]);
  expect(names(98_304)).toEqual(["tensor_small", "tensor_medium", "tensor_large"]);
});
