// The options that audio operations share with their streaming forms. Each interface has a table beside it, for
// checkOptions.
import { type OptionRule, optional, positiveInteger, refuseValue, wholeNumber } from "../options.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Activations } from "./call.js";
import type { Activation } from "./linear.js";

/** Options of `fbank`. */
export interface FbankOptions {
  /** In Hz. Default 16000. */
  readonly sampleRate?: number;
  /** Samples per frame. Default 400 (25 ms). */
  readonly frameLength?: number;
  /** Samples from one frame to the next. Default 160 (10 ms). */
  readonly frameShift?: number;
  /** A power of two of at least frameLength. Default 512. */
  readonly fftSize?: number;
  /** Default 80. */
  readonly melBins?: number;
  /** The lower edge of the filters in Hz. Default 40. */
  readonly lowHz?: number;
  /** The upper edge in Hz; 0 or less is an offset from the Nyquist frequency. Default -200. */
  readonly highHz?: number;
  /** Default 0.97; 0 disables it. */
  readonly preemphasis?: number;
  /** Whether each frame's mean is subtracted first. Default false. */
  readonly removeDc?: boolean;
  /** Default `"povey"`, a Hann window to the power of 0.85. */
  readonly window?: "povey" | "hann" | "hamming";
}
export const fbankOptionNames = {
  sampleRate: true,
  frameLength: true,
  frameShift: true,
  fftSize: true,
  melBins: true,
  lowHz: true,
  highHz: true,
  preemphasis: true,
  removeDc: true,
  window: true,
} satisfies Record<keyof FbankOptions, true>;

/** Options of `splice`. */
export interface SpliceOptions {
  /** Frames before and after the centre that are stacked with it. */
  readonly left: number;
  readonly right: number;
  /** Frames from one centre to the next. Default 1. */
  readonly stride?: number;
}
export const spliceOptions = {
  left: wholeNumber,
  right: wholeNumber,
  stride: optional(positiveInteger),
} satisfies Record<keyof SpliceOptions, OptionRule>;

/** The reach of an FSMN memory, in rows. */
export interface FsmnOrders {
  /** The number of past rows that the memory reads besides the current one. */
  readonly leftOrder: number;
  /** The number of future rows. Default 0. */
  readonly rightOrder?: number;
  /** Rows from one tap to the next, in the past and in the future. Default 1. */
  readonly leftStride?: number;
  readonly rightStride?: number;
}

/** A layer norm that is fused into another operation. */
export interface FusedLayerNorm {
  /** `[C]`, f32 or bf16 */
  readonly weight: Tensor<Activations>;
  /** `[C]` of weight's dtype */
  readonly bias?: Tensor<Activations> | undefined;
  /** Default 1e-5. */
  readonly eps?: number;
}
export const fusedLayerNormNames = { weight: true, bias: true, eps: true } satisfies Record<keyof FusedLayerNorm, true>;

/** The reach of an FSMN memory, and the norm before it. */
export interface FsmnParameters extends FsmnOrders {
  /** Applies the memory to `layerNorm(x)`, in one pass and bit-identical to the two operations. */
  readonly norm?: FusedLayerNorm | undefined;
}
export const fsmnParameters = {
  leftOrder: wholeNumber,
  rightOrder: optional(wholeNumber),
  leftStride: optional(positiveInteger),
  rightStride: optional(positiveInteger),
  norm: true,
} satisfies Record<keyof FsmnParameters, OptionRule | true>;

/** Zero rows before and after the sequence: `"causal"` puts all `(k-1)·dilation` before it, `"symmetric"` half of them. */
export type ConvPadding = "causal" | "symmetric" | readonly [left: number, right: number];

/** What `conv1d` and its stream share. */
export interface Conv1dGeometry {
  /** Rows from one tap to the next. Default 1. */
  readonly dilation?: number;
  /** Groups of channels that are convolved separately. Default 1; with Cin = Cout = groups, the convolution is depthwise. */
  readonly groups?: number;
  /** Rows of x from one output row to the next. Default 1. */
  readonly stride?: number;
  /** Default `"causal"`. */
  readonly padding?: ConvPadding;
  /** `[Cout]` */
  readonly bias?: Tensor<Activations> | undefined;
  readonly activation?: Activation;
  /** `[Cout]`, the α of a `snake` that replaces the activation. */
  readonly snake?: Tensor<Activations> | undefined;
}
export const conv1dGeometry = {
  dilation: optional(positiveInteger),
  groups: optional(positiveInteger),
  stride: optional(positiveInteger),
  padding: true,
  bias: true,
  activation: true,
  snake: true,
} satisfies Record<keyof Conv1dGeometry, OptionRule | true>;

/**
 * The zero rows on either side of a convolution whose taps reach over `span` rows.
 * @throws {CaracalError} `INVALID_ARGUMENT` for another padding
 */
export function paddingRows(where: string, padding: ConvPadding, span: number): readonly [left: number, right: number] {
  if (padding === "causal") return [span, 0];
  if (padding === "symmetric") return [Math.floor(span / 2), Math.ceil(span / 2)];
  const expected = '"causal", "symmetric" or two numbers of rows from 0 to 2²⁰';
  if (!Array.isArray(padding) || padding.length !== 2) refuseValue(where, "padding", expected, padding);
  const [left, right] = [padding[0], padding[1]];
  for (const rows of [left, right])
    if (!(Number.isInteger(rows) && rows >= 0 && rows <= 2 ** 20)) refuseValue(where, "padding", expected, rows);
  return [left, right];
}

/** What `convTranspose1d` and its stream share. */
export interface ConvTranspose1dGeometry {
  /** Output rows from one input row to the next. */
  readonly stride: number;
  /** Rows cut off at both ends. Default 0. */
  readonly padding?: number;
  /** Rows appended at the end, fewer than the stride. Default 0. */
  readonly outputPadding?: number;
  /** `[Cout]` */
  readonly bias?: Tensor<Activations> | undefined;
}
export const convTranspose1dGeometry = {
  stride: positiveInteger,
  padding: optional(wholeNumber),
  outputPadding: optional(wholeNumber),
  bias: true,
} satisfies Record<keyof ConvTranspose1dGeometry, OptionRule | true>;
