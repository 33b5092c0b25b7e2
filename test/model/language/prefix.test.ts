import { describe, expect, test } from "vitest";
import { KvCache, type KvSequence } from "../../../lib/model/language/kvCache.js";
import { copyRows } from "../../../lib/ops/rows.js";
import { devices } from "../../support/devices.js";
import { randomArray } from "../../support/numbers.js";

const blockSize = 4;

/** A cache whose rows hold the values that are appended, as attention would compute them. */
class Values {
  readonly cache: KvCache;

  constructor(device: (typeof devices)[number], tokens: number) {
    this.cache = new KvCache(device, { modules: 1, width: 1, tokens, blockSize });
  }

  append(sequence: KvSequence, values: readonly number[]): void {
    const { cache } = this;
    const from = sequence.length;
    cache.append([{ sequence, rows: values.length }])[Symbol.dispose]();
    const rows = cache.modules[0]!.reshape([cache.tokens, 1]);
    for (const [i, value] of values.entries())
      cache.device.scope(() => copyRows(rows, cache.device.tensor([value], [1, 1]), slotOf(sequence, from + i)));
  }

  async read(sequence: KvSequence): Promise<number[]> {
    const values = await this.cache.modules[0]!.read();
    return Array.from({ length: sequence.length }, (_, position) => values[slotOf(sequence, position)]!);
  }
}

const slotOf = ({ blocks }: KvSequence, position: number) =>
  blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);

/** The key of a block that ends after these values. */
const keyOf = (values: readonly number[]) => values.join();

