import { invalid, quote } from "../../checkpoint/problems.js";
import type { Steps } from "../../turns.js";

/** The 256 characters that stand for bytes in a vocabulary: printable Latin-1, the others from U+0100 (GPT-2). */
const letters: readonly string[] = byteLetters();
const byteOf = new Int16Array(0x200).fill(-1); // by a letter's code; -1 where there is no letter
for (const [byte, letter] of letters.entries()) byteOf[letter.charCodeAt(0)] = byte;

function byteLetters(): string[] {
  const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** Vocabularies have fewer ids than this. */
export const maxIds = 2 ** 20;
/** Entries, merges or symbols that are processed between two yields. */
export const stepsPerYield = 4096;
/** Words have fewer bytes than this, so that a rank and a position fit into the 53 bits of a number. */
const maxWordBytes = 2 ** 32;

/** What text is encoded to: ids below `maxIds` by entry, spelt in letters for bytes, and the reverse. */
export interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  readonly entries: readonly (string | undefined)[];
}

/** A merge has a rank: its place in the list. */
interface Merges {
  readonly ranks: ReadonlyMap<number, number>; // by pair
  readonly merged: Int32Array; // by rank
}

/**
 * Byte-pair encoding: a word starts as its bytes; of all neighbours that form a pair in the list of merges, those that
 * stand first in the list are joined, the leftmost first, until none is left.
 */
export class BytePairs {
  readonly #entries: Vocabulary["entries"];
  readonly #byteIds: Int32Array; // by byte
  readonly #merges: Merges;
  readonly #recent = new Map<string, number[]>(); // ids of short words
  readonly #shares: Float64Array; // by byte: 1 / length of the longest entry that contains it

  private constructor(entries: Vocabulary["entries"], byteIds: Int32Array, merges: Merges, shares: Float64Array) {
    this.#entries = entries;
    this.#byteIds = byteIds;
    this.#merges = merges;
    this.#shares = shares;
  }

  /**
   * Builds the tables, and yields now and then.
   * @param merges pairs of entries, best first
   * @throws {CaracalError} `CHECKPOINT_INVALID` for an entry that is not spelt in these letters, a missing byte, or a
   *   merge of or into something that is no entry
   */
  static *from(
    { ids, entries }: Vocabulary,
    merges: Iterable<readonly [string, string]>,
    file: string,
  ): Steps<BytePairs> {
    const id = (entry: string): number => {
      const found = ids.get(entry);
      if (found === undefined) throw invalid(file, `model.vocab has no entry ${quote(entry)}`);
      return found;
    };
    const byteIds = Int32Array.from(letters, id);
    const ranks = new Map<number, number>();
    const merged: number[] = [];
    for (const [left, right] of merges) {
      ranks.set(pairOf(id(left), id(right)), merged.length);
      if (merged.push(id(left + right)) % stepsPerYield === 0) yield;
    }
    const longest = yield* longestEntries(ids.keys(), file);
    const shares = longest.map((length) => 1 / length);
    return new BytePairs(entries, byteIds, { ranks, merged: Int32Array.from(merged) }, shares);
  }

  /** The bytes of an id, or undefined if it has none. */
  bytes(id: number): Uint8Array | undefined {
    const entry = this.#entries[id];
    return entry === undefined ? undefined : Uint8Array.from(entry, (letter) => byteOf[letter.charCodeAt(0)]!);
  }

  /**
   * The parts of the ids that these bytes need at least: an id of n bytes covers at most 1/n of each, so the sum over a
   * text bounds its number of ids from below.
   */
  share(bytes: Uint8Array): number {
    let sum = 0;
    for (const byte of bytes) sum += this.#shares[byte]!;
    return sum;
  }

