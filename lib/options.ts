import { types } from "node:util";
import { closest, distance } from "fastest-levenshtein";
import { CaracalError, shown } from "./errors.js";

/** The values that an option takes. */
export interface OptionRule {
  readonly accepts: (value: unknown) => boolean;
  /** Completes the sentence "it must be …". */
  readonly expected: string;
}

export const positiveInteger: OptionRule = {
  accepts: (value) => Number.isSafeInteger(value) && (value as number) > 0,
  expected: "a positive integer",
};
export const integer: OptionRule = { accepts: Number.isSafeInteger, expected: "an integer" };
export const wholeNumber: OptionRule = {
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  expected: "a whole number from 0",
};

export const positiveNumber: OptionRule = {
  accepts: (value) => Number.isFinite(value) && (value as number) > 0,
  expected: "a positive number",
};

/** Takes callbacks. */
export const aFunction: OptionRule = { accepts: (value) => typeof value === "function", expected: "a function" };

export const aString: OptionRule = { accepts: (value) => typeof value === "string", expected: "a string" };

/** Takes some strings, numbers or booleans only. */
export function oneOf(...values: readonly unknown[]): OptionRule {
  return { accepts: (value) => values.includes(value), expected: values.map((v) => JSON.stringify(v)).join(" or ") };
}

/** Takes `undefined` as well. */
export function optional({ accepts, expected }: OptionRule): OptionRule {
  return { accepts: (value) => value === undefined || accepts(value), expected };
}

/** The word for names in messages: functions have options, parts of messages have fields. */
type NameKind = "option" | "field";

/** Refuses a value of another kind than expected. @throws {CaracalError} `INVALID_ARGUMENT` */
export function refuseValue(where: string, argument: string, expected: string, value: unknown): never {
  const actual = shown(value);
  const details = { argument, expected, actual };
  throw new CaracalError("INVALID_ARGUMENT", `${where}: ${argument} must be ${expected}, got ${actual}`, details);
}

export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** An object of named values. The names of a view or a String object, one for each element, could take all memory. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  isObject(value) &&
  !Array.isArray(value) &&
  !ArrayBuffer.isView(value) &&
  !types.isStringObject(value) &&
  !(types.isProxy(value) && hasLength(value));

/** Whether a proxy is one of a view or a String object, or cannot be read at all. */
function hasLength(proxy: object): boolean {
  try {
    return typeof Reflect.get(proxy, "length") === "number";
  } catch {
    return true;
  }
}

/** Refuses what is no object of named values. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkObject(where: string, argument: string, value: unknown): asserts value is object {
  if (!isRecord(value)) refuseValue(where, argument, "an object", value);
}

/**
 * Longer lists are refused: a proxy can claim any length, and reading its elements would block the event loop. Of objects,
 * each of which may be checked and copied, there may be fewer: a list can hold the same one many times.
 */
const maxListLength = 2 ** 16;
/** The longest list of numbers. */
export const maxNumbers = 2 ** 24;

/**
 * Refuses what is not a list, or too long, before any of its elements is read. Returns a plain copy, made by index: the
 * iterator and the methods of the list itself may be its owner's, and have no end.
 * @param expected names the list in the error: `"a list of ids"`
 * @param check sees every element before the next one is read. It may refuse it.
 * @param last how many elements are read, from the end. Default: all.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkedList<T>(
  where: string,
  argument: string,
  value: unknown,
  expected = "a list",
  maxLength = maxListLength,
  check?: (item: T, name: string) => void,
  last = maxLength,
): T[] {
  if (!Array.isArray(value)) refuseValue(where, argument, expected, value);
  const { length } = value;
  if (!(length >= 0 && length <= maxLength))
    refuseValue(where, argument, `${expected}, at most ${maxLength} long`, value);
  const copy: T[] = [];
  for (let i = Math.max(0, length - last); i < length; i++) {
    const item = value[i];
    check?.(item, `${argument}[${i}]`);
    copy.push(item);
  }
  return copy;
}

/** A plain copy of a list of known length, made by index: see `checkedList`. */
export function plainList<T>(list: readonly T[]): T[] {
  return Array.from({ length: list.length }, (_, i) => list[i]!);
}

