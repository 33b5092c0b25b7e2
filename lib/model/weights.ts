import { statSync } from "node:fs";
import { elementCount, type TensorEntry } from "../checkpoint/entry.js";
import { checkVersion, fileVersion } from "../checkpoint/formats/file.js";
import { type OpenCheckpointOptions, openCheckpointOptions } from "../checkpoint/survey.js";
import { CaracalError, printable, shown, throwIfAborted } from "../errors.js";
import {
  type Conv1dWeight,
  type ConvTranspose1dWeight,
  foldWeightNorm,
  packConv1d,
  packConvTranspose1d,
} from "../ops/audio.js";
import type { WeightDType } from "../ops/call.js";
import { packWeight, packWeights } from "../ops/linear.js";
import type { ExpertWeight } from "../ops/moe.js";
import {
  aFunction,
  checkedList,
  checkObject,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  optional,
  refuseValue,
  wholeNumber,
} from "../options.js";
import { checkTensor, deviceRule } from "../tensor/check.js";
import { type DType, isDType } from "../tensor/dtype.js";
import { checkedShape } from "../tensor/shape.js";
import type { Device, MappedFile, NativeArray, Shape, Tensor } from "../tensor/tensor.js";
import { atOnce, type Steps, Turns } from "../turns.js";
import type { Matrix, PackedMatrix, Vector } from "./types.js";

/** The packed weight of a linear layer or a convolution, and its bias. */
export interface Affine<W = PackedMatrix> {
  readonly weight: W;
  readonly bias: Vector | undefined;
}

/** The parameters of a LayerNorm. */
export interface Norm {
  readonly weight: Vector;
  readonly bias: Vector;
}

/** Loading progress, in bytes of the checkpoint. */
export interface LoadProgress {
  /** The tensor that was read last. */
  readonly name: string;
  readonly loaded: number;
  readonly total: number;
}

/** Options of loading weights. */
export interface LoadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called while weights are loaded. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}
const loadOptions = { signal: true, onProgress: optional(aFunction) } satisfies Record<
  keyof LoadOptions,
  OptionRule | true
>;

/** Options of every module's `open`. */
export interface OpenModuleOptions extends LoadOptions, OpenCheckpointOptions {
  /** The device to load the module on. */
  readonly device: Device;
}
/** @internal */
export const openModuleOptions = { ...openCheckpointOptions, ...loadOptions, device: deviceRule } satisfies Record<
  keyof OpenModuleOptions,
  OptionRule | true
>;

/** The tensors of each part: tensor `n` of part `p` is named `p.n`, or `n` if `p` is `""`. */
export type WeightParts = Readonly<Record<string, Iterable<TensorEntry>>>;

interface MappedVersion {
  readonly file: MappedFile;
  readonly version: string;
}

/** Maps a file. Its version is read afterwards, since what changes later is noticed by the mapping. */
function mapVersion(device: Device, path: string): MappedVersion {
  const file = device.mapFile(path);
  try {
    return { file, version: fileVersion(statSync(path, { bigint: true })) };
  } catch {
    return { file, version: "removed meanwhile" };
  }
}

/** The state that a `Weights` and its parts share. */
interface Source extends LoadOptions {
  readonly device: Device;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly files: Map<string, MappedVersion>;
  readonly total: number;
  readonly used: Set<TensorEntry>;
  readonly made: NativeArray[];
  /** Those of `made` that no `settle` has waited for. */
  readonly unsettled: NativeArray[];
  loaded: number;
  /** The tensor that was read last. */
  last: string;
}

/**
 * Moves a checkpoint's tensors to a device. Small tensors stay in the mapped file; matrices are packed once and their
 * file pages given back, so the weights occupy memory once.
 *
 * All methods only queue work. A loader calls `settle()` after every layer, which waits, reports progress and stops on
 * an abort. The tensors live until the `Weights`, or any part of it, is disposed: a model that is loaded from several
 * parts is freed as a whole.
 */
export class Weights implements Disposable {
  readonly #source: Source;
  readonly #prefix: string;

