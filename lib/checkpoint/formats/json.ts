import { Turns } from "../../turns.js";
import { invalid, quote } from "../problems.js";

/** The deepest nesting of a configuration. */
export const maxDepth = 64;
/** Of one string, which is read at a stretch. */
const maxCharacters = 1 << 20;

/**
 * `JSON.parse` for files that may be large or hostile. It lets the event loop turn meanwhile. It also refuses duplicate
 * keys, of which `JSON.parse` silently keeps the last (two readers of one file could then disagree about where a tensor
 * is), deep nesting, which would overflow the stack when the value is printed, and strings of megabytes.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when `text` is not such JSON; the message names `file`
 */
export async function parseJson(text: string, file: string): Promise<unknown> {
  const parser = new JsonParser(text, file);
  const turns = new Turns(`reading ${file}`);
  while (!parser.read(2000)) if (turns.due) await turns.next();
  return parser.value;
}

const keysOfLarge = new WeakMap<object, readonly string[]>();
/** Objects with more keys than this are large. */
const largeKeys = 1024;

/**
 * The keys of an object. `Object.keys` takes tens of milliseconds for a hundred thousand of them, so `parseJson` keeps
 * those of large objects, in the order of the text.
 */
export function keysOf(object: Readonly<Record<string, unknown>>): readonly string[] {
  return keysOfLarge.get(object) ?? Object.keys(object);
}

type Container = unknown[] | Record<string, unknown>;

const space = /[ \t\r\n]*/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const constants = { t: ["true", true], f: ["false", false], n: ["null", null] } as const;

/** Reads a text token by token, so that its caller can pause. */
class JsonParser {
  value: unknown;
  readonly #text: string;
  readonly #file: string;
  readonly #open: Container[] = [];
  readonly #keys: string[][] = []; // of the open containers
  #at = 0;
  #key = "";
  /** What may come next; the first element or key of a container may also be its end. */
  #next: "value" | "key" | "comma" | "nothing" = "value";
  #first = false;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  /** Reads at most so many values, keys and commas. Returns whether the text is complete. */
  read(tokens: number): boolean {
    for (let i = 0; i < tokens && this.#next !== "nothing"; i++) this.#token();
    if (this.#next !== "nothing") return false;
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#unexpected("the end");
    return true;
  }

  #token(): void {
    this.#skipSpace();
    const char = this.#text[this.#at];
    const container = this.#open.at(-1);
    const isList = Array.isArray(container);
    const mayEnd = container !== undefined && (this.#first || this.#next === "comma");
    const ends = mayEnd && char === (isList ? "]" : "}");
    this.#first = false;
    if (ends) this.#close();
    else if (this.#next === "key") this.#readKey(container as Record<string, unknown>);
    else if (this.#next === "value") this.#readValue(char);
    else if (char !== ",") throw this.#unexpected(isList ? '"," or "]"' : '"," or "}"');
    else {
      this.#at++;
      this.#next = isList ? "value" : "key";
    }
  }

  #readKey(container: Record<string, unknown>): void {
    if (this.#text[this.#at] !== '"') throw this.#unexpected("a key");
    this.#key = this.#string();
    if (Object.hasOwn(container, this.#key)) throw invalid(this.#file, `duplicate key ${quote(this.#key)}`);
    this.#keys.at(-1)!.push(this.#key);
    this.#skipSpace();
    if (this.#text[this.#at] !== ":") throw this.#unexpected('":"');
    this.#at++;
    this.#next = "value";
  }

  #readValue(char: string | undefined): void {
    if (char === "{" || char === "[") {
      this.#at++;
      const container: Container = char === "[" ? [] : {};
      this.#add(container);
      this.#keys.push([]);
      if (this.#open.push(container) > maxDepth) {
        throw invalid(this.#file, `nested deeper than ${maxDepth} levels`);
      }
      this.#next = char === "[" ? "value" : "key";
      this.#first = true;
      return;
    }
    this.#add(char === '"' ? this.#string() : this.#scalar(char));
    this.#complete();
  }

  #close(): void {
    this.#at++;
    const container = this.#open.pop()!;
    const keys = this.#keys.pop()!;
    if (keys.length > largeKeys) keysOfLarge.set(container, keys);
    this.#complete();
  }

  #complete(): void {
    this.#next = this.#open.length > 0 ? "comma" : "nothing";
  }

  #add(value: unknown): void {
    const container = this.#open.at(-1);
    if (container === undefined) this.value = value;
    else if (Array.isArray(container)) container.push(value);
    else if (this.#key !== "__proto__") container[this.#key] = value;
    else Object.defineProperty(container, "__proto__", { value, enumerable: true, configurable: true, writable: true });
  }

  #string(): string {
    const begin = this.#at;
    let end = this.#text.indexOf('"', begin + 1);
    while (end > 0 && this.#isEscaped(end, begin)) end = this.#text.indexOf('"', end + 1);
    if (end < 0) throw this.#unexpected("a complete string");
    if (end - begin > maxCharacters) throw invalid(this.#file, `a string of more than ${maxCharacters} characters`);
    this.#at = end + 1;
    try {
      return JSON.parse(this.#text.slice(begin, end + 1)) as string; // a copy: a slice would keep the whole text
    } catch {
      this.#at = begin;
      throw this.#unexpected("a string");
    }
  }

  /** Whether an odd number of backslashes precedes the quote at `end`. */
  #isEscaped(end: number, begin: number): boolean {
    let i = end;
    while (i - 1 > begin && this.#text[i - 1] === "\\") i--;
    return (end - i) % 2 === 1;
  }

  #scalar(char: string | undefined): unknown {
    if (char === "t" || char === "f" || char === "n") {
      const [word, value] = constants[char];
      if (!this.#text.startsWith(word, this.#at)) throw this.#unexpected("a value");
      this.#at += word.length;
      return value;
    }
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (!match) throw this.#unexpected("a value");
    this.#at = number.lastIndex;
    return Number(match[0]);
  }

  #skipSpace(): void {
    if (this.#text.charCodeAt(this.#at) > 0x20) return;
    space.lastIndex = this.#at;
    space.test(this.#text);
    this.#at = space.lastIndex;
  }

  #unexpected(expected: string): Error {
    const found = this.#at < this.#text.length ? quote(this.#text.slice(this.#at, this.#at + 20)) : "the end";
    return invalid(this.#file, `not JSON: expected ${expected} at character ${this.#at}, found ${found}`);
  }
}
