import { invalid, quote } from "../../checkpoint/problems.js";
import { addon, guarded, type MergeTableHandle, type WordEncoderHandle } from "../../native/addon.js";
import type { Steps } from "../../turns.js";
import { type WordPatterns, Words } from "./words.js";

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
/** The longest entry in bytes, eight times the published one: a few ids could otherwise stand for gigabytes of text. */
const maxEntry = 1024;
/** Entries or symbols that are processed between two yields. */
export const stepsPerYield = 4096;
/** Merges that are looked up between two yields, which takes longer: V8 joins and hashes two strings for each. */
export const mergesPerYield = 1024;
/** What text is encoded to: ids below `maxIds` by entry, spelt in letters for bytes, and the reverse. */
export interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  readonly entries: readonly (string | undefined)[];
}

/** Byte-pair encoding: ids of the bytes of text, and the reverse. */
export class BytePairs {
  readonly #text: Uint8Array; // of all ids
  readonly #starts: Uint32Array; // by id, and the end of the last one
  readonly #merges: MergeTableHandle;
  readonly #shares: Float64Array; // by byte: 1 / length of the longest entry that contains it

  private constructor(text: Text, merges: MergeTableHandle) {
    this.#text = text.bytes;
    this.#starts = text.starts;
    this.#shares = text.longest.map((length) => 1 / length);
    this.#merges = merges;
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
    count: number,
    file: string,
  ): Steps<BytePairs> {
    const id = (entry: string): number => {
      const found = ids.get(entry);
      if (found === undefined) throw invalid(file, `model.vocab has no entry ${quote(entry)}`);
      return found;
    };
    const byteIds = Int32Array.from(letters, id);
    const table = guarded(() => addon().mergeTable(byteIds, count));
    let list: number[] = []; // left, right and joined ids
    const add = () => guarded(() => addon().addMerges(table, Int32Array.from(list)));
    for (const [left, right] of merges) {
      if (list.push(id(left), id(right), id(left + right)) < 3 * mergesPerYield) continue;
      add();
      list = [];
      yield;
    }
    add();
    return new BytePairs(yield* textOf(entries, file), table);
  }

  /** The bytes of the longest entry. */
  get longest(): number {
    return Math.round(1 / this.#shares.reduce((least, share) => Math.min(least, share), 1));
  }

  /** Writes the bytes of an id, if it has any, to a place in `target`. Returns where they end. */
  copy(id: number, target: Uint8Array, at: number): number {
    const [start, end] = [this.#starts[id] ?? 0, this.#starts[id + 1] ?? 0];
    for (let i = start; i < end; i++) target[at + i - start] = this.#text[i]!;
    return at + Math.max(0, end - start);
  }

  /** The bytes of an id, or undefined if it has none. */
  bytes(id: number): Uint8Array | undefined {
    const [start, end] = [this.#starts[id], this.#starts[id + 1]];
    return start === end || end === undefined ? undefined : this.#text.subarray(start, end);
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

  /** Encodes `text`, whose words are cut by `patterns`, onto the end of `ids`, and yields now and then. */
  *encode(text: string, patterns: WordPatterns, ids: number[]): Steps<void> {
    const words = new Words(text, patterns);
    const encoder = guarded(() => addon().wordEncoder(this.#merges));
    const ends: number[] = []; // of words since `start`
    for (let start = 0; start < text.length; ) {
      if (words.done || words.end - start >= unitsPerStep) {
        const end = Math.min(words.end, wholeCharacters(text, start + unitsPerStep));
        const whole = ends.filter((at) => at <= end);
        yield* this.#encodePiece(
          encoder,
          text.slice(start, end),
          Int32Array.from(whole, (at) => at - start),
          ids,
        );
        ends.splice(0, whole.length);
        start = end;
      } else if (words.next()) ends.push(words.end);
      else yield;
    }
  }

  *#encodePiece(encoder: WordEncoderHandle, text: string, ends: Int32Array, ids: number[]): Steps<void> {
    let found = guarded(() => addon().encodeWords(encoder, stepsPerYield, text, ends));
    for (; found === null; found = guarded(() => addon().encodeWords(encoder, stepsPerYield))) yield;
    for (let i = 0; i < found.length; i++) {
      ids.push(found[i]!);
      if (i % stepsPerYield === stepsPerYield - 1) yield;
    }
    yield;
  }
}

/** The place at or before `at` that is not between the halves of a surrogate pair. */
export function wholeCharacters(text: string, at: number): number {
  const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;
  return at < text.length && isHigh(text.charCodeAt(at - 1)) ? at - 1 : at;
}

/** The UTF-16 units of text that are encoded in one call of the addon, which takes about half a millisecond. */
const unitsPerStep = 4096;

interface Text {
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  /** For each byte, the length of the longest entry that contains it. */
  readonly longest: Float64Array;
}

/** The bytes of all entries, one after another. */
function* textOf(entries: Vocabulary["entries"], file: string): Steps<Text> {
  const starts = new Uint32Array(entries.length + 1);
  for (let id = 0; id < entries.length; id++) {
    starts[id + 1] = starts[id]! + (entries[id]?.length ?? 0);
    if (id % stepsPerYield === stepsPerYield - 1) yield;
  }
  const bytes = new Uint8Array(starts.at(-1)!);
  const longest = new Float64Array(256);
  for (const [id, entry] of entries.entries()) {
    if (id % stepsPerYield === stepsPerYield - 1) yield;
    if (entry === undefined) continue;
    if (entry === "") throw invalid(file, "model.vocab has an empty entry");
    if (entry.length > maxEntry)
      throw invalid(file, `model.vocab has an entry of ${entry.length} bytes, and at most ${maxEntry} are taken`);
    for (let i = 0; i < entry.length; i++) {
      const byte = byteOf[entry.charCodeAt(i)] ?? -1;
      if (byte < 0)
        throw invalid(file, `model.vocab has the entry ${quote(entry)}, which is not spelt in byte-level letters`);
      bytes[starts[id]! + i] = byte;
      if (longest[byte]! < entry.length) longest[byte] = entry.length;
    }
  }
  return { bytes, starts, longest };
}
