// The tensor types that the modules of the model share.
import type { Activations, WeightDType } from "../ops/call.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import type { Tensor } from "../tensor/tensor.js";

/** The shape of a matrix. */
export type Matrix = readonly [number, number];

/** Activations `[T, C]`: one row per token, patch, frame or sequence. */
export type Rows<D extends Activations = Activations> = Tensor<D, Matrix>;

/** Logits `[rows, ids]`. */
export type Logits = Tensor<"f32", Matrix>;

/** One id per row, `[rows]`. */
export type Ids = Tensor<"i32", readonly [number]>;

/** A parameter vector `[C]`: a norm's weight, a bias or a LayerScale. */
export type Vector = Tensor<Activations>;

/** A packed matrix `[N, K]`. */
export type PackedMatrix = PackedWeight<WeightDType, Matrix>;

/** Observes an intermediate result. The tensor lives only during the call, so a tap must start its read there. */
export type Tap = (name: string, value: Tensor) => void;