/** As `checkedList`, of objects. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkedObjects<T extends object>(
  where: string,
  argument: string,
  value: readonly T[],
  expected: string,
  maxLength = maxListLength,
): T[] {
  return checkedList<T>(where, argument, value, `a list of ${expected}`, maxLength, (item, name) => {
    if (!isObject(item)) refuseValue(where, name, expected, item);
  });
}

/**
 * As `checkedList`, of integers; an Int32Array becomes a plain view. Their range is for the function to check.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkedIntegers(
  where: string,
  argument: string,
  value: unknown,
  maxLength = maxNumbers,
  last = maxLength,
): number[] | Int32Array {
  const view = plainView(value, Int32Array);
  if (view && view.length <= maxLength) return view.subarray(-last);
  const check = (item: number, name: string) => {
    if (!integer.accepts(item)) refuseValue(where, name, integer.expected, item);
  };
  return checkedList<number>(where, argument, value, "a list of integers", maxLength, check, last);
}

type TypedArrayClass = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ArrayBufferView;

const arrayPrototype = Object.getPrototypeOf(Uint8Array.prototype) as object;
/** The memory of a TypedArray, whatever properties its owner has given it. */
const memoryOf = (array: object) => ({
  buffer: Reflect.get(arrayPrototype, "buffer", array) as ArrayBufferLike,
  byteOffset: Reflect.get(arrayPrototype, "byteOffset", array) as number,
  length: Reflect.get(arrayPrototype, "length", array) as number,
});

/**
 * A view of the same memory as a TypedArray of some class, without the methods, properties and species of its own that
 * an heir of the class may have. Undefined for anything else, such as a proxy, or an array whose memory was given away.
 */
export function plainView<C extends TypedArrayClass>(value: unknown, type: C): InstanceType<C> | undefined {
  if (!(ArrayBuffer.isView(value) && value instanceof type)) return undefined;
  try {
    const { buffer, byteOffset, length } = memoryOf(value);
    return new type(buffer, byteOffset, length) as InstanceType<C>;
  } catch {
    return undefined;
  }
}

/**
 * Refuses what is not a Float32Array. Returns a plain view of the same memory.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkedFloats(
  where: string,
  argument: string,
  value: unknown,
  expected = "a Float32Array of values in [-1, 1]",
): Float32Array {
  const view = plainView(value, Float32Array);
  if (view) return view;
  const advice = value instanceof Int16Array ? " (16-bit samples divided by 32768)" : "";
  refuseValue(where, argument, `${expected}${advice}`, value);
}

/** Sixteen times the longest path of Linux, which would name it in its error. */
export const maxPathLength = 2 ** 16;