  private constructor(source: Source, prefix: string) {
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
    checkOption("Weights.of", "device", device, deviceRule);
    checkObject("Weights.of", "parts", parts);
    checkOptions("Weights.of", options, loadOptions);
    const entries = new Map<string, TensorEntry>();
    let total = 0;
    for (const [part, list] of Object.entries(parts)) {
      for (const entry of entriesOf(part, list)) {
        entries.set(part === "" ? entry.name : `${part}.${entry.name}`, entry);
        total += entry.byteLength;
        yield;
      }
    }
    const { signal, onProgress } = options;
    const initial = {
      files: new Map<string, MappedVersion>(),
      used: new Set<TensorEntry>(),
      made: [],
      unsettled: [],
      loaded: 0,
      last: "",
    };
    return new Weights({ device, entries, total, signal, onProgress, ...initial }, "");
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
    return this.#entry(name).shape;
  }

  /**
   * The tensor as stored, mapped from its file. Meant for vectors, and for tables of which few rows are read.
   * @param shape another shape of the same element count; the stored shape by default
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the tensor is missing or misshapen, or no operation takes its dtype
   */
  plain<D extends DType = "f32" | "bf16">(name: string, shape?: Shape): Tensor<D> {
    return this.#track(this.#map<D>(name, shape));
  }

  /** `plain`, or `undefined` when the checkpoint has no such tensor. */
  optional(name: string, shape?: Shape): Vector | undefined {
    return this.has(name) ? this.plain(name, shape) : undefined;
  }

