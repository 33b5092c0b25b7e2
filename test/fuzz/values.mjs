// Descriptions of arguments as plain data, which can be drawn without running anything, printed, and made on a device.
//   { tensor: dtype, shape, fill, seed, storage }   a tensor
//   { packed: operation, args }                     what an operation that packs weights returns
//   { odd: name }                                   a value of the table `odd`
//   numbers, strings, booleans, and arrays of descriptions stand for themselves

/** A tensor. `fill` lists the values of an i32 tensor, or limits them: { low, high }. */
export const tensor = (r, dtype, shape, fill) => ({
  tensor: dtype,
  shape,
  ...(fill ? { fill } : {}),
  seed: r.int(0, 2 ** 31),
  storage: r.pick("own", "own", "own", "view", "view", "mapped"),
});

/** An i32 tensor with these values. */
export const i32 = (r, values, shape = [values.length]) => ({
  ...tensor(r, "i32", shape, values),
  storage: r.pick("own", "view"),
});

/** A dtype of activations. */
export const rows = (r) => r.pick("f32", "bf16");

/** A dtype of weights. f8e4m3 needs columns. */
export const weightDtype = (r, k) => r.pick("f32", "bf16", ...(k > 0 ? ["f8e4m3"] : []));

const blocks = (n) => Math.ceil(n / 128);

/** A weight matrix, plain or packed; f8e4m3 is always packed. */
export function weight(r, n, k, { dtype = weightDtype(r, k), packed = r.chance(0.6) } = {}) {
  const w = tensor(r, dtype, [n, k]);
  return packed || dtype === "f8e4m3" ? { packed: "packWeight", args: { w, scale: scale(r, dtype, n, k) } } : w;
}

/** The scales of a weight's blocks, which only f8e4m3 has. */
export const scale = (r, dtype, n, k) => (dtype === "f8e4m3" ? tensor(r, "f32", [blocks(n), blocks(k)]) : undefined);

/** The packed weights [e, n, k] of experts. */
export const experts = (r, e, n, k, dtype = weightDtype(r, k)) => ({
  packed: "packWeights",
  args: {
    weights: r.list(e, () => tensor(r, dtype, [n, k])),
    scales: dtype === "f8e4m3" ? r.list(e, () => scale(r, dtype, n, k)) : undefined,
  },
});

/** The starts of packed sequences of these lengths. */
export function starts(r, lengths) {
  const values = [0];
  for (const length of lengths) values.push(values.at(-1) + length);
  return i32(r, values);
}

export const sum = (values) => values.reduce((a, b) => a + b, 0);
export const product = (values) => values.reduce((a, b) => a * b, 1);

/** Values that are none of what an argument takes, and numbers at which conversions break. */
export const odd = {
  undefined: () => undefined,
  null: () => null,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  "-Infinity": () => Number.NEGATIVE_INFINITY,
  "-1": () => -1,
  "-0": () => -0,
  1.5: () => 1.5,
  "2^31": () => 2 ** 31,
  "2^32": () => 2 ** 32,
  "2^53": () => 2 ** 53,
  "-2^31": () => -(2 ** 31),
  "-2^63": () => -(2 ** 63),
  "1e300": () => 1e300,
  "1e-320": () => 1e-320,
  "1n": () => 1n,
  '"1"': () => "1",
  '"x"': () => "x",
  true: () => true,
  symbol: () => Symbol("x"),
  function: () => () => 1,
  "[]": () => [],
  "[1]": () => [1],
  "[[1]]": () => [[1]],
  "sparse array": () => new Array(3),
  "Int32Array [1, 1]": () => new Int32Array([1, 1]),
  "{}": () => ({}),
  "{ length: 2^32 }": () => ({ length: 2 ** 32 }),
  "{ valueOf }": () => ({ valueOf: () => 1 }),
  "null prototype": () => Object.create(null),
  proxy: () => new Proxy([1, 2], {}),
  "Float32Array of shared memory": () => new Float32Array(new SharedArrayBuffer(8)),
  "Float32Array without its buffer": () => {
    const values = new Float32Array(2);
    structuredClone(values.buffer, { transfer: [values.buffer] });
    return values;
  },
  device: (world) => world.device.handle,
  file: (world) => world.file.handle,
  graph: (world) => world.graph,
};
export const oddNumbers = Object.keys(odd).filter((name) => typeof odd[name]({ device: {}, file: {} }) === "number");
export const oddNames = Object.keys(odd);
