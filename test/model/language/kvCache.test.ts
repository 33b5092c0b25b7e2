import { describe, expect, test } from "vitest";
import { KvCache, type NewRows } from "../../../lib/model/language/kvCache.js";
import type { KvCacheOptions } from "../../../lib/model/language/kvCacheOptions.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { devices } from "../../support/devices.js";
import { code } from "../../support/errors.js";

const device = devices[0]!;
const cache = (tokens = 32) => new KvCache(device, { modules: 2, width: 6, tokens, blockSize: 8 });
/** Appends rows and ends the batch at once. */
const append = (kv: KvCache, ...batch: NewRows[]) => kv.append(batch)[Symbol.dispose]();

describe("KvCache", () => {
  test("has one tensor of whole blocks per attention module", () => {
    const kv = cache(30);
    expect(kv.modules.map(({ shape }) => shape)).toEqual([
      [4, 8, 6],
      [4, 8, 6],
    ]);
    expect(kv.tokens).toBe(32);
  });

  test("describes a packed batch in the form that the attention operations take", async () => {
    const kv = cache();
    const [a, b] = [kv.sequence(), kv.sequence()];
    append(kv, { sequence: a, rows: 7 });
    const rows = kv.append([
      { sequence: b, rows: 2 },
      { sequence: a, rows: 3 },
    ]);
    const [first, second] = a.blocks as [number, number];
    const [other] = b.blocks as [number];
    expect([...(await rows.positions.read())]).toEqual([0, 1, 7, 8, 9]);
    const slots = [other * 8, other * 8 + 1, first * 8 + 7, second * 8, second * 8 + 1];
    expect([...(await rows.slots.read())]).toEqual(slots);
    expect(rows.blockTable.shape).toEqual([2, 2]);
    expect([...(await rows.blockTable.read())].filter((_, i) => i !== 1)).toEqual([other, first, second]);
    expect([...(await rows.cuSeqlens.read())]).toEqual([0, 2, 5]);
    expect([...(await rows.seqLens.read())]).toEqual([2, 10]);
    expect(new Set([first, second, other]).size).toBe(3);
  });

  test("describes rows as sequences of their own, each ending with its row", async () => {
    const kv = cache();
    const [a, b] = [kv.sequence(), kv.sequence()];
    append(kv, { sequence: a, rows: 7 });
    const batch = [
      { sequence: b, rows: 1 },
      { sequence: a, rows: 2 },
    ];
    using rows = kv.append(batch, { rowByRow: true });
    const [first, second] = a.blocks as [number, number];
    const [other] = b.blocks as [number];
    expect([...(await rows.positions.read())]).toEqual([0, 7, 8]);
    expect([...(await rows.slots.read())]).toEqual([other * 8, first * 8 + 7, second * 8]);
    expect(rows.blockTable.shape).toEqual([3, 2]);
    const table = [...(await rows.blockTable.read())];
    expect([table[0], ...table.slice(2)]).toEqual([other, first, second, first, second]);
    expect([...(await rows.cuSeqlens.read())]).toEqual([0, 1, 2, 3]);
    expect([...(await rows.seqLens.read())]).toEqual([1, 8, 9]);
    expect([a.length, b.length]).toEqual([9, 1]);
  });

  test("makes room for all rows or none", () => {
    const kv = cache();
    const [a, b] = [kv.sequence(), kv.sequence()];
    const batch = [
      { sequence: a, rows: 8 },
      { sequence: b, rows: 25 },
    ];
    expect(kv.fits(batch)).toBe(false);
    expect(() => kv.append(batch)).toThrowError(code("OUT_OF_MEMORY"));
    expect([a.length, b.length, kv.freeTokens]).toEqual([0, 0, 32]);
    append(kv, { sequence: a, rows: 32 });
    expect(kv.freeTokens).toBe(0);
  });

  test("truncate returns whole blocks and keeps the others", () => {
    const kv = cache();
    const a = kv.sequence();
    append(kv, { sequence: a, rows: 20 });
    const before = [...a.blocks];
    a.truncate(9);
    expect(a.blocks).toEqual(before.slice(0, 2));
    expect([a.length, kv.freeTokens]).toEqual([9, 16]);
    a.truncate(8);
    expect(kv.freeTokens).toBe(24);
    expect(() => a.truncate(9)).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("a disposed sequence returns its blocks once and takes no more", () => {
    const kv = cache();
    const a = kv.sequence();
    append(kv, { sequence: a, rows: 20 });
    a.dispose();
    a.dispose();
    expect(kv.freeTokens).toBe(32);
    expect(() => kv.append([{ sequence: a, rows: 1 }])).toThrowError(code("DISPOSED"));
    expect(() => kv.append([{ sequence: cache().sequence(), rows: 1 }])).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("reserved blocks belong to the sequence until it is truncated", () => {
    const kv = cache();
    const [a, b] = [kv.sequence(), kv.sequence()];
    a.reserve(20);
    expect([a.length, kv.freeTokens]).toEqual([0, 8]);
    expect(() => b.reserve(9)).toThrowError(code("OUT_OF_MEMORY"));
    append(kv, { sequence: a, rows: 20 });
    expect(kv.freeTokens).toBe(8);
    a.truncate(3);
    expect(kv.freeTokens).toBe(24);
    a.dispose();
    expect(() => a.reserve(1)).toThrowError(code("DISPOSED"));
  });

  test("more blocks than a call has arguments are taken at once, and returned", () => {
    const kv = new KvCache(device, { modules: 1, width: 1, tokens: 400_000, blockSize: 1 });
    const a = kv.sequence();
    a.reserve(390_000);
    expect(a.blocks.length).toBe(390_000);
    expect(kv.freeTokens).toBe(10_000);
    a.dispose();
    expect(kv.freeTokens).toBe(400_000);
    kv.dispose();
  });

  test("a block table of more than 2^26 entries is refused, and no block is taken", () => {
    const kv = cache();
    const batch = Array.from({ length: 4 }, () => ({ sequence: kv.sequence(), rows: 8 }));
    const [first] = batch;
    append(kv, { ...first!, rows: 1 });
    for (const sequence of Array.from({ length: 61 }, () => kv.sequence())) batch.push({ sequence, rows: 0 });
    expect(() => kv.append(batch.slice(1), { minWidth: 2 ** 20 + 1 })).toThrowError(/minWidth must be an integer/);
    expect(() => kv.append(batch.slice(1).concat([{ ...first!, rows: 0 }]), { minWidth: 2 ** 20 })).toThrowError(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("the block table [65, 1048576] is too large, at most 67108864 entries"),
        details: { sequences: 65, width: 2 ** 20, limit: 2 ** 26 },
      }),
    );
    expect([kv.freeTokens, first!.sequence.length]).toEqual([24, 1]);
    const long = [{ sequence: first!.sequence, rows: 31 }];
    using table = kv.append(long, { minWidth: 2 ** 20, rowByRow: true });
    expect(table.blockTable.shape).toEqual([31, 2 ** 20]);
  });

  test("a batch holds its sequences until it has been queued", () => {
    const kv = cache();
    const a = kv.sequence();
    const rows = kv.append([{ sequence: a, rows: 20 }]);
    expect(() => a.truncate(0)).toThrowError(code("INVALID_ARGUMENT"));
    a.dispose();
    expect(kv.freeTokens).toBe(8);
    rows[Symbol.dispose]();
    expect(kv.freeTokens).toBe(32);
    expect(rows.slots.disposed).toBe(true);
  });

  test.each([-5, 1.5, Number.NaN, "3", undefined])("refuses %o rows, and stays as it was", (rows) => {
    const kv = cache();
    const a = kv.sequence();
    append(kv, { sequence: a, rows: 3 });
    const batch = [{ sequence: a, rows: rows as number }];
    expect(() => kv.append(batch)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => kv.fits(batch)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => a.reserve(rows as number)).toThrowError(code("INVALID_ARGUMENT"));
    expect([a.length, a.blocks.length, kv.freeTokens]).toEqual([3, 1, 24]);
  });

  test("refuses a sequence that occurs twice in a batch", () => {
    const kv = cache();
    const a = kv.sequence();
    const batch = [
      { sequence: a, rows: 20 },
      { sequence: a, rows: 20 },
    ];
    expect(() => kv.append(batch)).toThrowError(code("INVALID_ARGUMENT"));
    expect([a.length, kv.freeTokens]).toEqual([0, 32]);
  });

  test.each([
    { modules: -1 },
    { modules: Number.NaN },
    { modules: undefined },
    { width: 0 },
    { tokens: "32" },
    { tokens: Number.POSITIVE_INFINITY },
    { tokens: 2 ** 26 + 1, blockSize: 1 },
    { blockSize: 0.5 },
    { dtype: "i32" },
  ])("refuses options out of range: %o", (options) => {
    const all = { modules: 1, width: 6, tokens: 8, ...options } as KvCacheOptions;
    const [name] = Object.keys(options) as [string];
    expect(() => new KvCache(device, all)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => new KvCache(device, all)).toThrowError(new RegExp(`^KvCache: ${name} must be `));
  });

  test("refuses a cache without room for a token, and unknown options", () => {
    expect(() => cache(0)).toThrowError(code("INVALID_ARGUMENT"));
    const misspelt = { modules: 1, width: 6, tokens: 8, blocksize: 8 };
    expect(() => new KvCache(device, misspelt)).toThrowError(
      /KvCache has no option "blocksize": did you mean "blockSize"/,
    );
  });
});

describe("what a caller may do wrong", () => {
  test("rows that are disposed twice give their blocks back once", () => {
    using kv = cache(32);
    const sequence = kv.sequence();
    const rows = kv.append([{ sequence, rows: 5 }]);
    for (let i = 0; i < 2; i++) rows[Symbol.dispose]();
    sequence.dispose();
    expect(kv.freeTokens).toBe(32);
  });

  test.each<[string, unknown]>([
    ["no list", null],
    ["text", "x"],
    ["an empty object", [{}]],
    ["null", [null]],
    ["an object for a sequence", [{ sequence: {}, rows: 1 }]],
  ])("%s for a batch is refused", (_, batch) => {
    using kv = cache();
    expect(() => kv.append(batch as never)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => kv.fits(batch as never)).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("a proxy of a sequence is refused", () => {
    using kv = cache();
    const sequence = new Proxy(kv.sequence(), {});
    expect(() => kv.append([{ sequence, rows: 1 }])).toThrow(/sequence must be a KvSequence, .* got a proxy of/);
    expect(kv.freeTokens).toBe(32);
  });

  test("as many blocks as a device holds take no memory of JavaScript", async () => {
    await using own = await Device.open({ backend: "cpu", threads: 1 });
    const tokens = 2 ** 26;
    const before = process.memoryUsage().heapUsed;
    using kv = new KvCache(own, { modules: 1, width: 1, tokens, blockSize: 1, dtype: "bf16" });
    const sequence = kv.sequence();
    sequence.reserve(3);
    expect([sequence.blocks, kv.freeTokens]).toEqual([[0, 1, 2], tokens - 3]);
    expect(() => sequence.reserve(2 ** 22 + 1)).toThrowError(code("INVALID_ARGUMENT"));
    const other = kv.sequence();
    const batch = [sequence, other].map((one, i) => ({ sequence: one, rows: 5 + i * 2 ** 22 }));
    expect(() => kv.append(batch)).toThrowError(code("INVALID_ARGUMENT"));
    expect([sequence.blocks, kv.freeTokens]).toEqual([[0, 1, 2], tokens - 3]);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(tokens);
  });

  test("rows that cannot be described are not added", async () => {
    const other = await Device.open({ backend: "cpu" });
    const kv = new KvCache(other, { modules: 1, width: 6, tokens: 32, blockSize: 8 });
    const sequence = kv.sequence();
    other.dispose();
    expect(() => kv.append([{ sequence, rows: 3 }])).toThrowError(code("DISPOSED"));
    expect(sequence.length).toBe(0);
  });
});
