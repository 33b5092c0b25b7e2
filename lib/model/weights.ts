import type { TensorEntry } from "../checkpoint/entry.js";
import { printable } from "../checkpoint/problems.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import { type ConvWeight, foldWeightNorm, packConv1d, packConvTranspose1d } from "../ops/audio.js";
import type { WeightDType } from "../ops/call.js";
import { packWeight, packWeights } from "../ops/linear.js";
import type { Device, MappedFile } from "../tensor/device.js";
import { type DType, dtypes } from "../tensor/dtype.js";
import type { NativeArray, PackedWeight, Shape, Tensor } from "../tensor/tensor.js";

/** The weight of a linear layer or a convolution, packed, and its bias. */
export interface Affine<W = PackedWeight<WeightDType, Matrix>> {
  readonly weight: W;
  readonly bias: Tensor<"f32" | "bf16"> | undefined;
}

/** LayerNorm. */
export interface Norm {
  readonly weight: Tensor<"f32" | "bf16">;
  readonly bias: Tensor<"f32" | "bf16">;
}

/** Sees an intermediate result. The tensor lives only during the call: what is wanted of it is read there. */
export type Tap = (name: string, value: Tensor) => void;

/** How far loading is, in bytes of the checkpoint. */
export interface LoadProgress {
  /** The tensor that came last. */
  readonly name: string;
  readonly loaded: number;
  readonly total: number;
}

export interface LoadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

type Matrix = readonly [number, number];

/** What a `Weights` and its parts share. */
interface Source extends LoadOptions {
  readonly device: Device;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly files: Map<string, MappedFile>;
  readonly total: number;
  readonly used: Set<TensorEntry>;
  readonly made: NativeArray[];
  loaded: number;
}

/**
 * A checkpoint's tensors on their way to a device: small ones stay where they are, in the mapped file; matrices are
 * packed once, and the file's pages given back, so that weights stand in memory once.
 *
 * Everything only queues; a loader calls `settle()` after every layer, which waits, reports and stops on an abort.
 * The tensors live until the `Weights`, or any part of it, is disposed: a model that is loaded from several parts is
 * freed as a whole.
 */
export class Weights implements Disposable {
  private constructor(
    private readonly source: Source,
    private readonly prefix: string,
  ) {}

  /**
   * @param parts tensors by the part that they belong to: tensor `n` of part `p` is named `p.n`, or `n` if `p` is ""
   */
  static of(
    device: Device,
    parts: Readonly<Record<string, Iterable<TensorEntry>>>,
    options: LoadOptions = {},
  ): Weights {
    const entries = new Map<string, TensorEntry>();
    for (const [part, list] of Object.entries(parts))
      for (const entry of list) entries.set(part === "" ? entry.name : `${part}.${entry.name}`, entry);
    const total = [...entries.values()].reduce((bytes, entry) => bytes + entry.byteLength, 0);
    const { signal, onProgress } = options;
    const fresh = { files: new Map<string, MappedFile>(), used: new Set<TensorEntry>(), made: [], loaded: 0 };
    return new Weights({ device, entries, total, signal, onProgress, ...fresh }, "");
  }

  get device(): Device {
    return this.source.device;
  }

  /** The tensors whose names begin with `name.`, under the rest of their names. */
  part(name: string): Weights {
    return new Weights(this.source, `${this.prefix}${name}.`);
  }

  has(name: string): boolean {
    return this.source.entries.has(this.prefix + name);
  }

  /** @throws `CHECKPOINT_INVALID` when there is no such tensor */
  shape(name: string): Shape {
    return this.#entry(name).shape;
  }

  /**
   * The tensor as it stands in the file, mapped; for vectors and for tables of which few rows are read.
   * @param shape what it must have as many elements as; its own shape when left out
   * @throws `CHECKPOINT_INVALID` when it is missing, misshapen, or of a dtype that tensors do not have
   */
  plain<D extends DType = "f32" | "bf16">(name: string, shape?: Shape): Tensor<D> {
    return this.#keep(this.#map<D>(name, shape));
  }

  /** `plain`, or `undefined` when the checkpoint has no such tensor. */
  optional(name: string, shape?: Shape): Tensor<"f32" | "bf16"> | undefined {
    return this.has(name) ? this.plain(name, shape) : undefined;
  }

