import { CaracalError } from "../errors.js";
import { quote } from "./file.js";
import { isRecord } from "./json.js";

interface Range<T> {
  readonly default?: T;
  readonly min?: number;
  readonly max?: number;
}

/**
 * Reads the fields of a configuration and collects everything that is wrong with it, so that one error can name it
 * all. A field that cannot be read comes back as its default, or as NaN, which {@link check} ignores.
 */
export class Fields {
  private readonly source: Readonly<Record<string, unknown>>;

  constructor(
    source: unknown,
    private readonly prefix = "",
    private readonly problems: string[] = [],
  ) {
    this.source = isRecord(source) ? source : {};
    if (!isRecord(source)) this.problems.push(`${prefix.slice(0, -1) || "the configuration"} must be an object`);
  }

  /** A group of fields, itself an object; absent reads as empty. */
  section(name: string): Fields {
    return new Fields(this.source[name] ?? {}, `${this.prefix}${name}.`, this.problems);
  }

  has(name: string): boolean {
    return this.source[name] !== undefined && this.source[name] !== null;
  }

  number(name: string, { default: fallback, min = -Infinity, max = Infinity }: Range<number> = {}): number {
    return this.read(name, fallback, Number.NaN, `a number${within(min, max)}`, (value): value is number => {
      return typeof value === "number" && Number.isFinite(value) && value >= min && value <= max;
    });
  }

  /** A whole number, by default a size: 1 to 2²⁴. */
  integer(name: string, { default: fallback, min = 1, max = 1 << 24 }: Range<number> = {}): number {
    return this.read(name, fallback, Number.NaN, `a whole number${within(min, max)}`, (value): value is number => {
      return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
    });
  }

  boolean(name: string, fallback: boolean): boolean {
    return this.read(
      name,
      fallback,
      fallback,
      "true or false",
      (value): value is boolean => typeof value === "boolean",
    );
  }

  text(name: string, fallback?: string): string {
    return this.read(name, fallback, "", "text", (value): value is string => typeof value === "string");
  }

  choice<const T extends string | number>(name: string, choices: readonly T[], fallback?: T): T {
    const what = choices.map((choice) => JSON.stringify(choice)).join(" or ");
    return this.read(name, fallback, choices[0]!, what, (value): value is T => choices.includes(value as T));
  }

  numbers(name: string, { default: fallback, min = -Infinity, max = Infinity }: Range<readonly number[]> = {}) {
    const what = `a list of numbers${within(min, max)}`;
    return this.read(name, fallback, [], what, (value): value is readonly number[] => {
      return Array.isArray(value) && value.every((v) => Number.isFinite(v) && v >= min && v <= max);
    });
  }

  /** Demands that a field, if it is there, has the one value that the model code knows. */
  fixed(name: string, value: string | boolean | number): void {
    this.read(name, value, value, `${JSON.stringify(value)}, the only value supported`, (v): v is never => v === value);
  }

  /** Notes `problem` unless `holds`; nothing when one of `values` could not be read: that is a problem of its own. */
  check(values: readonly number[], holds: boolean, problem: string): void {
    if (!holds && !values.some(Number.isNaN)) this.problems.push(problem);
  }

  /** Throws `CHECKPOINT_INVALID` that names every problem found in `file`. */
  finish(file: string): void {
    throwProblems(this.problems, file);
  }

  private read<T>(
    name: string,
    fallback: T | undefined,
    broken: T,
    what: string,
    is: (value: unknown) => value is T,
  ): T {
    const value = this.has(name) ? this.source[name] : fallback;
    if (value === undefined) this.problems.push(`${this.prefix}${name} is missing; expected ${what}`);
    else if (is(value)) return value;
    else this.problems.push(`${this.prefix}${name} is ${show(value)}; expected ${what}`);
    return broken;
  }
}

/** One `CHECKPOINT_INVALID` for a list of problems; `details.problems` holds them all. */
export function throwProblems(problems: readonly string[], file: string): void {
  if (problems.length === 0) return;
  const lines = problems.length === 1 ? ` ${problems[0]}` : problems.map((problem) => `\n  - ${problem}`).join("");
  throw new CaracalError("CHECKPOINT_INVALID", `${file}:${lines}`, { file, problems });
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? quote(text) : text;
}

function within(min: number, max: number): string {
  if (min === -Infinity && max === Infinity) return "";
  if (max === Infinity) return ` >= ${min}`;
  return min === -Infinity ? ` <= ${max}` : ` from ${min} to ${max}`;
}
