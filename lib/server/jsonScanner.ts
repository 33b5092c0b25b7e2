import { invalid } from "./errors.js";
import { LongString } from "./longString.js";

/** More brackets, commas, colons and strings than any conversation has; each may stand for an object of a hundred bytes. */
const maxMarks = 2 ** 18;
/** Strings of more bytes become a `LongString`. */
const longBytes = 2 ** 14;
/** The bytes that are scanned at a stretch. */
const blockBytes = 2 ** 16;

const quote = 0x22;
const backslash = 0x5c;
const isMark = new Uint8Array(256);
for (const char of "{[,:") isMark[char.charCodeAt(0)] = 1;

/**
 * Reads JSON that arrives in pieces: it takes it apart into short text, which is JSON with marks in the place of long
 * strings, and these, which become a `LongString` each.
 */
export class JsonScanner {
  readonly #name: string;
  /** What has arrived and was not scanned. It may come in tiny pieces, which would take much memory each. */
  #block = Buffer.allocUnsafe(blockBytes);
  #filled = 0;
  readonly #text: Buffer[] = [];
  readonly #long: LongString[] = [];
  #marks = 0;
  /** The pieces of the string in which the last block ended, without its quotes. */
  #string: Buffer[] | undefined;
  #stringBytes = 0;
  /** Whether a backslash that escapes the next byte is the last one of a string so far. */
  #isEscaped = false;

  /** @param name what is read, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** @throws {Refusal} when it would become too many objects */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const taken = Math.min(chunk.length - at, blockBytes - this.#filled);
      this.#block.set(chunk.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled === blockBytes) this.#scan();
    }
  }

  /** @returns the value. @throws {Refusal} when it is no JSON */
  end(): unknown {
    this.#scan();
    if (this.#string) throw invalid(`${this.#name} is no JSON: it ends in a string`, null, "invalid_json");
    try {
      return JSON.parse(Buffer.concat(this.#text).toString(), (_, value) => this.#unmarked(value));
    } catch (error) {
      throw invalid(`${this.#name} is no JSON: ${(error as Error).message}`, null, "invalid_json");
    }
  }

  /** Scans the block that was filled, and begins another one. */
  #scan(): void {
    const block = this.#block.subarray(0, this.#filled);
    this.#block = Buffer.allocUnsafe(blockBytes);
    this.#filled = 0;
    for (let at = 0; at < block.length; ) at = this.#string ? this.#inString(block, at) : this.#between(block, at);
    if (this.#marks > maxMarks)
      throw invalid(`${this.#name} has more than ${maxMarks} brackets, commas, colons and strings`);
  }

  #between(block: Buffer, at: number): number {
    let end = at;
    while (end < block.length && block[end] !== quote) this.#marks += isMark[block[end++]!]!;
    this.#text.push(block.subarray(at, end));
    if (end === block.length) return end;
    this.#string = [];
    this.#marks++;
    return end + 1;
  }

  #inString(block: Buffer, at: number): number {
    let end = at;
    for (; end < block.length; end++) {
      if (this.#isEscaped) this.#isEscaped = false;
      else if (block[end] === backslash) this.#isEscaped = true;
      else if (block[end] === quote) break;
    }
    this.#string!.push(block.subarray(at, end));
    this.#stringBytes += end - at;
    if (end === block.length) return end;
    this.#complete(this.#string!);
    return end + 1;
  }

  #complete(string: Buffer[]): void {
    const isLong = this.#stringBytes > longBytes;
    const pieces = isLong ? [Buffer.from(`\\u0000${this.#long.push(new LongString(string)) - 1}`)] : string;
    this.#text.push(quotes, ...pieces, quotes);
    this.#string = undefined;
    this.#stringBytes = 0;
  }

  /** A long string in the place of its mark. A client that writes such marks gets its own strings. */
  #unmarked(value: unknown): unknown {
    return typeof value === "string" && value.startsWith("\0") ? (this.#long[Number(value.slice(1))] ?? value) : value;
  }
}

const quotes = Buffer.from('"');
