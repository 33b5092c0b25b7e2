// Random values in ggml's formats. Block layouts: ggml-common.h of llama.cpp.
import { normals, toBf16 } from "../../lib/synth/random.js";
import { type GgmlType, type GgufTensor, ggmlTypes, ggufBytes } from "./gguf.js";

/** A tensor of normally distributed values, or of ones if `std` is absent, which norms have. */
export interface RandomGgufTensor extends GgufTensor {
  readonly std?: number;
}

/** Values of one distribution that are drawn. Tensors repeat them, each from another place on: that is quicker to write. */
const drawn = 1 << 20;

/** The contents of tensors: a function that gives the bytes of a tensor in chunks. */
export function randomContents(seed = 1): (tensor: RandomGgufTensor) => Generator<Uint8Array> {
  const pools = new Map<string, Buffer>();
  let tensors = 0;
  return function* (tensor) {
    const key = `${tensor.type} ${tensor.std}`;
    const pool = pools.get(key) ?? blocks(tensor, seed);
    pools.set(key, pool);
    let at = (7919 * tensors++ * ggmlTypes[tensor.type].bytes) % pool.length;
    for (let left = ggufBytes(tensor); left > 0; at = 0) {
      const chunk = pool.subarray(at, at + left);
      yield chunk;
      left -= chunk.length;
    }
  };
}

function blocks({ type, std }: RandomGgufTensor, seed: number): Buffer {
  if (std === undefined) return bytesOf(new Float32Array(drawn).fill(1));
  const values = normals(drawn, seed);
  if (type === "f32") return bytesOf(values.map((v) => v * std));
  if (type === "bf16") return bytesOf(toBf16(values.map((v) => v * std)));
  return encoders[type](values, std);
}

/**
 * Encoders of blocks, from standard normal values and their standard deviation. A real quantiser would fit the scales to each
 * block; equal ones cost as much to read.
 */
const encoders: Readonly<Record<Exclude<GgmlType, "f32" | "bf16">, (values: Float32Array, std: number) => Buffer>> = {
  /** An f16 scale, then 32 of i8. */
  q8_0(values, std) {
    const step = 1 / 40;
    return inBlocks("q8_0", values, (block, part) => {
      block.writeUInt16LE(f16(std * step), 0);
      part.forEach((v, i) => void block.writeInt8(clamp(Math.round(v / step), -127, 127), 2 + i));
    });
  },
  /** An f16 scale, then 32 nibbles, 8 more than the value; value i shares a byte with value i + 16. */
  q4_0(values, std) {
    return inBlocks("q4_0", values, (block, part) => {
      block.writeUInt16LE(f16(std * nibbleStep), 0);
      const nibble = (i: number) => clamp(Math.round(part[i]! / nibbleStep) + 8, 0, 15);
      for (let i = 0; i < 16; i++) block[2 + i] = nibble(i) | (nibble(i + 16) << 4);
    });
  },
  /**
   * An f16 scale of scales, an f16 scale of minimums, 8 scales and 8 minimums of 6 bits in 12 bytes, then 256 nibbles, of
   * which each 64 bytes hold 32 low ones and 32 high ones. A value is scale · nibble - minimum.
   */
  q4_k(values, std) {
    // Every scale and minimum is 32. The bits of the last four are split: their low ones, all 0, are in the last four bytes,
    // their two high ones in the high bits of the others.
    const packed = Buffer.from([...Array(8).fill(32 | (0b10 << 6)), 0, 0, 0, 0]);
    return inBlocks("q4_k", values, (block, part) => {
      block.writeUInt16LE(f16((std * nibbleStep) / 32), 0);
      block.writeUInt16LE(f16((8 * std * nibbleStep) / 32), 2);
      packed.copy(block, 4);
      const nibble = (i: number) => clamp(Math.round(part[i]! / nibbleStep) + 8, 0, 15);
      for (let i = 0; i < 128; i++) {
        const low = 64 * Math.floor(i / 32) + (i % 32);
        block[16 + i] = nibble(low) | (nibble(low + 32) << 4);
      }
    });
  },
};

/** The distance of two 4-bit values of a standard normal distribution, whose range then is ±2.8. */
const nibbleStep = 0.35;

function inBlocks(type: GgmlType, values: Float32Array, encode: (block: Buffer, part: Float32Array) => void): Buffer {
  const { values: size, bytes } = ggmlTypes[type];
  const count = values.length / size;
  const out = Buffer.alloc(count * bytes);
  for (let b = 0; b < count; b++)
    encode(out.subarray(b * bytes, (b + 1) * bytes), values.subarray(b * size, (b + 1) * size));
  return out;
}

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high);

const bytesOf = (values: Float32Array | Uint16Array): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

/** The bits of the f16 that is nearest to a number from 0 to 65504. */
export function f16(value: number): number {
  const exponent = Math.max(Math.floor(Math.log2(value)), -14);
  return (exponent + 14) * 1024 + Math.round(value / 2 ** (exponent - 10));
}
