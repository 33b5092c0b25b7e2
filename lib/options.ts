import { closest } from "fastest-levenshtein";
import { CaracalError, shown } from "./errors.js";

/** The word for names in messages: functions have options, parts of messages have fields. */
type NameKind = "option" | "field";

/**
 * Refuses unknown options, since a misspelt one would otherwise be ignored silently.
 *
 * @param where the function that takes the options, by its public name: `"Device.open"`
 * @param known has all options as keys; its type requires them all
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown, with the nearest known one
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

/** Refuses a name that is not one of the known ones. @throws {CaracalError} `INVALID_ARGUMENT` */
export function refuseName(where: string, name: string, known: readonly string[], kind: NameKind = "option"): never {
  const nearest = known.length > 0 ? closest(name, known) : undefined;
  const advice = nearest ? `: did you mean "${nearest}"? It takes ${known.join(", ")}` : `: it takes no ${kind}s`;
  const details = { [kind]: name, nearest, known };
  throw new CaracalError("INVALID_ARGUMENT", `${where} has no ${kind} ${shown(name)}${advice}`, details);
}