  /**
   * A matrix `[N, K]` packed for `linear`; an f8e4m3 matrix takes its scales from `<name>_scale_inv`.
   * @param shape `[N, K]`, for matrices that are stored with more dimensions
   * @throws {CaracalError} `CHECKPOINT_INVALID` as for `plain`
   */
  packed(name: string, shape?: Matrix): PackedMatrix {
    return this.derive(() => {
      const matrix = this.#map<WeightDType>(name, shape) as Tensor<WeightDType, Matrix>;
      return packWeight(matrix, { scale: this.#scale(name, matrix) });
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

  /** The matrices of a layer's experts, packed together for `groupedGemm`. */
  packedExperts(names: readonly string[]): ExpertWeight {
    const list = checkedList<string>("Weights.packedExperts", "names", names, "a list of names");
    return this.derive(() => {
      const matrices = list.map((name) => this.#map<WeightDType>(name));
      const scales = list.map((name, i) => this.#scale(name, matrices[i]!)).filter((scale) => scale !== undefined);
      return packWeights(matrices, { scales });
    });
  }

  /** A Conv1d with weight `[out, in / groups, k]`, its weight norm folded. */
  conv1d(name: string): Affine<Conv1dWeight> {
    return { weight: this.derive(() => packConv1d(this.folded(name))), bias: this.part(name).optional("bias") };
  }

  /** A ConvTranspose1d with weight `[in, out, k]`, its weight norm folded. */
  convTranspose1d(name: string): Affine<ConvTranspose1dWeight> {
    const weight = this.derive(() => packConvTranspose1d(this.folded(name)));
    return { weight, bias: this.part(name).optional("bias") };
  }

  /** The weight of a convolution, its weight norm folded if it has one. The caller disposes it. */
  folded(name: string): Tensor<"f32"> {
    const conv = this.part(name);
    if (!conv.has("weight_g")) return conv.#map<"f32">("weight");
    return foldWeightNorm(conv.#map<"f32">("weight_v"), conv.#map<"f32">("weight_g"));
  }

  /** Computes a tensor from the weights at load time; temporaries are freed, the result lives as long as the weights. */
  derive<T extends NativeArray>(compute: () => T): T {
    const made = this.device.scope(compute);
    checkTensor("Weights.derive", "the result of compute", made);
    return this.#track(made);
  }

  /**
   * Waits until all tensors requested so far are in place, and reports the progress.
   * @throws {CaracalError} `ABORTED` when the signal is aborted, `DISPOSED` when the device was disposed; the error of a
   *   tensor that could not be made: `OUT_OF_MEMORY`, `IO_ERROR`, `DEVICE_FAULT`
   */
  async settle(): Promise<void> {
    const { device, signal, onProgress, loaded, total, last, unsettled } = this.#source;
    throwIfAborted(signal, "loading weights");
    const pending = unsettled.splice(0).filter((tensor) => !tensor.disposed);
    await Promise.all([device.synchronize(), ...pending.map((tensor) => tensor.ready())]);
    throwIfAborted(signal, "loading weights");
    onProgress?.({ name: last, loaded, total });
  }

  /** Frees all tensors made from these weights. Safe to call twice. */
  dispose(): void {
    this.#source.unsettled.length = 0;
    for (const tensor of this.#source.made.splice(0)) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #track<T extends NativeArray>(tensor: T): T {
    this.#source.made.push(tensor);
    this.#source.unsettled.push(tensor);
    return tensor;
  }

  #scale(name: string, matrix: Tensor<WeightDType>): Tensor<"f32"> | undefined {
    return matrix.dtype === "f8e4m3" ? this.#map<"f32">(`${name}_scale_inv`) : undefined;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` for what is no name */
  #full(name: string): string {
    if (typeof name !== "string") refuseValue("Weights", "name", "a string", name);
    return this.#prefix + name;
  }

  #entry(name: string): TensorEntry {
    const fullName = this.#full(name);
    const entry = this.#source.entries.get(fullName);
    if (entry) return entry;
    throw new CaracalError("CHECKPOINT_INVALID", printable(`the checkpoint has no tensor ${fullName}`), {
      name: fullName,
    });
  }

  #map<D extends DType>(name: string, shape?: Shape): Tensor<D> {
    const { device, files, used } = this.#source;
    const entry = this.#entry(name);
    const viewShape = checkedShape("Weights", shape ?? entry.shape);
    const fail = (problem: string) =>
      new CaracalError("CHECKPOINT_INVALID", printable(`${entry.file}: tensor ${this.#prefix}${name} ${problem}`), {
        entry,
      });
    if (!isDType(entry.dtype)) throw fail(`is ${entry.dtype}, which no operation takes`);
    if (elementCount(viewShape) !== elementCount(entry.shape))
      throw fail(`is [${entry.shape}], expected [${viewShape}]`);
    const { file, version } = files.get(entry.file) ?? mapVersion(device, entry.file);
    files.set(entry.file, { file, version });
    checkVersion(entry.file, entry.version, version);
    if (!used.has(entry)) {
      this.#source.loaded += entry.byteLength;
      this.#source.last = entry.name;
    }
    used.add(entry);
    return device.mapped(file, entry.offset, viewShape, entry.dtype) as Tensor<DType> as Tensor<D>;
  }
}

/** @internal Takes weights. */
export const weightsRule: OptionRule = {
  accepts: (value) => value instanceof Weights,
  expected: "a Weights, as Weights.of() gives",
};

/** Ten times the tensors of the largest models. An iterable may have no end. */
const maxEntries = 2 ** 20;

/** The tensors of a part. @throws {CaracalError} `INVALID_ARGUMENT` when it is something else */
function* entriesOf(part: string, list: Iterable<TensorEntry>): Generator<TensorEntry> {
  const argument = `parts[${shown(part)}]`;
  const isIterable =
    isObject(list) &&
    !ArrayBuffer.isView(list) &&
    typeof (list as Partial<typeof list>)[Symbol.iterator] === "function";
  if (!isIterable) refuseValue("Weights.of", argument, "tensors of a checkpoint, as an iterable", list);
  const expected = "a list of tensors of a checkpoint";
  const entries = Array.isArray(list)
    ? checkedList<TensorEntry>("Weights.of", argument, list, expected, maxEntries)
    : list;
  let count = 0;
  for (const entry of entries) {
    if (!isEntry(entry)) refuseValue("Weights.of", argument, "tensors of a checkpoint", entry);
    if (++count > maxEntries) refuseValue("Weights.of", argument, `at most ${maxEntries} tensors`, list);
    yield entry;
  }
}

function isEntry(value: unknown): value is TensorEntry {
  const { name, dtype, shape, file, offset, byteLength } = Object(value) as Partial<TensorEntry>;
  const texts = [name, dtype, file].every((text) => typeof text === "string");
  return texts && Array.isArray(shape) && [offset, byteLength].every(wholeNumber.accepts);
}

/**
 * @internal Loads one module from the tensors that it uses alone. When loading fails, its weights are freed.
 */
export async function loadModule<T>(
  parts: WeightParts,
  { device, signal, onProgress }: OpenModuleOptions,
  load: (weights: Weights) => Promise<T>,
): Promise<T> {
  const turns = new Turns("loading weights", signal);
  const weights = await turns.during(Weights.steps(device, parts, { signal, onProgress }));
  try {
    return await load(weights);
  } catch (error) {
    weights.dispose();
    throw error;
  }
}
