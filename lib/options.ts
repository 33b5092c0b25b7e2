import { closest } from "fastest-levenshtein";
import { CaracalError } from "./errors.js";

/**
 * Refuses an option that nothing reads: a misspelt one would otherwise be ignored without a word.
 *
 * @param where the function that takes the options, as its caller knows it: `"Device.open"`
 * @param known has every option as a key; typed so that an option which is missing here does not compile
 * @param kind how the message calls a name: parts of messages have fields
 * @throws `INVALID_ARGUMENT` that names the unknown option and the nearest known one
 */
export function checkOptionNames<T extends object>(
  where: string,
  options: T | undefined,
  known: Readonly<Record<keyof Required<T>, unknown>>,
  kind: NameKind = "option",
): void {
  for (const name of Object.keys(options ?? {})) if (!Object.hasOwn(known, name)) refuseName(where, name, known, kind);
}

type NameKind = "option" | "field";

/** Throws `INVALID_ARGUMENT`: `name` is none of the keys of `known`. */
export function refuseName(
  where: string,
  name: string,
  known: Readonly<Record<string, unknown>>,
  kind: NameKind = "option",
): never {
  const names = Object.keys(known);
  const nearest = closest(name, names);
  throw new CaracalError(
    "INVALID_ARGUMENT",
    `${where} has no ${kind} "${name}": did you mean "${nearest}"? It takes ${names.join(", ")}`,
    { [kind]: name, nearest, known: names },
  );
}