/** Refuses a path that is not a string with content. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkPath(where: string, argument: string, value: unknown): asserts value is string {
  if (typeof value === "string" && value !== "" && value.length <= maxPathLength && !value.includes("\0")) return;
  const advice = value instanceof URL ? " (of a URL, fileURLToPath(url) of node:url)" : "";
  refuseValue(
    where,
    argument,
    `a path, as a string that is not empty, at most ${maxPathLength} long, and has no NUL${advice}`,
    value,
  );
}

/**
 * Refuses unknown options, since a misspelt one would otherwise be ignored silently, and a `signal` that is none.
 *
 * @param where the function that takes the options, by its public name: `"Device.open"`
 * @param known has all options as keys; its type requires them all
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown, with the nearest known one, or the options are
 *   not an object; or as `checkSignal`
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
  if (Object.hasOwn(known, "signal")) checkSignal(where, (options as { signal?: unknown } | undefined)?.signal);
}

/**
 * Refuses what cannot abort anything. Any object with a boolean `aborted` and a function `addEventListener` can, such as
 * a polyfill's signal or one of another realm.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkSignal(where: string, signal: unknown): asserts signal is AbortSignal | undefined {
  const controller = isSignal(Object(signal).signal);
  const expected = controller ? "an AbortSignal, such as the `signal` of the controller" : "an AbortSignal";
  checkOption(where, "signal", signal, optional({ accepts: isSignal, expected }));
}

function isSignal(value: unknown): boolean {
  try {
    const { aborted, addEventListener } = Object(value);
    return typeof aborted === "boolean" && typeof addEventListener === "function";
  } catch {
    return false; // such as an object that only has the prototype of a signal
  }
}

/**
 * Calls `listener` when `signal` is aborted, unless the returned function was called before.
 * @param signal what `checkSignal` accepts: it may have no `removeEventListener`, or one that throws
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  let isListening = true;
  const call = () => {
    if (isListening) listener();
  };
  signal?.addEventListener("abort", call, { once: true });
  return () => {
    isListening = false;
    try {
      signal?.removeEventListener("abort", call);
    } catch {} // the listener is idle already
  };
}

/**
 * An `AbortSignal` of this realm that follows `signal`: `AbortSignal.any` and child processes take no other.
 * @param signal what `checkSignal` accepts
 */
export function nativeSignal(signal: AbortSignal): AbortSignal {
  const native: boolean = signal instanceof AbortSignal;
  if (native) return signal;
  const controller = new AbortController();
  const abort = () => controller.abort(signal.reason);
  if (signal.aborted) abort();
  else onAbort(signal, abort);
  return controller.signal;
}

/**
 * Refuses unknown options, and values that an option does not take.
 * @param rules has all options as keys; `true` takes every value
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkOptions<T extends object>(
  where: string,
  options: T | undefined,
  rules: Readonly<Record<keyof Required<T>, OptionRule | true>>,
): void {
  checkOptionNames(where, options, rules);
  for (const [name, rule] of Object.entries<OptionRule | true>(rules))
    if (rule !== true) checkOption(where, name, options?.[name as keyof T], rule);
}

/** Refuses a value that an option does not take. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkOption(where: string, name: string, value: unknown, { accepts, expected }: OptionRule): void {
  if (!accepts(value)) refuseValue(where, name, expected, value);
}

/** Longer names are not compared with the known ones: that takes the square of their length. */
const maxNameLength = 100;

/** Refuses a name that is not one of the known ones. @throws {CaracalError} `INVALID_ARGUMENT` */
export function refuseName(where: string, name: string, known: readonly string[], kind: NameKind = "option"): never {
  const similar = name.length > maxNameLength ? [] : known.filter((other) => isSimilar(name, other));
  const lower = similar.map((other) => other.toLowerCase());
  const nearest = lower.length > 0 ? similar[lower.indexOf(closest(name.toLowerCase(), lower))] : undefined;
  const list = known.join(", ");
  const advice = nearest ? `did you mean "${nearest}"? It takes ${list}` : `it takes ${list || `no ${kind}s`}`;
  const details = { [kind]: name, nearest, known };
  throw new CaracalError("INVALID_ARGUMENT", `${where} has no ${kind} ${shown(name)}: ${advice}`, details);
}

/** Whether one name may be meant by another: it differs in less than half, is its beginning, or has the same letters. */
function isSimilar(name: string, other: string): boolean {
  const [a, b] = [name.toLowerCase(), other.toLowerCase()];
  const [shorter, longer] = a.length < b.length ? [a, b] : [b, a];
  const letters = (text: string) => [...text].sort().join("");
  if (2 * distance(a, b) < longer.length) return true;
  if (shorter.length >= 3 && longer.startsWith(shorter)) return true; // fewer letters begin too many names
  return a.length === b.length && letters(a) === letters(b);
}
