import { CaracalError } from "../errors.js";
import { isObject, isRecord } from "../options.js";

/** The most objects that are searched; a proxy could present endlessly many. */
const maxSearched = 2 ** 20;
/** The longest list. Its elements are copied. */
const maxLength = 2 ** 24;

/**
 * Finds the instances of a class in a value: one of them, or arrays and plain objects of them.
 * @throws {CaracalError} `INVALID_ARGUMENT` for a value of more than 2^20 objects, or a list of more than 2^24 elements
 */
export function instancesIn<T extends object>(root: unknown, type: abstract new (...args: never[]) => T): Set<T> {
  const found = new Set<T>();
  const seen = new Set<object>(); // objects may refer to each other
  const waiting = [root]; // a list instead of a recursion, whose depth would be limited
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (!(Array.isArray(value) || isRecord(value)) || seen.has(value)) continue;
    seen.add(value);
    if (seen.size > maxSearched)
      throw new CaracalError("INVALID_ARGUMENT", `a result of at most ${maxSearched} objects may hold tensors`);
    if (Array.isArray(value) && value.length > maxLength)
      throw new CaracalError("INVALID_ARGUMENT", `a list of at most ${maxLength} elements may hold tensors`);
    if (value instanceof type) found.add(value);
    else for (const v of Object.values(value)) if (isObject(v)) waiting.push(v);
  }
  return found;
}
