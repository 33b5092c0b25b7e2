// How attention is cut, as the functions of sizes that it is: no GPU, not even a virtual one.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { expect, test } from "vitest";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

function compiled() {
  const folder = mkdtempSync(join(tmpdir(), "caracal-tiles-"));
  const library = join(folder, "tiles.so");
  const flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-I", path("../../native")];
  execFileSync(process.env.CXX ?? "c++", [...flags, "-o", library, path("attentionTiles.cc")], { stdio: "pipe" });
  const lib = koffi.load(library);
  rmSync(folder, { recursive: true });
  return lib;
}
const lib = compiled();
const countTiles: (rows: number, sequences: number, tile: number) => number = lib.func(
  "int64_t count_tiles(int64_t rows, int64_t sequences, int64_t tile)",
);
const chooseRoom: (capacity: number, sequences: number, keyBytes: number, memory: number) => number = lib.func(
  "int64_t choose_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory)",
);
const countSplits: (capacity: number) => number = lib.func("int64_t count_splits(int64_t capacity)");
const sharedBytes: (heads: number) => number = lib.func("size_t shared_bytes(int heads)");
const chooseHeads: (heads: number, blocks: number, sms: number, shared: number) => number = lib.func(
  "int choose_heads(int64_t heads, int64_t blocks, int sms, size_t shared)",
);

test("every sequence has its tiles, wherever it starts", () => {
  for (const lengths of [[1], [0, 0, 5], [64, 64], [63, 1, 130, 0, 65], Array(40).fill(33)]) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1)! + length);
    const first = (s: number) => Math.floor(starts[s]! / 64) + s;
    const tiles = countTiles(starts.at(-1)!, lengths.length, 64);
    lengths.forEach((length, s) => {
      const end = s + 1 < lengths.length ? first(s + 1) : tiles;
      expect(end - first(s)).toBeGreaterThanOrEqual(Math.ceil(length / 64));
    });
  }
  expect(countTiles(0, 0, 64)).toBe(1);
});

test("keys are made in whole tiles, within a 128th of the memory, all at once where they have room", () => {
  const gib = 2 ** 30;
  for (const capacity of [0, 1, 64, 1000, 8192, 131_072])
    for (const sequences of [0, 1, 7, 64])
      for (const memory of [gib / 16, 24 * gib, 80 * gib]) {
        const room = chooseRoom(capacity, sequences, 40_960, memory);
        expect(room % 64).toBe(0);
        expect(room).toBeGreaterThanOrEqual(64);
        if (room > 64) expect(room * sequences * 40_960).toBeLessThanOrEqual(memory / 128);
      }
  expect(chooseRoom(8192, 1, 40_960, 80 * gib)).toBe(8192);
});

test("splits are 512 keys long; 64 heads share a block where the GPU is busy and has the memory", () => {
  expect([0, 1, 512, 513, 131_072].map(countSplits)).toEqual([1, 1, 1, 2, 256]);
  const [a100, ada] = [166_912, 101_376];
  expect(sharedBytes(64)).toBeLessThanOrEqual(a100);
  expect(sharedBytes(16)).toBeLessThanOrEqual(ada);
  expect(chooseHeads(64, 200, 108, a100)).toBe(64);
  expect(chooseHeads(64, 16, 108, a100)).toBe(16);
  expect(chooseHeads(64, 200, 108, ada)).toBe(16);
  expect(chooseHeads(16, 200, 108, a100)).toBe(16);
});
