import { statSync } from "node:fs";
import { elementCount, type TensorEntry } from "../checkpoint/entry.js";
import { checkVersion, fileVersion } from "../checkpoint/formats/file.js";
import { CaracalError, printable, shown, throwIfAborted } from "../errors.js";
import { cast } from "../ops/rows.js";
import {
  aFunction,
  checkedList,
  checkObject,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  oneOf,
  optional,
  refuseValue,
  wholeNumber,
} from "../options.js";
import { deviceRule } from "../tensor/check.js";
import { type DType, dtypeBytes, isDType } from "../tensor/dtype.js";
import { checkedShape } from "../tensor/shape.js";
import type { Device, MappedFile, NativeArray, Shape, Tensor } from "../tensor/tensor.js";
import type { Steps } from "../turns.js";
import type { NamedEntries } from "./packed/source.js";
import { type PackedStore, packedName } from "./packed/store.js";
import type { Matrix } from "./types.js";

/** Loading progress, in bytes of the checkpoint. */
export interface LoadProgress {
  /** The tensor that was read last. */
  readonly name: string;
  readonly loaded: number;
  readonly total: number;
}

/** Options of loading weights. */
export interface LoadOptions {
  /**
   * `bf16` rounds matrices and convolutions that are stored as f32, which halves their memory and the time of reading
   * them. Default `stored`.
   */
  readonly weightDtype?: "stored" | "bf16" | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called while weights are loaded. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}
/** @internal */
export const loadOptions = {
  weightDtype: optional(oneOf("stored", "bf16")),
  signal: true,
  onProgress: optional(aFunction),
} satisfies Record<keyof LoadOptions, OptionRule | true>;

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

/** @internal Reports no progress twice: a module whose packed weights were written to a file is loaded again from there. */
export function onlyForwards(onProgress: LoadOptions["onProgress"]): LoadOptions["onProgress"] {
  let reached = 0;
  return (progress) => {
    if (progress.loaded < reached) return;
    reached = progress.loaded;
    onProgress?.(progress);
  };
}

/** @internal The module of a weight: it has the scales. */
export const moduleOf = (name: string): string => name.replace(/\.weight$/, "");

/** The tensors that a packed weight may be made of, besides one of its name. */
const partsOf = (name: string) => [
  `${name}_scale_inv`,
  ...["scales", "biases"].map((part) => `${moduleOf(name)}.${part}`),
  ...["weight", "weight_g", "weight_v"].map((part) => `${name}.${part}`),
];

/** One of the `of` equal parts of a tensor. */
export interface TensorPart {
  readonly index: number;
  readonly of: number;
}

/** Far more than the experts of any layer. A stack of empty matrices could be endless. */
const maxStack = 2 ** 16;

/** @internal Makes the matrices of a stack `[E, N, K]`. @throws {CaracalError} `INVALID_ARGUMENT` for what is no such shape */
export function stack<T>(
  where: string,
  shapes: readonly [number, ...Matrix],
  make: (shape: Matrix, part: TensorPart) => T,
): T[] {
  const [of, ...shape] = checkedShape(where, shapes);
  if (!(of >= 0 && of <= maxStack)) refuseValue(where, "shapes[0]", `a number from 0 to ${maxStack}`, of);
  return Array.from({ length: of }, (_, index) => make(shape, { index, of }));
}

/** What a `Weights` and its parts share: the tensors of a checkpoint by their full names, and what was made from them. */
export class WeightSource {
  readonly device: Device;
  readonly entries: NamedEntries;
  readonly store: PackedStore | undefined;
  readonly #options: LoadOptions;
  readonly #total: number;
  readonly #files = new Map<string, MappedVersion>();
  readonly #used = new Set<TensorEntry>();
  readonly #made: NativeArray[] = [];
  /** Those of `#made` that no `settle` has waited for. */
  readonly #unsettled: NativeArray[] = [];
  #loaded = 0;
  /** The tensor that was read last. */
  #last = "";

  private constructor(
    device: Device,
    entries: NamedEntries,
    total: number,
    options: LoadOptions,
    store: PackedStore | undefined,
  ) {
    this.device = device;
    this.entries = entries;
    this.#total = total;
    this.#options = options;
    this.store = store;
  }

  /** In steps, since a large model has a hundred thousand tensors. @throws {CaracalError} as `Weights.of` */
  static *steps(device: Device, parts: WeightParts, options: LoadOptions): Steps<WeightSource> {
    checkOption("Weights.of", "device", device, deviceRule);
    checkObject("Weights.of", "parts", parts);
    checkOptions("Weights.of", options, loadOptions);
    return WeightSource.of(device, yield* namedEntries(parts), options);
  }

