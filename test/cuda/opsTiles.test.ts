// How rows, images and logits are divided among blocks. These are pure functions of sizes, so no GPU is needed, not even
// a virtual one.
import koffi from "koffi";
import { describe, expect, test } from "vitest";
import { compiled } from "../support/compiled.js";

const lib = compiled(new URL("opsTiles.cc", import.meta.url));

describe("rows", () => {
  interface Lanes {
    readonly x: number;
    readonly threads: number;
    readonly shift: number;
  }
  koffi.struct("Lanes", { x: "uint", y: "uint", z: "uint", threads: "uint", shift: "int" });
  const chooseUnit: (length: number, address: number) => number = lib.func(
    "size_t choose_unit(size_t length, uintptr_t address)",
  );
  const chooseLanes: (rows: number, items: number) => Lanes = lib.func(
    "Lanes choose_lanes(int64_t rows, int64_t items)",
  );

  test("the unit is the largest that divides the length and the address", () => {
    for (const length of [0, 1, 2, 6, 8, 12, 16, 24, 12_288])
      for (const address of [0, 1, 2, 4, 8, 16, 4096 + 12]) {
        const unit = [16, 4, 2, 1].find((u) => length % u === 0 && address % u === 0);
        expect(chooseUnit(length, address)).toBe(unit);
      }
  });

  test("the lanes of a row are the fewest powers of two for its items, up to a block, and blocks cover the rows", () => {
    for (const rows of [0, 1, 7, 256, 257, 8192])
      for (const items of [1, 2, 3, 32, 33, 255, 256, 257, 768, 131_072]) {
        const { x, threads, shift } = chooseLanes(rows, items);
        expect(threads).toBe(256);
        expect(2 ** shift).toBe(Math.min(2 ** Math.ceil(Math.log2(items)), threads));
        expect(x).toBe(Math.ceil(rows / (threads >> shift)));
      }
    expect(chooseLanes(5, 0).x).toBe(0);
  });
});

describe("patchify", () => {
  interface Patches {
    readonly group: number;
    readonly groups: number;
    readonly rows: number;
    readonly frames: number;
    readonly pitch: number;
  }
  koffi.struct("Patches", { group: "int", groups: "int", rows: "int", frames: "int", pitch: "int" });
  const choose: (patch: number, temporal: number, patches: number) => Patches = lib.func(
    "Patches choose_patches(int64_t patch, int64_t temporal, int64_t patches)",
  );
  const sharedBytes: (tile: Patches) => number = lib.func("size_t patch_bytes(const Patches *tile)");

  test("tiles cover the patches, their rows and their frames, in at most 48 KiB of shared memory", () => {
    for (const patch of [1, 3, 14, 16, 64, 150, 1021, 1024])
      for (const temporal of [1, 2, 7, 1024])
        for (const patches of [1, 2, 7, 96, 401]) {
          const tile = choose(patch, temporal, patches);
          expect(tile.groups).toBe(Math.ceil(patches / tile.group));
          expect(patch % tile.rows).toBe(0);
          expect([1, temporal]).toContain(tile.frames);
          if (tile.frames > 1) expect(tile.rows).toBe(patch);
          expect(tile.pitch % 4).toBe(0);
          expect(tile.pitch).toBeGreaterThanOrEqual(tile.frames * tile.rows * patch * 3);
          expect(sharedBytes(tile)).toBe(8 * 400 + tile.group * tile.pitch);
          expect(sharedBytes(tile)).toBeLessThanOrEqual(48 * 1024); // no launch attribute needed
        }
  });

  test("rows of neighbouring patches are in neighbouring banks", () => {
    for (const patch of [1, 3, 14, 16, 64])
      for (const temporal of [1, 2]) {
        const { pitch } = choose(patch, temporal, 96);
        expect((pitch / 4) % 32).toBe(Math.ceil(patch / 4) % 32);
      }
  });

  test("the model's patches of 14 x 14 pixels and two frames: eight whole patches per block", () => {
    expect(choose(14, 2, 96)).toEqual({ group: 8, groups: 12, rows: 14, frames: 2, pitch: 1296 });
  });
});

