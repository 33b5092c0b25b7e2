// How a tokenizer cuts text into words, each of which is encoded on its own. The expressions in tokenizer.json are
// looked up here and never compiled: one by a stranger could take exponential time, and V8's engine cannot pause within
// a long word, nor finish one of millions of characters. test/model/prompt/publishedWords.ts has them for comparison.
import { invalid, quote } from "../../checkpoint/problems.js";
import { isRecord, plainList } from "../../options.js";
import {
  isLetter,
  isNewline,
  isNumber,
  isPunctuation,
  isScript,
  isSpace,
  isSymbol,
  kindAt,
  Run,
  width,
} from "./runs.js";

/**
 * Finds the end of the first piece of `[from, to)`, which is a match of an expression or what is before the next one.
 * Returns −1 to pause within a long piece: the same call continues.
 */
type Cut = (from: number, to: number) => number;

/** Expressions that are applied one after another, each to the pieces that the previous ones left. */
export type WordPatterns = readonly ((text: string) => Cut)[];

/** The expressions of the published tokenizer, as tokenizer.json spells them. */
const knownExpressions: ReadonlyMap<string, (text: string) => Cut> = new Map([
  [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    publishedWords,
  ],
  [" ?[\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002\u300A\u300B\u300C\u300D\u3010\u3011]+", punctuation],
  ["[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", scripts],
]);

/**
 * The patterns of a `pre_tokenizer` in tokenizer.json: `Split` steps with known expressions, then `ByteLevel`.
 * @throws {CaracalError} `CHECKPOINT_INVALID` for any other
 */
export function wordPatterns(preTokenizer: unknown, file: string): WordPatterns {
  const whole = isRecord(preTokenizer) ? preTokenizer : {};
  const steps: unknown[] = whole.type !== "Sequence" ? [whole] : asList(whole.pretokenizers);
  const last = steps.pop();
  if (!isRecord(last) || last.type !== "ByteLevel" || last.add_prefix_space === true)
    throw invalid(file, "pre_tokenizer must end with a ByteLevel step without add_prefix_space");
  const patterns = steps.map((step) => {
    const { type, behavior, invert, pattern } = isRecord(step) ? step : {};
    const expression = isRecord(pattern) ? pattern.Regex : undefined;
    const known = typeof expression === "string" ? knownExpressions.get(expression) : undefined;
    if (known !== undefined && type === "Split" && behavior === "Isolated" && invert !== true) return known;
    const found = typeof expression === "string" ? `the expression ${quote(expression)}` : "another step";
    throw invalid(file, `pre_tokenizer has ${found}; expected the steps of LongCat-Flash's tokenizer`);
  });
  return last.use_regex === false ? patterns : [...patterns, gpt2Words];
}

/** The steps that the published tokenizer has, and more. */
const maxSteps = 64;
const asList = (value: unknown): unknown[] =>
  Array.isArray(value) && value.length <= maxSteps ? plainList(value) : [];

/** The words of a text, one after another. */
export class Words {
  /** The current word is `[start, end)` of the text. */
  start = 0;
  end = 0;
  readonly #cuts: readonly Cut[];
  readonly #ends: number[]; // of the pieces that each pattern left, after that of the text

  constructor(text: string, patterns: WordPatterns) {
    this.#cuts = patterns.map((pattern) => pattern(text));
    this.#ends = [text.length, ...patterns.map(() => 0)];
  }

  /** Whether the current word is the last one. */
  get done(): boolean {
    return this.end === this.#ends[0];
  }

  /** Goes to the next word. Returns false if it needs more time: call it again. */
  next(): boolean {
    const { end: from } = this;
    let level = this.#cuts.length;
    while (this.#ends[level]! <= from) level--;
    for (; level < this.#cuts.length; level++) {
      const end = this.#cuts[level]!(from, this.#ends[level]!);
      if (end < 0) return false;
      this.#ends[level + 1] = end;
    }
    this.start = from;
    this.end = this.#ends[level]!;
    return true;
  }
}

const code = (character: string): number => character.charCodeAt(0);
const apostrophe = code("'");
const blank = code(" ");

/** The length of an English contraction's end, such as 's, which starts here; 0 if none does. */
function contraction(text: string, from: number, to: number, pattern: RegExp): number {
  if (text.charCodeAt(from) !== apostrophe) return 0;
  return pattern.exec(text.slice(from + 1, Math.min(to, from + 3)))?.[0].length ?? 0;
}

/** `ſ` is another lower case of S. */
const anyCase = /^(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL]{2}|[dD])/;
const lowerCase = /^(?:s|t|re|ve|m|ll|d)/;

/** `'(?i:s|t|re|ve|m|ll|d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+` */
function publishedWords(text: string): Cut {
  const letters = new Run(text, isLetter);
  const symbols = new Run(text, isSymbol);
  const newlines = new Run(text, isNewline);
  const spaces = new Run(text, isSpace);
  return (from, to) => {
    const kind = kindAt(text, from);
    if (kind & isLetter) return letters.end(from, to);
    const next = from + width(kind);
    if (kind & isNumber) return next;
    const short = contraction(text, from, to, anyCase);
    if (short > 0) return next + short;
    const nextKind = next < to ? kindAt(text, next) : 0;
    if (nextKind & isLetter && !(kind & isNewline)) return letters.end(next, to);
    const afterBlank = text.charCodeAt(from) === blank && nextKind & isSymbol;
    if (kind & isSymbol || afterBlank) {
      const end = symbols.end(afterBlank ? next : from, to);
      return end < 0 ? end : newlines.end(end, to);
    }
    const end = spaces.end(from, to);
    return end > 0 && spaces.newlineEnd > 0 ? spaces.newlineEnd : withoutLast(from, end, to);
  };
}

/** `'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, for a `ByteLevel` step with `use_regex`. */
function gpt2Words(text: string): Cut {
  const runs = [isLetter, isNumber, isSymbol].map((kind) => ({ kind, run: new Run(text, kind) }));
  const spaces = new Run(text, isSpace);
  return (from, to) => {
    const short = contraction(text, from, to, lowerCase);
    if (short > 0) return from + 1 + short;
    const start = text.charCodeAt(from) === blank && from + 1 < to ? from + 1 : from;
    const kind = kindAt(text, start);
    const found = runs.find((run) => kind & run.kind);
    return found ? found.run.end(start, to) : withoutLast(from, spaces.end(from, to), to);
  };
}

/** `\s+(?!\S)|\s+`: the end of a run of spaces, of which the last one belongs to the word that follows, if any does. */
function withoutLast(from: number, end: number, to: number): number {
  return end === to || end - from <= 1 ? end : end - 1;
}

/** ` ?[…]+` of the punctuation of Chinese and Japanese, or what is before it. */
function punctuation(text: string): Cut {
  const marks = new Run(text, isPunctuation);
  const others = new Run(text, isPunctuation, 0);
  return (from, to) => {
    const start = text.charCodeAt(from) === blank && from + 1 < to ? from + 1 : from;
    if (kindAt(text, start) & isPunctuation) return marks.end(start, to);
    const end = others.end(from, to);
    return end > from && end < to && text.charCodeAt(end - 1) === blank ? end - 1 : end;
  };
}

/** `[…]+` of the scripts from U+0800 to U+9FA5 and Hangul, or what is before it. */
function scripts(text: string): Cut {
  const inside = new Run(text, isScript);
  const outside = new Run(text, isScript, 0);
  return (from, to) => (kindAt(text, from) & isScript ? inside : outside).end(from, to);
}
