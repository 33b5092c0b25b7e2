// Kinds of characters, and runs of characters of one kind, of which words consist.

/** A character is a letter, a number, a space or a symbol, which is any other. */
export const isLetter = 1;
export const isNumber = 2;
export const isSpace = 4;
export const isSymbol = 8;
/** Line feed or carriage return, which are spaces too. */
export const isNewline = 16;
/** Punctuation of Chinese and Japanese. */
export const isPunctuation = 32;
/** Of the scripts from U+0800 to U+9FA5, or Hangul. */
export const isScript = 64;
const isPair = 128; // of surrogates

/** The kinds of all characters, by code point; 0 where nobody has asked yet. */
const kinds = new Uint8Array(0x110000);

function findKind(point: number): number {
  const character = String.fromCodePoint(point);
  const has = (pattern: RegExp, kind: number): number => (pattern.test(character) ? kind : 0);
  const found =
    has(/\p{L}/u, isLetter) |
    has(/\p{N}/u, isNumber) |
    has(/\p{White_Space}/u, isSpace) |
    has(/[^\p{White_Space}\p{L}\p{N}]/u, isSymbol) |
    has(/[\r\n]/, isNewline) |
    has(/[\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002\u300A\u300B\u300C\u300D\u3010\u3011]/u, isPunctuation) |
    has(/[\u0800-\u9FA5\uAC00-\uD7FF]/u, isScript) |
    (point > 0xffff ? isPair : 0);
  kinds[point] = found;
  return found;
}

/** The kinds of the character at a position of a text. Half of a surrogate pair is a symbol. */
export function kindAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  const point = unit >= 0xd800 && unit < 0xdc00 ? text.codePointAt(at)! : unit;
  return kinds[point] || findKind(point);
}

/** The code units of a character of these kinds. */
export const width = (kind: number): number => (kind & isPair ? 2 : 1);

/** The code units that are read at a stretch: in a fifth of a millisecond, or 10 ms if none was seen before. */
export const unitsAtOnce = 2 ** 15;

/** Finds the end of a run of characters of one kind, or of none. */
export class Run {
  /** The end of the last newline in the run, or 0. */
  newlineEnd = 0;
  readonly #text: string;
  readonly #kind: number;
  readonly #wanted: number;
  #from = -1;
  #at = 0;

  /** @param wanted `kind`, or 0 for characters of other kinds */
  constructor(text: string, kind: number, wanted = kind) {
    this.#text = text;
    this.#kind = kind;
    this.#wanted = wanted;
  }

  /** The end of the run that starts at `from`; −1 after each `unitsAtOnce`, when the same call continues. */
  end(from: number, to: number): number {
    if (from !== this.#from) {
      this.#from = from;
      this.#at = from;
      this.newlineEnd = 0;
    }
    const pause = this.#at + unitsAtOnce;
    let at = this.#at;
    while (at < to && at < pause) {
      const kind = kindAt(this.#text, at);
      if ((kind & this.#kind) !== this.#wanted) break;
      at += width(kind);
      if (kind & isNewline) this.newlineEnd = at;
    }
    this.#at = at;
    return at < to && at >= pause ? -1 : at;
  }
}
