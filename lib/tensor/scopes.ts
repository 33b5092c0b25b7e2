import { CaracalError } from "../errors.js";
import { aFunction, checkOption } from "../options.js";
import { instancesIn } from "./search.js";

/** The objects that were created within nested calls of `run`, which disposes them. */
export class Scopes<T extends { dispose(): void }> {
  readonly #type: abstract new (
    ...args: never[]
  ) => T;
  readonly #open: T[][] = [];

  constructor(type: abstract new (...args: never[]) => T) {
    this.#type = type;
  }

  /** Gives an object to the innermost scope, if there is one. */
  track(object: T): void {
    this.#open.at(-1)?.push(object);
  }

  /** Runs `fn` without disposing what it creates. */
  suspend<R>(fn: () => R): R {
    this.#open.push([]);
    try {
      return fn();
    } finally {
      this.#open.pop();
    }
  }

  /**
   * Runs `fn` and disposes all that it creates, except what is in its result, which belongs to the outer scope then.
   * @throws {CaracalError} `INVALID_ARGUMENT` when `fn` is not a function, or returns a promise
   */
  run<R>(fn: () => R): R {
    checkOption("Device.scope", "fn", fn, aFunction);
    const created: T[] = [];
    this.#open.push(created);
    let result: R | undefined;
    try {
      const value = fn();
      if (value instanceof Promise) {
        value.catch(() => {}); // it probably fails, since its tensors are disposed
        throw new CaracalError(
          "INVALID_ARGUMENT",
          "scope: the function must not be async, since its tensors are disposed when it returns: await outside",
        );
      }
      result = value;
      return result;
    } finally {
      this.#open.pop();
      let returned = new Set<T>(); // all are disposed when a getter of the result throws
      try {
        returned = instancesIn(result, this.#type);
      } finally {
        for (const object of created) {
          if (!returned.has(object)) object.dispose();
          else this.track(object);
        }
      }
    }
  }
}

/** Runs `fn`, then `end`, also when `fn` throws. Its error counts: `end` may fail because of it. */
export function endedBy<T>(fn: () => T, end: () => void): T {
  let result: T;
  try {
    result = fn();
  } catch (error) {
    try {
      end();
    } catch {} // such as DISPOSED, when `fn` disposed the device
    throw error;
  }
  end();
  return result;
}