  /** Encodes a word, and yields now and then. Its ids are appended to `ids`. */
  *encode(word: string, ids: number[]): Steps<void> {
    let known = this.#recent.get(word);
    if (known === undefined) {
      known = yield* this.#merge(Buffer.from(word));
      if (word.length <= maxRecentLength) {
        if (this.#recent.size >= maxRecent) this.#recent.clear();
        this.#recent.set(word, known);
      }
    }
    for (let i = 0; i < known.length; i++) {
      ids.push(known[i]!);
      if (i % stepsPerYield === stepsPerYield - 1) yield;
    }
  }

  *#merge(bytes: Uint8Array): Steps<number[]> {
    const symbols = new Symbols(bytes.length);
    const queue = new Queue();
    const push = (at: number) => {
      const rank = this.#rank(symbols, at);
      if (rank !== undefined) queue.push(rank * maxWordBytes + at);
    };
    for (let at = 0; at < bytes.length; at++) {
      symbols.add(at, this.#byteIds[bytes[at]!]!);
      if (at > 0) push(at - 1);
      if (at % stepsPerYield === stepsPerYield - 1) yield;
    }
    for (let step = 1; queue.size > 0; step++) {
      const key = queue.pop();
      const rank = Math.floor(key / maxWordBytes);
      const at = key - rank * maxWordBytes;
      if (this.#rank(symbols, at) === rank) {
        symbols.merge(at, this.#merges.merged[rank]!);
        if (at > 0) push(symbols.previous[at]!);
        push(at);
      }
      if (step % stepsPerYield === 0) yield;
    }
    return yield* symbols.result();
  }

  /** The rank of the pair that starts at a position, if it is one. */
  #rank(symbols: Symbols, at: number): number | undefined {
    const next = symbols.next[at]!;
    const left = symbols.ids[at]!;
    return left < 0 || next >= symbols.ids.length
      ? undefined
      : this.#merges.ranks.get(pairOf(left, symbols.ids[next]!));
  }
}

const maxRecent = 10_000;
const maxRecentLength = 32;
const pairOf = (left: number, right: number): number => left * maxIds + right;

/** For each byte, the length of the longest entry that contains it. */
function* longestEntries(entries: Iterable<string>, file: string): Generator<void, Float64Array> {
  const longest = new Float64Array(256);
  let step = 0;
  for (const entry of entries) {
    if (++step % stepsPerYield === 0) yield;
    if (entry === "") throw invalid(file, "model.vocab has an empty entry");
    for (let i = 0; i < entry.length; i++) {
      const byte = byteOf[entry.charCodeAt(i)] ?? -1;
      if (byte < 0)
        throw invalid(file, `model.vocab has the entry ${quote(entry)}, which is not spelt in byte-level letters`);
      if (longest[byte]! < entry.length) longest[byte] = entry.length;
    }
  }
  return longest;
}

/** A word's symbols, linked in both directions. A symbol keeps the position of its first byte. */
class Symbols {
  readonly ids: Int32Array; // −1 where a symbol was joined to the one before
  readonly next: Int32Array;
  readonly previous: Int32Array;

  constructor(length: number) {
    this.ids = new Int32Array(length);
    this.next = new Int32Array(length);
    this.previous = new Int32Array(length);
  }

  /** Sets the symbol at a position before all are merged. */
  add(at: number, id: number): void {
    this.ids[at] = id;
    this.next[at] = at + 1;
    this.previous[at] = at - 1;
  }

  /** Joins the symbol at a position with the next one. */
  merge(at: number, id: number): void {
    const joined = this.next[at]!;
    const after = this.next[joined]!;
    this.ids[at] = id;
    this.ids[joined] = -1;
    this.next[at] = after;
    if (after < this.ids.length) this.previous[after] = at;
  }

  *result(): Steps<number[]> {
    const ids: number[] = [];
    for (let at = 0; at < this.ids.length; at = this.next[at]!) {
      if (ids.push(this.ids[at]!) % stepsPerYield === 0) yield;
    }
    return ids;
  }
}

/** A binary heap of numbers, the smallest first. */
class Queue {
  readonly #keys: number[] = [];

  get size(): number {
    return this.#keys.length;
  }

  push(key: number): void {
    const keys = this.#keys;
    let at = keys.push(key) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number {
    const keys = this.#keys;
    const smallest = keys[0]!;
    const key = keys.pop()!;
    const size = keys.length;
    if (size === 0) return smallest;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= key) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = key;
    return smallest;
  }
}
