import { elementCount } from "../checkpoint/entry.js";
import { isAffineBits, isAffineGroup } from "../checkpoint/quantization.js";
import { type OpenCheckpointOptions, openCheckpointOptions } from "../checkpoint/survey.js";
import {
  type Conv1dWeight,
  type ConvTranspose1dWeight,
  foldWeightNorm,
  packConv1d,
  packConvTranspose1d,
} from "../ops/audio.js";
import type { StoredDType } from "../ops/call.js";
import { packWeight, packWeights } from "../ops/linear.js";
import type { ExpertWeight } from "../ops/moe.js";
import { type DequantizeAffineOptions, dequantizeAffine } from "../ops/quantization.js";
import { checkedList, isObject, type OptionRule, refuseValue } from "../options.js";
import { checkTensor, deviceRule } from "../tensor/check.js";
import type { DType } from "../tensor/dtype.js";
import { checkedShape } from "../tensor/shape.js";
import type { Device, NativeArray, Shape, Tensor } from "../tensor/tensor.js";
import { atOnce, type Steps, Turns } from "../turns.js";
import { type PackedCacheOptions, packedCacheOptions, withPackedCache } from "./packed/cache.js";
import type { Matrix, PackedMatrix, Vector } from "./types.js";
import {
  type LoadOptions,
  loadOptions,
  moduleOf,
  namedEntries,
  onlyForwards,
  stack,
  type TensorPart,
  type WeightParts,
  WeightSource,
} from "./weightSource.js";

/** The packed weight of a linear layer or a convolution, and its bias. */
export interface Affine<W = PackedMatrix> {
  readonly weight: W;
  readonly bias: Vector | undefined;
}

/** A matrix in the affine format, as it is stored. */
interface StoredAffine extends DequantizeAffineOptions<"bf16"> {
  readonly codes: Tensor<"u8", Matrix>;
}

const dequantized = ({ codes, ...format }: StoredAffine): Tensor<"f32" | "bf16", Matrix> =>
  dequantizeAffine(codes, { ...format, outDtype: "bf16" });

/** The parameters of a LayerNorm. */
export interface Norm {
  readonly weight: Vector;
  readonly bias: Vector;
}

/** Options of every module's `open`. */
export interface OpenModuleOptions extends LoadOptions, PackedCacheOptions, OpenCheckpointOptions {
  /** The device to load the module on. */
  readonly device: Device;
}
/** @internal */
export const openModuleOptions = {
  ...openCheckpointOptions,
  ...loadOptions,
  ...packedCacheOptions,
  device: deviceRule,
} satisfies Record<keyof OpenModuleOptions, OptionRule | true>;

/**
 * Moves a checkpoint's tensors to a device. Small tensors stay in the mapped file; matrices are packed once and their
 * file pages given back, so the weights occupy memory once.
 *
 * All methods only queue work. A loader calls `settle()` after every layer, which waits, reports progress and stops on
 * an abort. The tensors live until the `Weights`, or any part of it, is disposed: a model that is loaded from several
 * parts is freed as a whole.
 */
export class Weights implements Disposable {
  readonly #source: WeightSource;
  readonly #prefix: string;

  private constructor(source: WeightSource, prefix: string) {
    this.#source = source;
    this.#prefix = prefix;
  }

  /**
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no device or list of tensors, or when an option is unknown
   */
  static of(device: Device, parts: WeightParts, options: LoadOptions = {}): Weights {
    return atOnce(Weights.steps(device, parts, options));
  }

  /** @internal Like `of`, in steps, since a large model has a hundred thousand tensors. */
  static *steps(device: Device, parts: WeightParts, options: LoadOptions = {}): Steps<Weights> {
    return new Weights(yield* WeightSource.steps(device, parts, options), "");
  }

  /** @internal Of a source. */
  static from(source: WeightSource): Weights {
    return new Weights(source, "");
  }

