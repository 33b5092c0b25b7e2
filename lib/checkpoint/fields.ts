import { printable, shown } from "../errors.js";
import { isObject, isRecord, plainList } from "../options.js";
import { quote, throwProblems } from "./problems.js";

interface Range<T> {
  readonly default?: T;
  readonly min?: number;
  readonly max?: number;
}

/**
 * Reads the fields of a configuration and collects everything that is wrong with it, so that one error can list it
 * all. A field that cannot be read is returned as its default, or as NaN, which {@link check} ignores.
 */
export class Fields {
  readonly #source: Readonly<Record<string, unknown>>;
  readonly #prefix: string;
  readonly #problems: string[];

  constructor(source: unknown, prefix = "", problems: string[] = []) {
    this.#source = isRecord(source) ? source : {};
    this.#prefix = prefix;
    this.#problems = problems;
    if (!isRecord(source)) problems.push(`${prefix.slice(0, -1) || "the configuration"} must be an object`);
  }

  /** A nested object of fields. If it is absent, it reads as empty. */
  section(name: string): Fields {
    return new Fields(this.#source[name] ?? {}, `${this.#prefix}${name}.`, this.#problems);
  }

  /** The names of all fields. */
  names(): string[] {
    return Object.keys(this.#source);
  }

  /** Whether a field is an object of fields. */
  isSection(name: string): boolean {
    return isRecord(this.#source[name]);
  }

  has(name: string): boolean {
    return this.#source[name] !== undefined && this.#source[name] !== null;
  }

  number(name: string, { default: fallback, min = -Infinity, max = Infinity }: Range<number> = {}): number {
    return this.#read(name, fallback, Number.NaN, `a number${within(min, max)}`, (value): value is number => {
      return typeof value === "number" && Number.isFinite(value) && value >= min && value <= max;
    });
  }

  /** A whole number; the default range, 1 to 2²⁴, is that of a size. */
  integer(name: string, { default: fallback, min = 1, max = 1 << 24 }: Range<number> = {}): number {
    return this.#read(name, fallback, Number.NaN, `a whole number${within(min, max)}`, (value): value is number => {
      return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
    });
  }

  boolean(name: string, fallback: boolean): boolean {
    const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
    return this.#read(name, fallback, fallback, "true or false", isBoolean);
  }

  text(name: string): string {
    return this.#read(name, undefined, "", "a string", (value): value is string => typeof value === "string");
  }

  /** The path of a file. Its ending keeps it from being a folder, such as "..". */
  path(name: string, ending: string): string {
    const isPath = (value: unknown): value is string => typeof value === "string" && value.endsWith(ending);
    return this.#read(name, undefined, "", `the path of a ${ending} file`, isPath);
  }

  choice<const T extends string | number>(name: string, choices: readonly T[], fallback?: T): T {
    const expected = choices.map((choice) => JSON.stringify(choice)).join(" or ");
    return this.#read(name, fallback, choices[0]!, expected, (value): value is T => choices.includes(value as T));
  }

  numbers(name: string, { default: fallback, min = -Infinity, max = Infinity }: Range<readonly number[]> = {}) {
    const expected = `a list of numbers${within(min, max)}`;
    const list = this.#read(name, fallback, [], expected, (value): value is readonly number[] => {
      return (
        Array.isArray(value) &&
        value.length <= maxNumbers &&
        plainList(value).every((v) => Number.isFinite(v) && v >= min && v <= max)
      );
    });
    return plainList(list);
  }

  /** Requires a field, if it is present, to have the only value that the model code supports. */
  fixed(name: string, value: string | boolean | number): void {
    const expected = `${JSON.stringify(value)}, the only supported value`;
    this.#read(name, value, value, expected, (v): v is never => v === value);
  }

  /** Notes every field that is set and is not one of `names`. */
  only(names: readonly string[], reason: string): void {
    for (const name of Object.keys(this.#source))
      if (!names.includes(name) && this.has(name))
        this.#problems.push(`${this.#prefix}${quote(name)} is set; expected only ${names.join(" and ")}: ${reason}`);
  }

  /** Notes `problem` unless `holds`. Does nothing if one of `values` is NaN: that is reported as its own problem. */
  check(values: readonly number[], holds: boolean, problem: string): void {
    if (!holds && !values.some(Number.isNaN)) this.#problems.push(problem);
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` that lists every problem found in `file` */
  finish(file: string): void {
    throwProblems(this.#problems, file);
  }

  #read<T>(name: string, fallback: T | undefined, broken: T, expected: string, is: (value: unknown) => value is T): T {
    const value = this.has(name) ? this.#source[name] : fallback;
    if (value === undefined) this.#problems.push(`${this.#prefix}${name} is missing; expected ${expected}`);
    else if (is(value)) return value;
    else this.#problems.push(`${this.#prefix}${name} is ${show(value)}; expected ${expected}`);
    return broken;
  }
}

/** Longer lists of numbers are refused, and not shown: a proxy that a program passes can claim any length. */
const maxNumbers = 4096;

/** Of objects, only short lists of other values are shown: the JSON of others could be of any length. */
function show(value: unknown): string {
  const list = Array.isArray(value) && value.length <= maxNumbers ? plainList<unknown>(value) : undefined;
  if (list ? list.some(isObject) : isObject(value)) return shown(value);
  let text: string;
  try {
    text = JSON.stringify(list ?? value) ?? shown(value);
  } catch {
    return shown(value); // no JSON: a bigint
  }
  return text.length > 80 ? quote(text) : printable(text);
}

function within(min: number, max: number): string {
  if (min === -Infinity && max === Infinity) return "";
  if (max === Infinity) return ` >= ${min}`;
  return min === -Infinity ? ` <= ${max}` : ` from ${min} to ${max}`;
}