/** Keeps all whole blocks of a sequence. */
function keepAll(sequence: KvSequence, values: readonly number[]): void {
  for (let end = blockSize; end <= values.length; end += blockSize)
    sequence.keep(end / blockSize - 1, keyOf(values.slice(0, end)));
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe.each(devices)("kept blocks on $name", (device) => {
  test("are free, and give their rows to whoever has the key, until no other block is free", async () => {
    const values = new Values(device, 24);
    using cache = values.cache;
    const first = cache.sequence();
    values.append(first, range(0, 10));
    keepAll(first, range(0, 10));
    const { blocks } = first;
    const kept = blocks.slice(0, 2);
    first.dispose();
    expect([cache.freeTokens, cache.cachedTokens]).toEqual([24, 8]);
    const second = cache.sequence();
    expect([second.adopt(keyOf(range(0, 4))), second.adopt(keyOf(range(0, 8))), second.adopt("0,1")]).toEqual([
      true,
      true,
      false,
    ]);
    expect([second.blocks, second.length, cache.freeTokens, cache.cachedTokens]).toEqual([kept, 8, 16, 0]);
    values.append(second, [8]);
    expect(await values.read(second)).toEqual(range(0, 9));
    second.dispose();
    const other = cache.sequence();
    other.reserve(20);
    expect([cache.freeTokens, cache.cachedTokens]).toEqual([4, 4]); // the last block was of use only with the first
    expect(cache.sequence().adopt(keyOf(range(0, 8)))).toBe(false);
    expect(cache.sequence().adopt(keyOf(range(0, 4)))).toBe(true);
  });

  test.each([
    [1, ["b", "c", "d"]],
    [2, ["b", "c"]],
    [3, ["b"]],
  ])("go in the order of their last use, but never from who holds them: for %d other blocks", (count, left) => {
    using cache = new KvCache(device, { modules: 1, width: 1, tokens: 16, blockSize });
    const keys = ["a", "b", "c", "d"];
    const sequences = keys.map((key) => {
      const sequence = cache.sequence();
      sequence.grow(4);
      sequence.keep(0, key);
      return sequence;
    });
    for (const i of [2, 0, 3]) sequences[i]!.dispose();
    const user = cache.sequence();
    user.adopt("c");
    user.dispose(); // used again: now the latest
    cache.sequence().reserve(4 * count);
    expect(cache.fits([{ sequence: cache.sequence(), rows: 13 - 4 * count }])).toBe(false);
    expect(keys.filter((key) => cache.sequence().adopt(key))).toEqual(left);
  });

  test("are one, where two sequences computed the same", async () => {
    const values = new Values(device, 32);
    using cache = values.cache;
    const [a, b] = [cache.sequence(), cache.sequence()];
    for (const sequence of [a, b]) values.append(sequence, range(0, 6));
    expect(cache.freeTokens).toBe(16);
    for (const sequence of [a, b]) keepAll(sequence, range(0, 6));
    expect([cache.freeTokens, a.blocks[0] === b.blocks[0]]).toEqual([20, true]);
    keepAll(b, range(0, 6)); // again
    a.dispose();
    expect([await values.read(b), cache.freeTokens]).toEqual([range(0, 6), 24]);
    b.dispose();
    expect([cache.freeTokens, cache.cachedTokens]).toEqual([32, 4]);
  });

  test("replace what was reserved or half written in their place", async () => {
    const values = new Values(device, 32);
    using cache = values.cache;
    const a = cache.sequence();
    values.append(a, range(0, 8));
    keepAll(a, range(0, 8));
    const b = cache.sequence();
    b.reserve(12);
    values.append(b, range(0, 6));
    expect(cache.freeTokens).toBe(12);
    expect(b.adopt(keyOf(range(0, 8)))).toBe(true);
    expect([b.length, b.blocks.length, b.blocks[1] === a.blocks[1], cache.freeTokens]).toEqual([8, 3, true, 16]);
    values.append(b, [8, 9]);
    expect(await values.read(b)).toEqual(range(0, 10));
  });

  test("are copied by the one that writes into them", async () => {
    const values = new Values(device, 32);
    using cache = values.cache;
    const a = cache.sequence();
    values.append(a, range(0, 4));
    keepAll(a, range(0, 4));
    a.truncate(2);
    values.append(a, [77]);
    const b = cache.sequence();
    expect(b.adopt(keyOf(range(0, 4)))).toBe(true);
    expect([await values.read(a), await values.read(b)]).toEqual([[0, 1, 77], range(0, 4)]);
  });

  test("never change what a sequence reads, whatever is done with them", async () => {
    const draws = randomArray(40_000, 15).values();
    const pick = (count: number) => Math.floor(((draws.next().value! + 1) / 2) * count);
    const values = new Values(device, 80);
    using cache = values.cache;
    const alive = new Map<KvSequence, number[]>([[cache.sequence(), []]]);
    let adopted = 0;
    for (let step = 0; step < 1500; step++) {
      const sequence = [...alive.keys()][pick(alive.size)]!;
      const own = alive.get(sequence)!;
      const act = pick(12);
      if (act < 2 && alive.size < 6) alive.set(cache.sequence(), []);
      else if (act < 3 && alive.size < 6) alive.set(sequence.fork(), [...own]);
      else if (act < 4 && alive.size > 1) {
        sequence.dispose();
        alive.delete(sequence);
      } else if (act < 5) {
        own.length = pick(own.length + 1);
        sequence.truncate(own.length);
      } else if (act < 7) keepAll(sequence, own);
      else if (act < 9) {
        const end = (Math.floor(own.length / blockSize) + 1) * blockSize;
        const wanted = [...own, ...Array.from({ length: end - own.length }, () => pick(2))];
        if (sequence.adopt(keyOf(wanted))) {
          alive.set(sequence, wanted);
          adopted++;
        }
      } else {
        const more = Array.from({ length: pick(7) }, () => pick(2)); // so that sequences coincide
        if (!cache.fits([{ sequence, rows: more.length }])) continue;
        values.append(sequence, more);
        own.push(...more);
      }
      const held = new Set([...alive.keys()].flatMap(({ blocks }) => blocks));
      expect(cache.freeTokens).toBe(80 - held.size * blockSize);
      if (step % 20 === 0) for (const [one, expected] of alive) expect(await values.read(one)).toEqual(expected);
    }
    expect(adopted).toBeGreaterThan(20);
    for (const one of alive.keys()) one.dispose();
    expect(cache.freeTokens).toBe(80);
    const all = cache.sequence();
    all.reserve(80);
    expect([new Set(all.blocks).size, cache.cachedTokens]).toEqual([20, 0]);
  });
});
