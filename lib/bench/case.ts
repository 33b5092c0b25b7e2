import type { Device } from "../tensor/device.js";
import type { DType } from "../tensor/dtype.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import type { PeerModel } from "./peers.js";

/** One operation at one size. */
export interface OpCase<Operands = unknown> {
  /** The operation, as the API calls it. */
  readonly op: string;
  /** The size, in words: `M=512 K=6144 N=2048 bf16`. */
  readonly size: string;
  /** Arithmetic that the result needs, in FLOP. */
  readonly flops: number;
  /** Whether it is arithmetic of bf16 matrices, which tensor cores do. */
  readonly matrix?: boolean;
  /** Bytes that must cross the memory bus: each weight and activation once. */
  readonly bytes: number;
  /** Makes the operands: an array or plain object of tensors. */
  prepare(device: Device): Operands;
  /** Queues the operation once, with the i-th copy of the weights; returns one of its outputs, of a scope. */
  run(operands: Operands, i: number): Tensor;
  /** The same work for the peer; `copies` sessions take turns, so that its weights are as cold as ours. */
  readonly peer?: { readonly copies: number; model(): PeerModel };
}

/** Keeps the operands' type between `prepare` and `run`. */
export const opCase = <Operands>(c: OpCase<Operands>): OpCase => c as OpCase;

/** Deterministic values in [-0.5, 0.5); random, since a processor may draw less power on constants and run faster. */
export function values(n: number, seed = 1): Float32Array {
  const out = new Float32Array(n);
  let state = (seed * 2654435761) >>> 0;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = (state >>> 8) / 16777216 - 0.5;
  }
  return out;
}

/** A tensor of such values, scaled. */
export function random<const S extends Shape, D extends DType>(
  device: Device,
  shape: S,
  dtype: D,
  scale = 1,
): Tensor<D, S> {
  const data = values(shape.reduce((n, d) => n * d, 1));
  return device.tensor(scale === 1 ? data : data.map((v) => v * scale), shape, dtype);
}

/** Copies of weights that together outgrow the last-level cache. */
export const coldCopies = (bytes: number): number => Math.max(1, Math.ceil(200e6 / bytes));
