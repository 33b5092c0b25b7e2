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

/** The depth of a product: often one that codes can have. */
export const depth = (r, max) => (r.chance(0.4) ? 32 * r.int(1, Math.floor(max / 32)) : r.dim(max));

/** How the codes of weights with k columns are stored: { bits, group, scales }. */
const codeForm = (r, k) => ({
  bits: r.pick(2, 3, 4, 5, 6, 8),
  group: r.pick(...[32, 64, 128].filter((group) => k % group === 0)),
  scales: r.pick("f32", "bf16", "f16"),
});

/** A dtype of weights that are numbers. f8e4m3 needs columns. */
export const numberDtype = (r, k) => r.pick("f32", "bf16", ...(k > 0 ? ["f8e4m3"] : []));

/** A dtype of weights, or a form of codes, which need whole groups. */
export const weightDtype = (r, k) => (k > 0 && k % 32 === 0 && r.chance(0.5) ? codeForm(r, k) : numberDtype(r, k));

/** The dtype that weights of a dtype or form are packed to. */
export const packedDtype = (form) => (form.bits === undefined ? form : form.bits <= 4 ? "q4" : "q8");

const blocks = (n) => Math.ceil(n / 128);

/** A weight matrix, plain or packed; f8e4m3 and codes are always packed. */
export function weight(r, n, k, { dtype = weightDtype(r, k), packed = r.chance(0.6) } = {}) {
  const w = stored(r, dtype, n, k);
  const scaled = scale(r, dtype, n, k);
  if (!packed && !scaled) return w;
  return { packed: "packWeight", args: { w, scale: scaled, bias: bias(r, dtype, n, k), bits: dtype.bits } };
}

/** A weight matrix as `packWeight` takes it. */
export const stored = (r, dtype, n, k) =>
  dtype.bits === undefined ? tensor(r, dtype, [n, k]) : tensor(r, "u8", [n, (k * dtype.bits) / 8]);

/** The scales of a weight, which only f8e4m3 and codes have. */
export const scale = (r, dtype, n, k) => {
  if (dtype.bits !== undefined) return tensor(r, dtype.scales, [n, k / dtype.group]);
  return dtype === "f8e4m3" ? tensor(r, "f32", [blocks(n), blocks(k)]) : undefined;
};

/** The biases of a weight, which only codes have, if they have any. */
export const bias = (r, dtype, n, k) =>
  dtype.bits !== undefined && r.chance(0.7) ? tensor(r, dtype.scales, [n, k / dtype.group]) : undefined;

/** The packed weights [e, n, k] of experts. */
export const experts = (r, e, n, k, dtype = weightDtype(r, k)) => ({
  packed: "packWeights",
  args: {
    weights: r.list(e, () => stored(r, dtype, n, k)),
    scales: scale(r, dtype, n, k) && r.list(e, () => scale(r, dtype, n, k)),
    biases: bias(r, dtype, n, k) && r.list(e, () => tensor(r, dtype.scales, [n, k / dtype.group])),
    bits: dtype.bits,
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
