import { closest } from "fastest-levenshtein";
import { CaracalError } from "./errors.js";

/** How a message calls a name: functions have options, parts of messages have fields. */
type NameKind = "option" | "field";

/**
 * Refuses an option that nothing reads: a misspelt one would otherwise be ignored without a word.
 *
 * @param where the function that takes the options, as its caller knows it: `"Device.open"`
 * @param known has every option as a key; typed so that an option which is missing here does not compile
 * @throws {CaracalError} `INVALID_ARGUMENT` that names the unknown option and the nearest known one
 */
export function checkOptionNames<T extends object>(
  where: string,
  options: T | undefined,
  known: Readonly<Record<keyof Required<T>, unknown>>,
  kind: NameKind = "option",
): void {
  for (const name of Object.keys(options ?? {}))
    if (!Object.hasOwn(known, name)) refuseName(where, name, Object.keys(known), kind);
}

/** @throws {CaracalError} `INVALID_ARGUMENT`: `name` is none of the `known` names. */
export function refuseName(where: string, name: string, known: readonly string[], kind: NameKind = "option"): never {
  const nearest = known.length > 0 ? closest(name, known) : undefined;
  const advice = nearest ? `: did you mean "${nearest}"? It takes ${known.join(", ")}` : `: it takes no ${kind}s`;
  const details = { [kind]: name, nearest, known };
  throw new CaracalError("INVALID_ARGUMENT", `${where} has no ${kind} "${name}"${advice}`, details);
}