  /**
   * A matrix `[N, K]` packed for `linear`; of f8e4m3 with the scales `<name>_scale_inv`.
   * @param shape `[N, K]`, for tensors that are stored with more dimensions
   */
  packed(name: string, shape?: Matrix): PackedWeight<WeightDType, Matrix> {
    return this.derive(() => {
      const matrix = this.#map<WeightDType>(name, shape) as Tensor<WeightDType, Matrix>;
      return packWeight(matrix, { scale: this.#scale(name, matrix) });
    });
  }

  /** `<name>.weight` packed, with `<name>.bias` where there is one. */
  linear(name: string): Affine {
    return { weight: this.packed(`${name}.weight`), bias: this.optional(`${name}.bias`) };
  }

  /** LayerNorm: `<name>.weight` and `<name>.bias`. */
  norm(name: string): Norm {
    return { weight: this.plain(`${name}.weight`), bias: this.plain(`${name}.bias`) };
  }

  /** The matrices of a layer's experts, packed together for `groupedGemm`. */
  packedExperts(names: readonly string[]): PackedWeight<WeightDType, readonly [number, number, number]> {
    return this.derive(() => {
      const matrices = names.map((name) => this.#map<WeightDType>(name));
      const scales = names.map((name, i) => this.#scale(name, matrices[i]!)).filter((scale) => scale !== undefined);
      return packWeights(matrices, { scales });
    });
  }

  /** A Conv1d, weight `[out, in / groups, k]`, its weight norm folded. */
  conv1d(name: string): Affine<ConvWeight> {
    return { weight: this.derive(() => packConv1d(this.folded(name))), bias: this.optional(`${name}.bias`) };
  }

  /** A ConvTranspose1d, weight `[in, out, k]`, its weight norm folded. */
  convTranspose1d(name: string): Affine<ConvWeight> {
    const weight = this.derive(() => packConvTranspose1d(this.folded(name)));
    return { weight, bias: this.optional(`${name}.bias`) };
  }

  /** A Conv1d of one tap, weight `[out, in, 1]`, as the linear layer that it is, its weight norm folded. */
  pointwise(name: string): Affine {
    const weight = this.derive(() => {
      const folded = this.folded(name);
      return packWeight(folded.reshape([folded.shape[0]!, folded.shape[1]!]));
    });
    return { weight, bias: this.optional(`${name}.bias`) };
  }

  /** The weight of a convolution, its weight norm folded if it has one. The caller disposes it. */
  folded(name: string): Tensor<"f32"> {
    if (!this.has(`${name}.weight_g`)) return this.#map<"f32">(`${name}.weight`);
    return foldWeightNorm(this.#map<"f32">(`${name}.weight_v`), this.#map<"f32">(`${name}.weight_g`));
  }

  /** Computes what is wanted of the weights at load, and keeps the result alone. */
  derive<T extends NativeArray>(compute: () => T): T {
    return this.#keep(this.device.scope(compute));
  }

  /**
   * Waits until everything asked for so far is in place, and reports the progress.
   * @throws `ABORTED`
   */
  async settle(): Promise<void> {
    const { device, signal, onProgress, loaded, total, used } = this.source;
    throwIfAborted(signal, "loading weights");
    await device.synchronize();
    throwIfAborted(signal, "loading weights");
    onProgress?.({ name: [...used].at(-1)?.name ?? "", loaded, total });
  }

  /** Frees the tensors made here. */
  dispose(): void {
    for (const tensor of this.source.made.splice(0)) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #keep<T extends NativeArray>(tensor: T): T {
    this.source.made.push(tensor);
    return tensor;
  }

  #scale(name: string, matrix: Tensor<WeightDType>): Tensor<"f32"> | undefined {
    return matrix.dtype === "f8e4m3" ? this.#map<"f32">(`${name}_scale_inv`) : undefined;
  }

  #entry(name: string): TensorEntry {
    const entry = this.source.entries.get(this.prefix + name);
    if (entry) return entry;
    throw new CaracalError("CHECKPOINT_INVALID", printable(`the checkpoint has no tensor ${this.prefix}${name}`), {
      name: this.prefix + name,
    });
  }

  #map<D extends DType>(name: string, shape?: Shape): Tensor<D> {
    const { device, files, used } = this.source;
    const entry = this.#entry(name);
    const wanted = shape ?? entry.shape;
    const fail = (problem: string) =>
      new CaracalError("CHECKPOINT_INVALID", printable(`${entry.file}: tensor ${this.prefix}${name} ${problem}`), {
        entry,
      });
    if (!isTensorDType(entry.dtype)) throw fail(`is ${entry.dtype}, which no operation takes`);
    if (elements(wanted) !== elements(entry.shape)) throw fail(`is [${entry.shape}], expected [${wanted}]`);
    const file = files.get(entry.file) ?? device.mapFile(entry.file);
    files.set(entry.file, file);
    if (!used.has(entry)) this.source.loaded += entry.byteLength;
    used.add(entry);
    return device.mapped(file, entry.offset, wanted, entry.dtype) as Tensor<DType> as Tensor<D>;
  }
}

const isTensorDType = (dtype: string): dtype is DType => (dtypes as readonly string[]).includes(dtype);

const elements = (shape: Shape): number => shape.reduce((count, size) => count * size, 1);