  /** Of tensors by their full names. Packed weights come from the store, if there is one, or go to it. */
  static of(device: Device, entries: NamedEntries, options: LoadOptions, store?: PackedStore): WeightSource {
    let total = 0;
    for (const { byteLength } of entries.values()) total += byteLength;
    return new WeightSource(device, entries, total, options, store);
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` when there is no such tensor */
  entry(name: string): TensorEntry {
    const entry = this.entries.get(name);
    if (entry) return entry;
    throw new CaracalError("CHECKPOINT_INVALID", printable(`the checkpoint has no tensor ${name}`), { name });
  }

  /** The error of a tensor that has a problem. */
  invalid(name: string, problem: string): CaracalError {
    const entry = this.entry(name);
    return new CaracalError("CHECKPOINT_INVALID", printable(`${entry.file}: tensor ${name} ${problem}`), { entry });
  }

  /**
   * A tensor of a mapped file, which the caller disposes or tracks.
   * @param part which part of the tensor has `shape`, if not all, and as what its elements are seen: as bytes, say
   * @throws {CaracalError} `CHECKPOINT_INVALID` when it is missing or misshapen, or no operation takes its dtype
   */
  map<D extends DType>(
    name: string,
    shape?: Shape,
    part: TensorPart & { readonly dtype?: D } = { index: 0, of: 1 },
  ): Tensor<D> {
    const entry = this.entry(name);
    const viewShape = checkedShape("Weights", shape ?? entry.shape);
    const { index, of, dtype = entry.dtype } = part;
    if (!isDType(dtype)) throw this.invalid(name, `is ${entry.dtype}, which no operation takes`);
    const bytes = elementCount(viewShape) * dtypeBytes[dtype];
    if (of * bytes !== entry.byteLength)
      throw this.invalid(name, `is [${entry.shape}], expected [${of === 1 ? viewShape : [of, ...viewShape]}]`);
    const { file, version } = this.#files.get(entry.file) ?? mapVersion(this.device, entry.file);
    this.#files.set(entry.file, { file, version });
    checkVersion(entry.file, entry.version, version);
    this.use(entry);
    return this.device.mapped(file, entry.offset + index * bytes, viewShape, dtype) as Tensor<DType> as Tensor<D>;
  }

  /**
   * Like `map`, but as the operations take it: f16 becomes f32, which is exact, and takes twice the memory. Call this within
   * a scope.
   */
  numbers<D extends DType>(name: string, shape?: Shape, part?: TensorPart): Tensor<D> {
    const stored = this.map<DType>(name, shape, part);
    return (stored.dtype === "f16" ? cast(stored, "f32") : stored) as Tensor<DType> as Tensor<D>;
  }

  /** What is packed of a matrix or convolution: itself, or rounded to bf16. */
  rounded<D extends DType, S extends Shape>(tensor: Tensor<D, S>): Tensor<D, S> {
    if (this.#options.weightDtype !== "bf16" || tensor.dtype !== "f32") return tensor;
    return cast(tensor as Tensor<DType, S> as Tensor<"f32", S>, "bf16") as Tensor<DType, S> as Tensor<D, S>;
  }

  /** Counts a tensor as loaded. */
  use(entry: TensorEntry): void {
    if (this.#used.has(entry)) return;
    this.#used.add(entry);
    this.#loaded += entry.byteLength;
    this.#last = entry.name;
  }

  /**
   * The packed weight that the store has for these tensors, or `pack()`, which it is given.
   * @param form whatever else decides what is packed
   * @param pack packs and tracks it
   */
  packedOnce<T extends NativeArray>(names: readonly string[], form: unknown, pack: () => T): T {
    const { store } = this;
    if (!store) return pack();
    const key = packedName(names, form);
    const found = this.device.outOfScope(() => store.find(key));
    if (!found) {
      const packed = pack();
      store.keep(key, packed);
      return packed;
    }
    for (const tensor of names.flatMap((name) => [name, ...partsOf(name)])) {
      const entry = this.entries.get(tensor);
      if (entry) this.use(entry);
    }
    return this.track(found) as T;
  }

  /** Keeps a tensor until `dispose`, and lets `settle` wait for it. */
  track<T extends NativeArray>(tensor: T): T {
    this.#made.push(tensor);
    this.#unsettled.push(tensor);
    return tensor;
  }

  /** @throws {CaracalError} as `Weights.settle` */
  async settle(): Promise<void> {
    const { signal, onProgress } = this.#options;
    const [loaded, total, name] = [this.#loaded, this.#total, this.#last];
    throwIfAborted(signal, "loading weights");
    const pending = this.#unsettled.splice(0).filter((tensor) => !tensor.disposed);
    await Promise.all([this.device.synchronize(), ...pending.map((tensor) => tensor.ready())]);
    await this.store?.settle();
    throwIfAborted(signal, "loading weights");
    onProgress?.({ name, loaded, total });
  }

  dispose(): void {
    this.#unsettled.length = 0;
    for (const tensor of this.#made.splice(0)) tensor.dispose();
  }
}

/** The tensors of all parts, by their names. @throws {CaracalError} as `Weights.of` */
export function* namedEntries(parts: WeightParts): Steps<NamedEntries> {
  const entries = new Map<string, TensorEntry>();
  for (const [part, list] of Object.entries(parts)) {
    for (const entry of entriesOf(part, list)) {
      entries.set(part === "" ? entry.name : `${part}.${entry.name}`, entry);
      yield;
    }
  }
  return entries;
}

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