  /** As of tensors: no proxy is a `Weights`. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return isObject(value) && #source in value;
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /** The tensors whose names begin with `name.`, without that prefix. */
  part(name: string): Weights {
    return new Weights(this.#source, `${this.#full(name)}.`);
  }

  /** Whether there is a tensor of this name. */
  has(name: string): boolean {
    return this.#source.entries.has(this.#full(name));
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` when there is no such tensor */
  shape(name: string): Shape {
    return this.#source.entry(this.#full(name)).shape;
  }

  /**
   * The tensor as stored, mapped from its file; f16 as f32. Meant for vectors, and for tables of which few rows are read.
   * @param shape another shape of the same element count; the stored shape by default
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the tensor is missing or misshapen, or no operation takes its dtype
   */
  plain<D extends DType = "f32" | "bf16">(name: string, shape?: Shape): Tensor<D> {
    return this.derive(() => this.#numbers<D>(name, shape));
  }

  /** `plain`, or `undefined` when the checkpoint has no such tensor. */
  optional(name: string, shape?: Shape): Vector | undefined {
    return this.has(name) ? this.plain(name, shape) : undefined;
  }

  /**
   * A matrix `[N, K]` packed for `linear`; an f8e4m3 matrix takes its scales from `<name>_scale_inv`, and one in the affine
   * format from `scales` and `biases` beside it.
   * @param shape `[N, K]`, for matrices that are stored with more dimensions or in the affine format
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  packed(name: string, shape?: Matrix): PackedMatrix {
    return this.#packedOnce([name], ["matrix", shape], () => {
      if (this.#isAffine(name)) {
        const { codes, ...format } = this.#affine(name, shape);
        return packWeight(codes, format);
      }
      const matrix = this.#numbers<StoredDType>(name, shape) as Tensor<StoredDType, Matrix>;
      return packWeight(this.#source.rounded(matrix), { scale: this.#scale(name, matrix) });
    });
  }

  /**
   * Like `packed`, for operations that take no weights in the affine format: bf16 is computed from it.
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  packedFloat(name: string, shape: Matrix): PackedMatrix {
    if (!this.#isAffine(name)) return this.packed(name, shape);
    return this.derive(() => packWeight(dequantized(this.#affine(name, shape))));
  }

  /**
   * A matrix as numbers: as it is stored, or, in the affine format, as bf16 that is computed from it.
   * @param shape `[N, K]`
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  matrix(name: string, shape: Matrix): Tensor<"f32" | "bf16", Matrix> {
    if (!this.#isAffine(name)) return this.plain(name, shape) as Tensor as Tensor<"f32" | "bf16", Matrix>;
    return this.derive(() => dequantized(this.#affine(name, shape)));
  }

  /**
   * The E matrices of one tensor, as `matrix` gives them. They do not belong to the weights: call this within
   * `derive`.
   * @param shapes `[E, N, K]`
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  matrices(name: string, shapes: readonly [number, ...Matrix]): Tensor<"f32" | "bf16", Matrix>[] {
    const isAffine = this.#isAffine(name);
    return stack("Weights.matrices", shapes, (shape, part) => {
      if (isAffine) return dequantized(this.#affine(name, shape, part));
      return this.#numbers<"f32" | "bf16">(name, shape, part) as Tensor as Tensor<"f32" | "bf16", Matrix>;
    });
  }

  /** `<name>.weight` packed, with `<name>.bias` if there is one. */
  linear(name: string): Affine {
    const linear = this.part(name);
    return { weight: linear.packed("weight"), bias: linear.optional("bias") };
  }

  /** The LayerNorm parameters `<name>.weight` and `<name>.bias`. */
  norm(name: string): Norm {
    const norm = this.part(name);
    return { weight: norm.plain("weight"), bias: norm.plain("bias") };
  }

  /**
   * The matrices of a layer's experts, packed together for `groupedGemm`.
   * @param shape `[N, K]`, for matrices in the affine format
   * @param isFloat whether bf16 is computed from that format
   */
  packedExperts(names: readonly string[], shape?: Matrix, isFloat = false): ExpertWeight {
    const list = checkedList<string>("Weights.packedExperts", "names", names, "a list of names");
    return this.#packedOnce(list, ["experts", shape, isFloat], () => {
      if (list.some((name) => this.#isAffine(name)))
        return this.#packAffines(
          list.map((name) => this.#affine(name, shape)),
          isFloat,
        );
      const matrices = list.map((name) => this.#source.rounded(this.#numbers<StoredDType>(name, shape)));
      const scales = list.map((name, i) => this.#scale(name, matrices[i]!)).filter((scale) => scale !== undefined);
      return packWeights(matrices, { scales });
    });
  }

  /**
   * Like `packedExperts`, of one tensor with the matrices of all experts.
   * @param shapes `[E, N, K]`
   * @param isFloat as for `packedExperts`
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  packedStack(name: string, shapes: readonly [number, ...Matrix], isFloat = false): ExpertWeight {
    return this.#packedOnce([name], ["experts", shapes, isFloat], () => {
      if (!this.#isAffine(name)) return packWeights(this.matrices(name, shapes).map((m) => this.#source.rounded(m)));
      const stored = stack("Weights.packedStack", shapes, (shape, part) => this.#affine(name, shape, part));
      return this.#packAffines(stored, isFloat);
    });
  }

  /**
   * Whether two matrices, or stacks of them, may be multiplied together, as by `swiglu`: if one is in the affine format, so
   * is the other, with equal groups and codes that are packed alike.
   * @param shape `[N, K]` or `[E, N, K]`
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  isAlike(name: string, other: string, shape: Shape): boolean {
    const sizes = checkedShape<Shape>("Weights.isAlike", shape);
    const [n = 0, k = 0] = sizes.slice(-2);
    const [index, of] = [0, sizes.slice(0, -2).reduce((product, size) => product * size, 1)];
    const form = (matrix: string): string => {
      if (!this.#isAffine(matrix)) return "";
      return this.device.scope(() => {
        const { bits, scale } = this.#affine(matrix, [n, k], { index, of });
        return `${bits <= 4 ? "q4" : "q8"} ${scale.dtype} ${scale.shape[1]}`;
      });
    };
    return form(name) === form(other);
  }

  /** A Conv1d with weight `[out, in / groups, k]`, its weight norm folded. */
  conv1d(name: string): Affine<Conv1dWeight> {
    const weight = this.#packedOnce([name], "conv1d", () => packConv1d(this.#source.rounded(this.folded(name))));
    return { weight, bias: this.part(name).optional("bias") };
  }

  /** A ConvTranspose1d with weight `[in, out, k]`, its weight norm folded. */
  convTranspose1d(name: string): Affine<ConvTranspose1dWeight> {
    const weight = this.#packedOnce([name], "convTranspose1d", () =>
      packConvTranspose1d(this.#source.rounded(this.folded(name))),
    );
    return { weight, bias: this.part(name).optional("bias") };
  }

  /** The weight of a convolution, its weight norm folded if it has one. The caller disposes it. */
  folded(name: string): Tensor<"f32"> {
    const conv = this.part(name);
    if (!conv.has("weight_g")) return conv.#map<"f32">("weight");
    return foldWeightNorm(conv.#map<"f32">("weight_v"), conv.#map<"f32">("weight_g"));
  }

  #packedOnce<T extends NativeArray>(names: readonly string[], form: unknown, pack: () => T): T {
    const full = names.map((name) => this.#full(name));
    return this.#source.packedOnce(full, form, () => this.derive(pack));
  }

  /** Computes a tensor from the weights at load time; temporaries are freed, the result lives as long as the weights. */
  derive<T extends NativeArray>(compute: () => T): T {
    const made = this.device.scope(compute);
    checkTensor("Weights.derive", "the result of compute", made);
    return this.#source.track(made);
  }

  /**
   * Waits until all tensors requested so far are in place, and reports the progress.
   * @throws {CaracalError} `ABORTED` when the signal is aborted, `DISPOSED` when the device was disposed; the error of a
   *   tensor that could not be made: `OUT_OF_MEMORY`, `IO_ERROR`, `DEVICE_FAULT`
   */
  async settle(): Promise<void> {
    await this.#source.settle();
  }

  /** Frees all tensors made from these weights. Safe to call twice. */
  dispose(): void {
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #scale(name: string, matrix: Tensor<StoredDType>): Tensor<"f32"> | undefined {
    return matrix.dtype === "f8e4m3" ? this.#map<"f32">(`${name}_scale_inv`) : undefined;
  }

  #packAffines(stored: readonly StoredAffine[], isFloat: boolean): ExpertWeight {
    if (isFloat || stored.length === 0) return packWeights(stored.map(dequantized));
    const { bits } = stored[0]!;
    const scales = stored.map(({ scale }) => scale);
    const biases = stored.map(({ bias }) => bias!);
    return packWeights(
      stored.map(({ codes }) => codes),
      { bits, scales, biases },
    );
  }

  #isAffine(name: string): boolean {
    return this.has(name) && this.has(`${moduleOf(name)}.scales`);
  }

  /**
   * A matrix `[N, K]` in the affine format, whose bits and group follow from the sizes of its tensors.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when they do not fit the shape, or one is missing
   */
  #affine(name: string, shape: Matrix | undefined, part: TensorPart = { index: 0, of: 1 }): StoredAffine {
    const entry = this.#source.entry(this.#full(name));
    const scales = this.#source.entry(this.#full(`${moduleOf(name)}.scales`));
    const [n, k] = shape ? checkedShape("Weights", shape) : [0, 0];
    const bits = (8 * entry.byteLength) / (part.of * n * k);
    const groups = elementCount(scales.shape) / (part.of * n);
    if (!isAffineBits(bits) || !isAffineGroup(k / groups)) {
      const sizes = `is ${entry.dtype} [${entry.shape}] with scales [${scales.shape}]`;
      throw this.#source.invalid(
        this.#full(name),
        `${sizes}, which is no affine format of ${shape ? `[${shape}]` : "an unknown shape"}`,
      );
    }
    const scale = this.#map<StoredAffine["scale"]["dtype"]>(`${moduleOf(name)}.scales`, [n, groups], part);
    const bias = this.#map<StoredAffine["scale"]["dtype"]>(`${moduleOf(name)}.biases`, [n, groups], part);
    if (bias.dtype !== scale.dtype)
      throw this.#source.invalid(this.#full(name), `has ${scale.dtype} scales, but ${bias.dtype} biases`);
    const codes = this.#map<"u8">(name, [n, (k * bits) / 8], { ...part, dtype: "u8" });
    return { codes: codes as StoredAffine["codes"], bits, scale, bias };
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` for what is no name */
  #full(name: string): string {
    if (typeof name !== "string") refuseValue("Weights", "name", "a string", name);
    return this.#prefix + name;
  }

  #numbers<D extends DType>(name: string, shape?: Shape, part?: TensorPart): Tensor<D> {
    return this.#source.numbers(this.#full(name), shape, part);
  }

  #map<D extends DType>(name: string, shape?: Shape, part?: TensorPart & { readonly dtype?: D }): Tensor<D> {
    return this.#source.map(this.#full(name), shape, part);
  }
}

/** @internal Takes weights. */
export const weightsRule: OptionRule = {
  accepts: (value) => value instanceof Weights,
  expected: "a Weights, as Weights.of() gives",
};

/** @internal Loads one module from the tensors that it uses alone. When loading fails, its weights are freed. */
export async function loadModule<T extends Disposable>(
  parts: WeightParts,
  options: OpenModuleOptions,
  load: (weights: Weights) => Promise<T>,
): Promise<T> {
  const { device, signal, weightDtype } = options;
  const onProgress = onlyForwards(options.onProgress);
  const entries = await new Turns("loading weights", signal).during(namedEntries(parts));
  return await withPackedCache(entries, options, async (store) => {
    const weights = Weights.from(WeightSource.of(device, entries, { signal, weightDtype, onProgress }, store));
    try {
      return await load(weights);
    } catch (error) {
      weights.dispose();
      throw error;
    }
  });
}
