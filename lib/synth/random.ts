import { elementCount } from "../checkpoint/entry.js";

/** A normal distribution. `rows` gives ranges of the first dimension another standard deviation. */
export interface Distribution {
  readonly mean: number;
  readonly std: number;
  readonly rows?: readonly { readonly from: number; readonly to: number; readonly std: number }[];
}

/** A tensor to generate. The same `key`, seed and shape always give the same bytes. */
export interface RandomTensor<D extends keyof typeof arrays = keyof typeof arrays> {
  readonly name: string;
  readonly key: string;
  readonly shape: readonly number[];
  readonly dtype: D;
  readonly values: Distribution;
}

const chunkElements = 1 << 20;
const quantiles = normalQuantiles(4096);

/** The largest magnitude among the values of a distribution with mean 0 and standard deviation 1: about 3.7. */
export const largestQuantile = quantiles.at(-1)!;

/** Generates the little-endian bytes of a tensor in chunks. Each chunk is overwritten by the next. */
export function* tensorBytes(tensor: RandomTensor, seed: number): Generator<Uint8Array> {
  const total = elementCount(tensor.shape);
  const rowLength = total / (tensor.shape[0] ?? 1);
  const { mean, std, rows = [] } = tensor.values;
  const start = hash(`${seed}/${tensor.key}`);
  const chunk = new arrays[tensor.dtype](Math.min(total, chunkElements));
  const parts = [{ from: 0, to: total, table: tableOf(tensor.dtype, mean, std) }];
  for (const { from, to, std } of rows) {
    parts.push({ from: from * rowLength, to: to * rowLength, table: tableOf(tensor.dtype, mean, std) });
  }
  for (let begin = 0; begin < total; begin += chunk.length) {
    const end = Math.min(begin + chunk.length, total);
    for (const { from, to, table } of parts) {
      fill(chunk, begin, Math.max(begin, from), Math.min(end, to), start, table);
    }
    yield new Uint8Array(chunk.buffer, 0, (end - begin) * chunk.BYTES_PER_ELEMENT);
  }
}

const arrays = { f32: Float32Array, bf16: Uint16Array, f8e4m3: Uint8Array };
type Chunk = Float32Array | Uint16Array | Uint8Array;

/** Writes elements `from` to `to` of the tensor into a chunk that begins at element `begin`. */
function fill(chunk: Chunk, begin: number, from: number, to: number, start: number, table: Chunk): void {
  for (let i = from; i < to; i++) chunk[i - begin] = table[(scramble((start + i) | 0) ^ start) & 4095]!;
}

/** The 4096 possible values as stored: looking one up is about ten times faster than drawing and rounding each. */
function tableOf(dtype: RandomTensor["dtype"], mean: number, std: number): Chunk {
  const values = Float32Array.from(quantiles, (quantile) => mean + std * quantile);
  if (dtype === "f32") return values;
  return dtype === "bf16" ? toBf16(values) : Uint8Array.from(values, toF8e4m3);
}

/** `n` values of the standard normal distribution, of which there are 4096. The same seed gives the same values. */
export function normals(n: number, seed: number): Float32Array {
  const [out, table] = [new Float32Array(n), tableOf("f32", 0, 1)];
  fill(out, 0, 0, n, scramble(seed), table);
  return out;
}

/** The largest f8e4m3. */
export const maxF8e4m3 = 448;

/** Rounds to the code of an f8e4m3, ties to even, and saturates. */
export function toF8e4m3(value: number): number {
  const magnitude = Math.min(Math.abs(value), maxF8e4m3);
  // Below 2^-6, the numbers are as far apart as in the binade above it, so that a code is a multiple of 2^-9.
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -6);
  const steps = magnitude / 2 ** (exponent - 3);
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1);
  return (value < 0 ? 0x80 : 0) + 8 * (exponent + 6) + below + (up ? 1 : 0);
}

/** Rounds to bfloat16, ties to even. */
export function toBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
}

/** Midpoint quantiles of the standard normal distribution, rescaled to variance 1. */
function normalQuantiles(count: number): Float64Array {
  const values = Float64Array.from({ length: count }, (_, i) => {
    // S. Winitzki's approximation of the inverse error function (2008)
    const x = (2 * i + 1) / count - 1;
    const log = Math.log(1 - x * x);
    const t = 2 / (Math.PI * 0.147) + log / 2;
    return Math.sign(x) * Math.sqrt(Math.sqrt(t * t - log / 0.147) - t);
  });
  const scale = Math.sqrt(count / values.reduce((sum, value) => sum + value * value, 0));
  return values.map((value) => value * scale);
}

/** Turns a counter into noise by a bijective mix of its 32 bits (C. Wellons' `lowbias32`). */
function scramble(x: number): number {
  let z = x ^ (x >>> 16);
  z = Math.imul(z, 0x7feb352d);
  z ^= z >>> 15;
  z = Math.imul(z, 0x846ca68b);
  return (z ^ (z >>> 16)) >>> 0;
}

/** The start of a tensor in the counter's sequence: a mixed FNV-1a hash. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  return scramble(state);
}
