// Hostile values, and the places of a valid call's arguments that they can take.
import { NativeArray } from "../../../dist/lib/tensor/tensor.js";

/** What the code of the caller throws. The library passes it on as it is. */
export const thrown = new Error("thrown by the caller");
const raise = () => {
  throw thrown;
};
const traps = Object.fromEntries(["get", "has", "ownKeys", "getPrototypeOf"].map((trap) => [trap, raise]));

/** A list that claims to have this many elements. */
const listOf = (length) => new Proxy([], { get: (list, key) => (key === "length" ? length : Reflect.get(list, key)) });

/** Values that are the same for every place. */
export const hostile = (w) => ({
  undefined: undefined,
  null: null,
  '""': "",
  '"x"': "x",
  '"\\0"': "\0",
  NaN: Number.NaN,
  "-1": -1,
  1.5: 1.5,
  "2^53": 2 ** 53,
  true: true,
  "{}": {},
  "[]": [],
  "[{}]": [{}],
  "[null]": [null],
  "[[]]": [[]],
  '["x"]': ["x"],
  "[-1]": [-1],
  "a function": () => {},
  "an async function": async () => {},
  "a function that throws": raise,
  "a symbol": Symbol("x"),
  "1n": 1n,
  "a proxy": new Proxy({}, {}),
  "a proxy of a list": new Proxy([1], {}),
  "a proxy that throws": new Proxy({}, traps),
  "a list of 2^32 elements": listOf(2 ** 32),
  "a list of 2^40 elements": listOf(2 ** 40),
  "a list of -1 elements": listOf(-1),
  "{ length: 2^40 }": { length: 2 ** 40 },
  "a null prototype": Object.create(null),
  "a Float32Array": new Float32Array(3),
  "a BigInt64Array": new BigInt64Array(2),
  "a Uint8Array without its memory": withoutMemory(Uint8Array),
  "a Float32Array without its memory": withoutMemory(Float32Array),
  "an Int32Array without its memory": withoutMemory(Int32Array),
  "a disposed tensor": w.disposed,
  "a tensor of another device": w.foreign,
  "a disposed device": w.closed,
  "another device": w.other,
});

function withoutMemory(type) {
  const values = new type(8);
  structuredClone(values.buffer, { transfer: [values.buffer] });
  return values;
}

/** Values that are made of the valid one. */
export const derived = {
  "a proxy of it": (value) => (isObject(value) ? new Proxy(value, {}) : value),
  "an heir of it": (value) => (isObject(value) ? Object.create(value) : value),
  "it with iterators without an end": (value) => {
    if (!Array.isArray(value)) return value;
    const endless = function* () {
      for (;;) yield value[0];
    };
    const entries = function* () {
      for (;;) yield [0, value[0]];
    };
    return Object.assign([...value], { [Symbol.iterator]: endless, values: endless, entries });
  },
  "it as another subclass": (value) => (ArrayBuffer.isView(value) && value.length > 0 ? subclassed(value) : value),
  "it with getters that throw": (value) => {
    if (!isPlain(value)) return value;
    const keys = Object.keys(value);
    return Object.defineProperties(
      Array.isArray(value) ? [] : {},
      Object.fromEntries(keys.map((key) => [key, { get: raise, enumerable: true }])),
    );
  },
};

/** The same values in an array whose methods make arrays of no elements, and whose own properties are lies. */
function subclassed(array) {
  const type = Object.getPrototypeOf(array).constructor;
  class Subclass extends type {
    static get [Symbol.species]() {
      return class extends type {
        constructor() {
          super(0);
        }
      };
    }
  }
  const copy = new Subclass(array.buffer.slice(0), array.byteOffset, array.length);
  return Object.defineProperties(copy, { length: { value: 2 ** 40 }, byteOffset: { value: -1 }, buffer: { value: 5 } });
}

const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";
const isPlain = (value) =>
  Array.isArray(value) ||
  (isObject(value) && Object.getPrototypeOf(value) === Object.prototype && !(value instanceof NativeArray));

/** The paths to all values in the arguments: of long lists and objects to the first ones. */
export function* paths(value, path = []) {
  if (path.length > 0) yield path;
  if (!isPlain(value)) return;
  const keys = Object.keys(value);
  for (const key of keys.slice(0, Array.isArray(value) ? 4 : 30)) yield* paths(value[key], [...path, key]);
}

export const at = (root, path) => path.reduce((value, key) => value[key], root);

/** A copy of the arguments with another value at `path`. */
export function replaced(root, [key, ...rest], value) {
  const copy = Array.isArray(root) ? [...root] : { ...root };
  copy[key] = rest.length === 0 ? value : replaced(copy[key], rest, value);
  return copy;
}
