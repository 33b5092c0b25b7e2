import { describe, expect, test } from "vitest";
import { KvCache, type KvSequence } from "../../../lib/model/language/kvCache.js";
import { copyRows } from "../../../lib/ops/rows.js";
import { devices } from "../../support/devices.js";
import { code } from "../../support/errors.js";
import { randomArray } from "../../support/numbers.js";

const blockSize = 4;
const width = 2;

/** A cache whose rows hold what is written to them, as attention would. */
class Tokens {
  readonly cache: KvCache;
  #next = 1;

  constructor(device: (typeof devices)[number], tokens: number) {
    this.cache = new KvCache(device, { modules: 2, width, tokens, blockSize });
  }

  /** Appends tokens to sequences, in one batch. @returns the values of each sequence's new rows */
  append(batch: readonly { readonly sequence: KvSequence; readonly rows: number }[]): number[][] {
    const { cache } = this;
    const from = batch.map(({ sequence }) => sequence.length);
    cache.append(batch)[Symbol.dispose]();
    return batch.map(({ sequence, rows }, i) =>
      Array.from({ length: rows }, (_, row) => {
        const position = from[i]! + row;
        const slot = sequence.blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
        const value = this.#next++;
        cache.device.scope(() => {
          for (const [m, module] of cache.modules.entries()) {
            const rows = module.reshape([cache.tokens, width]);
            copyRows(rows, cache.device.tensor(new Float32Array(width).fill(value + m / 2), [1, width]), slot);
          }
        });
        return value;
      }),
    );
  }

  /** The values of a sequence's rows, which are the same in all modules but for what tells the modules apart. */
  async read({ blocks, length }: KvSequence): Promise<number[]> {
    const modules = await Promise.all(this.cache.modules.map((module) => module.read()));
    return Array.from({ length }, (_, position) => {
      const slot = blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
      const [first, second] = modules.map((values) => values[slot * width]!);
      expect(second).toBe(first! + 0.5);
      return first!;
    });
  }
}

describe.each(devices)("forked sequences on $name", (device) => {
  test("share whole blocks, and the first to write into the last one takes a copy", async () => {
    const tokens = new Tokens(device, 32);
    using cache = tokens.cache;
    const a = cache.sequence();
    const [values] = tokens.append([{ sequence: a, rows: 6 }]);
    const b = a.fork();
    expect([b.length, b.blocks, cache.freeTokens]).toEqual([6, a.blocks, 24]);
    const [[more]] = tokens.append([{ sequence: b, rows: 1 }]) as [number[]];
    expect([b.blocks[0], cache.freeTokens]).toEqual([a.blocks[0], 20]);
    expect(b.blocks[1]).not.toBe(a.blocks[1]);
    const last = b.blocks[1];
    const [[other]] = tokens.append([{ sequence: a, rows: 1 }]) as [number[]];
    expect([a.blocks[1] === last, cache.freeTokens]).toEqual([false, 20]); // nobody else held it any more
    expect(await tokens.read(a)).toEqual([...values!, other]);
    expect(await tokens.read(b)).toEqual([...values!, more]);
    a.dispose();
    expect(cache.freeTokens).toBe(24);
    expect(await tokens.read(b)).toEqual([...values!, more]);
    b.dispose();
    expect(cache.freeTokens).toBe(32);
  });

  test("a whole cache has no room for the copy", async () => {
    const tokens = new Tokens(device, 8);
    using cache = tokens.cache;
    const a = cache.sequence();
    const [values] = tokens.append([{ sequence: a, rows: 6 }]);
    const b = a.fork();
    expect(cache.fits([{ sequence: b, rows: 1 }])).toBe(false);
    expect(cache.fits([{ sequence: b, rows: 0 }])).toBe(true);
    expect(() => cache.append([{ sequence: b, rows: 1 }])).toThrowError(code("OUT_OF_MEMORY"));
    b.reserve(0);
    expect([b.length, b.blocks]).toEqual([6, a.blocks]);
    a.dispose();
    expect(cache.freeTokens).toBe(0);
    const [[more]] = tokens.append([{ sequence: b, rows: 1 }]) as [number[]];
    expect(await tokens.read(b)).toEqual([...values!, more]);
    b.dispose();
    expect(() => b.fork()).toThrowError(code("DISPOSED"));
  });

  test("behave as sequences that share nothing, whatever is done with them", async () => {
    const draws = randomArray(10_000, 14).values();
    const pick = (count: number) => Math.floor(((draws.next().value! + 1) / 2) * count);
    const tokens = new Tokens(device, 160);
    using cache = tokens.cache;
    const alive = new Map<KvSequence, number[]>([[cache.sequence(), []]]);
    const any = () => [...alive.keys()][pick(alive.size)]!;
    for (let step = 0; step < 300; step++) {
      const sequence = any();
      const values = alive.get(sequence)!;
      const act = pick(10);
      if (act < 3 && alive.size < 8) alive.set(sequence.fork(), [...values]);
      else if (act < 4 && alive.size > 1) {
        sequence.dispose();
        alive.delete(sequence);
      } else if (act < 6) {
        const length = pick(values.length + 1);
        sequence.truncate(length);
        values.length = length;
      } else {
        const batch = [...new Set([sequence, any()])].map((one) => ({ sequence: one, rows: pick(7) }));
        if (!cache.fits(batch)) continue;
        if (act === 9) for (const added of batch) if (cache.fits([added])) added.sequence.reserve(added.rows);
        if (!cache.fits(batch)) continue;
        const added = tokens.append(batch);
        batch.forEach((one, i) => void alive.get(one.sequence)!.push(...added[i]!));
      }
      const held = new Set([...alive.keys()].flatMap(({ blocks }) => blocks));
      expect(cache.freeTokens).toBe(160 - held.size * blockSize);
      if (step % 10 === 0) for (const [one, expected] of alive) expect(await tokens.read(one)).toEqual(expected);
    }
    for (const one of alive.keys()) one.dispose();
    expect(cache.freeTokens).toBe(160);
  });
});
