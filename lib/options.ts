import { closest } from "fastest-levenshtein";
import { CaracalError } from "./errors.js";

/** The word for names in messages: functions have options, parts of messages have fields. */
type NameKind = "option" | "field";

/** A value as messages show it. */
export function valueText(value: unknown): string {
  if (typeof value === "string") return value.length <= 40 ? JSON.stringify(value) : "a string";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return "an array";
  const name: unknown = value.constructor?.name;
  return typeof name !== "string" || name === "Object" || name === "" ? "an object" : `a value of class ${name}`;
}

/** Refuses a value of another kind than expected. @throws {CaracalError} `INVALID_ARGUMENT` */
export function refuseValue(where: string, argument: string, expected: string, value: unknown): never {
  const actual = valueText(value);
  const details = { argument, expected, actual };
  throw new CaracalError("INVALID_ARGUMENT", `${where}: ${argument} must be ${expected}, got ${actual}`, details);
}

/** Refuses what is not an object. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkObject(where: string, argument: string, value: unknown): void {
  if (typeof value !== "object" || value === null) refuseValue(where, argument, "an object", value);
}

/**
 * Refuses unknown options, since a misspelt one would otherwise be ignored silently.
 *
 * @param where the function that takes the options, by its public name: `"Device.open"`
 * @param known has all options as keys; its type requires them all
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown, with the nearest known one, or the options are
 *   not an object
 */
export function checkOptionNames<T extends object>(
  where: string,
  options: T | undefined,
  known: Readonly<Record<keyof Required<T>, unknown>>,
  kind: NameKind = "option",
): void {
  if (options !== undefined) checkObject(where, `${kind}s`, options);
  for (const name of Object.keys(options ?? {}))
    if (!Object.hasOwn(known, name)) refuseName(where, name, Object.keys(known), kind);
}

/** Refuses a name that is not one of the known ones. @throws {CaracalError} `INVALID_ARGUMENT` */
export function refuseName(where: string, name: string, known: readonly string[], kind: NameKind = "option"): never {
  const nearest = known.length > 0 ? closest(name, known) : undefined;
  const advice = nearest ? `: did you mean "${nearest}"? It takes ${known.join(", ")}` : `: it takes no ${kind}s`;
  const details = { [kind]: name, nearest, known };
  throw new CaracalError("INVALID_ARGUMENT", `${where} has no ${kind} "${name}"${advice}`, details);
}