describe("resizeBicubic", () => {
  interface Across {
    readonly tiles: {
      readonly rows: number;
      readonly columns: number;
      readonly channels: number;
      readonly outputs: number;
      readonly tiles: number;
      readonly rowsPerBlock: number;
      readonly stageBytes: number;
    };
    readonly shared: number;
  }
  koffi.struct("AcrossTiles", {
    rows: "int64_t",
    columns: "int",
    channels: "int",
    outputs: "int",
    tiles: "int",
    rowsPerBlock: "int",
    stageBytes: "int",
  });
  koffi.struct("Across", { tiles: "AcrossTiles", shared: "size_t" });
  const chooseAcross: (rows: number, columns: number, channels: number, width: number, maxTaps: number) => Across =
    lib.func("Across choose_across(int64_t rows, int64_t columns, int64_t channels, int width, int max_taps)");
  koffi.struct("Down", { unit: "int", strips: "int", blocks: "uint" });
  const chooseDown: (
    bytes: number,
    height: number,
    from: number,
    to: number,
  ) => { unit: number; strips: number; blocks: number } = lib.func(
    "Down choose_down(int64_t bytes, int64_t height, uintptr_t from, uintptr_t to)",
  );
  const maxTaps = (from: number, to: number) => Math.ceil(2 * Math.max(from / to, 1)) * 2 + 1;

  test("across: a stage holds all pixels that a block's outputs read, wherever they start in 16 bytes", () => {
    for (const [from, to] of [
      [1, 1],
      [5, 140],
      [300, 137],
      [333, 20],
      [4032, 1344],
      [20_000, 3],
      [7, 1],
    ] as const)
      for (const channels of [1, 3, 4, 70]) {
        const taps = maxTaps(from, to);
        const { tiles, shared } = chooseAcross(100, from, channels, to, taps);
        expect(tiles).toMatchObject({ rows: 100, columns: from, channels, rowsPerBlock: 64 });
        expect(tiles.tiles).toBe(Math.ceil(to / tiles.outputs));
        expect(shared).toBeLessThanOrEqual(48 * 1024);
        if (shared === 0) continue;
        const outputs = Math.min(tiles.outputs, to);
        const pixels = Math.min(from, Math.ceil(((outputs - 1) * from) / to) + taps);
        expect(tiles.stageBytes).toBeGreaterThanOrEqual(pixels * channels + 15);
        expect(tiles.stageBytes % 16).toBe(0);
        expect(shared).toBe(8 * tiles.stageBytes + 4 * (2 + taps) * tiles.outputs);
      }
  });

  test("across: the most outputs that fit, none staged if not even one fits", () => {
    expect(chooseAcross(3024, 4032, 3, 1344, maxTaps(4032, 1344))).toMatchObject({
      tiles: { outputs: 128, tiles: 11 },
    });
    expect(chooseAcross(5, 5000, 1, 1, maxTaps(5000, 1))).toMatchObject({
      tiles: { outputs: 128, tiles: 1, stageBytes: 0 },
      shared: 0,
    });
  });

  test("down: the widest unit that length and addresses allow, and blocks for all strips of four rows", () => {
    expect(chooseDown(4032, 1008, 0, 0)).toEqual({ unit: 16, strips: 2, blocks: 2 * 252 });
    expect(chooseDown(4032, 1007, 4, 0)).toEqual({ unit: 4, strips: 8, blocks: 8 * 252 });
    expect(chooseDown(4032, 1, 0, 2)).toEqual({ unit: 1, strips: 32, blocks: 32 });
    expect(chooseDown(15, 9, 0, 0)).toEqual({ unit: 1, strips: 1, blocks: 3 });
  });
});

describe("argmax and sample", () => {
  interface Parts {
    readonly first: number;
    readonly last: number;
    readonly ranges: number;
    readonly begin: number;
    readonly parts: number;
    readonly idsPerPart: number;
  }
  koffi.struct("Parts", {
    first: "int64_t",
    last: "int64_t",
    ranges: "int",
    bounds: "void *",
    begin: "int64_t",
    parts: "int",
    idsPerPart: "int",
  });
  const call = lib.func("Parts choose_parts(int64_t columns, const int64_t *allowed, int n)");
  const choose = (columns: number, allowed: number[] = []): Parts => call(columns, allowed, allowed.length);

  test("parts cover the allowed ids, start at whole vectors, and fit in one block", () => {
    for (const columns of [1, 7, 128, 129, 8448, 32_768, 32_769, 131_072, 2 ** 23])
      for (const allowed of [[], [0, columns], [columns - 1, columns]]) {
        const { first, last, begin, parts, idsPerPart } = choose(columns, allowed);
        expect([first, last]).toEqual(allowed.length > 0 ? allowed : [0, columns]);
        expect(begin % 8).toBe(0);
        expect(begin).toBeLessThanOrEqual(first);
        expect(idsPerPart % 128).toBe(0);
        expect(parts).toBeLessThanOrEqual(256);
        expect(begin + parts * idsPerPart).toBeGreaterThanOrEqual(last);
        expect(begin + (parts - 1) * idsPerPart).toBeLessThan(last);
      }
  });

  test("the model's vocabulary has 256 parts of 512 ids, a codec book 66 of 128", () => {
    expect(choose(131_072)).toMatchObject({ parts: 256, idsPerPart: 512 });
    expect(choose(8448)).toMatchObject({ parts: 66, idsPerPart: 128 });
    expect(choose(3001, [5, 6, 900, 2991])).toMatchObject({ first: 5, last: 2991, ranges: 2, begin: 0 });
  });
});
