import type { Steps } from "../turns.js";

const backslash = 0x5c;
const slash = 0x2f;
/** The characters of a data URI before its data. */
const longestHead = 256;

/**
 * A string of a request that is too long to be read at a stretch, as the bytes between its quotes. It becomes media or
 * text piece by piece, or not at all.
 */
export class LongString {
  readonly #pieces: readonly Buffer[];
  readonly length: number;

  /** @param pieces in JSON's spelling, of any sizes */
  constructor(pieces: readonly Buffer[]) {
    this.#pieces = pieces.filter(({ length }) => length > 0); // so that padding is in the last one
    this.length = pieces.reduce((sum, { length }) => sum + length, 0);
  }

  /** What the string begins with. */
  get head(): string {
    return Buffer.concat(this.#pieces.slice(0, longestHead)).toString("latin1", 0, longestHead).replaceAll("\\/", "/");
  }

  /** The string itself, or undefined if its spelling is wrong. */
  get text(): string | undefined {
    try {
      return JSON.parse(`"${Buffer.concat(this.#pieces).toString()}"`);
    } catch {
      return undefined;
    }
  }

  /**
   * The bytes that the string has in base64; undefined if that is not what it has.
   * @param skipped the characters before the data
   */
  *decode(skipped = 0): Steps<Buffer<ArrayBuffer> | undefined> {
    const bytes = Buffer.allocUnsafe(Math.ceil((this.length * 3) / 4));
    let used = 0;
    let toSkip = skipped;
    let held = ""; // less than the four characters of three bytes
    let isEscaped = false;
    for (const piece of this.#pieces) {
      const plain = unescaped(piece, isEscaped);
      if (!plain) return undefined;
      isEscaped = plain.endsEscaped;
      const text = held + plain.bytes.toString("latin1", Math.min(toSkip, plain.bytes.length));
      toSkip -= Math.min(toSkip, plain.bytes.length);
      const whole = text.length - (text.length % 4);
      // Node.js skips what is not base64. Padding is at the end, where fewer bytes than three follow from it.
      const written = bytes.write(text.slice(0, whole), used, "base64");
      const padding = isLastOf(this.#pieces, piece) ? paddingOf(text.slice(whole - 4, whole)) : 0;
      if (written !== (whole / 4) * 3 - padding) return undefined;
      used += written;
      held = text.slice(whole);
      yield;
    }
    const written = bytes.write(held, used, "base64"); // without padding, as some write it
    if (isEscaped || written !== Math.floor((held.length * 3) / 4) || held.length === 1) return undefined;
    return bytes.subarray(0, used + written);
  }
}

const isLastOf = <T>(list: readonly T[], item: T) => list.at(-1) === item;
const paddingOf = (four: string) => (four.endsWith("==") ? 2 : four.endsWith("=") ? 1 : 0);

/** Without the backslashes that some programs write before slashes; undefined if others follow. */
function unescaped(piece: Buffer, isEscaped: boolean): { bytes: Buffer; endsEscaped: boolean } | undefined {
  if (!isEscaped && !piece.includes(backslash)) return { bytes: piece, endsEscaped: false };
  const bytes = Buffer.alloc(piece.length);
  let used = 0;
  let after = isEscaped;
  for (const byte of piece) {
    if (after && byte !== slash) return undefined;
    after = byte === backslash;
    if (!after) bytes[used++] = byte;
  }
  return { bytes: bytes.subarray(0, used), endsEscaped: after };
}
