import type { Activations, WeightDType } from "../lib/ops/call.js";
import { packWeight } from "../lib/ops/linear.js";
import type { DType } from "../lib/tensor/dtype.js";
import type { PackedWeight } from "../lib/tensor/packedWeight.js";
import type { Device, NativeArray, Shape, Tensor } from "../lib/tensor/tensor.js";
import type { PeerModel } from "./peers.js";

/** The least that an operation must do. */
export interface Work {
  /** Bytes of global memory: every input read once, every output written once. */
  readonly bytes: number;
  /** Arithmetic in FLOP, two per multiply-add. Omitted for operations that only move data. */
  readonly flops?: number;
}

/** An operation at one size. */
export interface Sized<Operands = unknown> {
  /** The size in words: `M=16 K=6144 N=12288`. */
  readonly size: string;
  readonly work: Work;
  /**
   * Makes the operands: an array or plain object of tensors.
   * @param copies how many copies to make of the operands that `Case.coldBytes` counts
   */
  prepare(device: Device, copies: number): Operands;
}

/**
 * The arithmetic of an operation: `matrix`, products of bf16 matrices, which tensor cores can compute; `fma`, f32
 * products; `scalar`, anything else. The FLOPs of products follow from the result, those of `scalar` from the formula
 * that the library chose: only the former bound the time from below.
 */
export type Unit = "matrix" | "fma" | "scalar";

/**
 * An operation at one size, which `bench ops` times and `bench counters` counts. A catalogue is made for f32 activations
 * (timed on a CPU) or bf16 ones (timed on a GPU, counted on the virtual one).
 */
export interface Case<Operands = unknown> extends Sized<Operands> {
  /** The operation's name in `ops`, or `sileroVad`, a whole network. */
  readonly op: string;
  readonly unit: Unit;
  /**
   * Bytes that a timed call must not find in a cache: calls rotate through enough copies to outgrow the last-level cache.
   * Omitted where operands may be as warm as the previous call left them.
   */
  readonly coldBytes?: number;
  /** Whether the case is counted as well as timed: test/cuda/counters.json holds the counts. */
  readonly counted?: boolean;
  /** The part to count of a whole that is too large for the virtual GPU. Such a whole is timed on a GPU only. */
  readonly part?: Sized<Operands>;
  /** Queues the operation once, on the i-th copy; returns one of its outputs, through which its errors surface. */
  run(operands: Operands, i: number): NativeArray;
  /** The same operation, in f32, as a model for the peer. */
  peer?(): PeerModel;
}

/** Infers the operands' type from `prepare` for `run`, and hides it from then on. */
export const defineCase = <Operands>(c: Case<Operands>): Case => c as Case;

/** The same case, to be counted as well: whole, or that part of it. */
export const counted = (c: Case, part?: Sized): Case => ({ ...c, counted: true, ...(part && { part }) });

/** A case's name, unique in the catalogue; filters match it. */
export const nameOf = ({ op, size }: Pick<Case, "op" | "size">): string => `${op} ${size}`;

/** The unit of a product of activations and weights of these dtypes. */
export const unitOf = (activations: Activations, weights: WeightDType = "bf16"): Unit =>
  activations === "bf16" && weights !== "f32" ? "matrix" : "fma";

/** Bytes that no last-level cache holds. */
export const outgrowsCaches = 200e6;

/** The number of copies that together outgrow the last-level cache; 1 for `undefined`. */
export const coldCopies = (bytes: number | undefined): number =>
  bytes === undefined ? 1 : Math.max(1, Math.ceil(outgrowsCaches / bytes));

export const times = <T>(n: number, make: () => T): T[] => Array.from({ length: n }, make);

/** The copy whose turn it is in call i. */
export const turn = <T>(copies: readonly T[], i: number): T => copies[i % copies.length]!;

/** Deterministic values in [-0.5, 0.5). Not constants: a processor may draw less power on those and clock higher. */
export function values(n: number, seed = 1): Float32Array {
  const out = new Float32Array(n);
  let state = (seed * 2654435761) >>> 0;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = (state >>> 8) / 16777216 - 0.5;
  }
  return out;
}

/** A tensor of `values`, scaled. */
export function random<const S extends Shape, D extends DType>(
  device: Device,
  shape: S,
  dtype: D,
  scale = 1,
): Tensor<D, S> {
  const data = values(shape.reduce((n, d) => n * d, 1));
  return device.tensor(scale === 1 ? data : data.map((v) => v * scale), shape, dtype);
}

/** A packed `[n, k]` weight of small random values. */
export function packed<D extends Activations, const N extends number, const K extends number>(
  device: Device,
  n: N,
  k: K,
  dtype: D,
): PackedWeight<D, readonly [N, K]> {
  using w = random(device, [n, k], dtype, 0.05);
  return packWeight(w);
}

export const integers = <const S extends Shape>(device: Device, data: ArrayLike<number>, shape: S): Tensor<"i32", S> =>
  device.tensor(Int32Array.from(data), shape, "i32");

/** `n` integers: 0, `step`, 2 · `step`, … */
export const range = (n: number, step = 1): Int32Array => Int32Array.from({ length: n }, (_, i) => i * step);

/** A constant or input of a peer's model, of random values. */
export const dense = (...dims: number[]): { dims: number[]; values: Float32Array } => ({
  dims,
  values: values(dims.reduce((n, d) => n * d, 1)),
});
