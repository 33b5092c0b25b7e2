import { randomUUID } from "node:crypto";
import { rename, rm, stat } from "node:fs/promises";
import type { TensorEntry } from "./checkpoint/entry.js";
import { BoundedFile, checkVersion } from "./checkpoint/formats/file.js";
import { openSafetensors } from "./checkpoint/formats/safetensors.js";
import { CaracalError, shown, throwIfAborted } from "./errors.js";
import {
  aString,
  checkedList,
  checkObject,
  checkOption,
  checkOptions,
  checkPath,
  type OptionRule,
  refuseValue,
} from "./options.js";
import { writeSafetensors } from "./synth/safetensors.js";
import { asWriteError } from "./synth/writer.js";
import { deviceRule } from "./tensor/check.js";
import { type DType, dtypeBytes, dtypes, isDType, rawArray } from "./tensor/dtype.js";
import { type Device, disposeAll, Tensor } from "./tensor/tensor.js";
import { elementsOf, pieceElements } from "./tensor/upload.js";

/** Options of `saveTensors`. */
export interface SaveTensorsOptions {
  /** Free text by key, which `loadTensors` returns. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}
const saveTensorsOptions = { metadata: true, signal: true } satisfies Record<keyof SaveTensorsOptions, true>;

/** The name under which the format keeps metadata. */
const metadataName = "__metadata__";

/**
 * Writes tensors to a safetensors file, as they are stored. The file appears complete, in the place of one that was
 * there, or not at all. The tensors must not change until it resolves.
 *
 * @param tensors tensors of any dtype, shape and device, by name
 * @throws {CaracalError} `INVALID_ARGUMENT` for what is not a tensor, the name `__metadata__`, metadata that is not text,
 *   or more than 16 MiB of names and metadata; `IO_ERROR` when the file cannot be written, or the path is that of a
 *   folder or device; `ABORTED`; the errors of reading a tensor, such as `DISPOSED`
 */
export async function saveTensors(
  path: string,
  tensors: Readonly<Record<string, Tensor>>,
  options: SaveTensorsOptions = {},
): Promise<void> {
  checkOptions("saveTensors", options, saveTensorsOptions);
  checkPath("saveTensors", "path", path);
  checkObject("saveTensors", "tensors", tensors);
  const { metadata = {}, signal } = options;
  checkMetadata(metadata);
  const named = Object.entries(tensors).map(([name, tensor]) => {
    if (name === metadataName) refuseValue("saveTensors", "names", `other than ${metadataName}`, name);
    if (!(tensor instanceof Tensor)) refuseValue("saveTensors", `tensors[${shown(name)}]`, "a Tensor", tensor);
    return { name, dtype: tensor.dtype, shape: tensor.shape, tensor };
  });
  const checkAbort = () => throwIfAborted(signal, "saving tensors");
  checkAbort();
  const found = await stat(path).catch(() => undefined);
  if (found && !found.isFile()) {
    const message = `${path}: something else than a regular file has this name; choose another one`;
    throw new CaracalError("IO_ERROR", message, { file: path });
  }
  const partial = `${path}.partial-${randomUUID().slice(0, 8)}`;
  try {
    await writeSafetensors(partial, named, metadata, ({ tensor }) => bytesOf(tensor), checkAbort);
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {}); // the first error counts
    throw asWriteError(path, error);
  }
}

async function* bytesOf(tensor: Tensor): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < tensor.size; at += pieceElements) {
    using piece = elementsOf(tensor, at, Math.min(tensor.size, at + pieceElements));
    const { buffer } = await piece.read();
    yield new Uint8Array(buffer);
  }
}

/** Options of `loadTensors`. */
export interface LoadTensorsOptions {
  /** The device to load the tensors on. */
  readonly device: Device;
  /** Loads these tensors only. Default: all. */
  readonly names?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}
const loadTensorsOptions = { device: deviceRule, names: true, signal: true } satisfies Record<
  keyof LoadTensorsOptions,
  OptionRule | true
>;

/** What `loadTensors` read. */
export interface LoadedTensors {
  /** The tensors by name, in an object without a prototype. `disposeAll` frees them. */
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Loads tensors of a safetensors file into memory of a device; the file may change afterwards. They belong to no
 * `device.scope`.
 *
 * @param path a `.safetensors` file, an `*.index.json` with the shards that it names beside it, or a directory that holds
 *   either
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the file is missing or is not safetensors, `DTYPE_MISMATCH` for a
 *   dtype that no tensor has, `INVALID_ARGUMENT` for a name that the file lacks or an unknown option, `IO_ERROR`,
 *   `OUT_OF_MEMORY`, `ABORTED`; everything loaded so far is freed
 */
export async function loadTensors(path: string, options: LoadTensorsOptions): Promise<LoadedTensors> {
  checkObject("loadTensors", "options", options);
  checkOptions("loadTensors", options, loadTensorsOptions);
  checkPath("loadTensors", "path", path);
  const { device, signal, names } = options;
  const wanted = names === undefined ? undefined : checkedNames(names);
  const { entries, metadata } = await openSafetensors(path, { signal });
  const chosen = wanted ? entriesOf(entries, wanted) : entries;
  for (const { name, dtype, file } of chosen) {
    if (isDType(dtype)) continue;
    const message = `${file}: tensor ${shown(name)} is ${dtype}, which no tensor has; load the others by their names`;
    throw new CaracalError("DTYPE_MISMATCH", message, { name, expected: dtypes, actual: dtype });
  }
  const tensors: Record<string, Tensor> = Object.create(null);
  try {
    for (const path of new Set(chosen.map(({ file }) => file)))
      await BoundedFile.use(path, async (file) => {
        for (const entry of chosen) {
          if (entry.file !== path) continue;
          checkVersion(path, entry.version, file.version);
          const tensor = device.outOfScope(() => device.zeros(entry.shape, entry.dtype as DType));
          tensors[entry.name] = tensor;
          await fill(tensor, file, entry, signal);
        }
      });
  } catch (error) {
    disposeAll(Object.values(tensors));
    throw error;
  }
  return { tensors, metadata };
}

/** Fills a tensor piece by piece, so that neither the file's nor the device's copies take much memory. */
async function fill(tensor: Tensor, file: BoundedFile, entry: TensorEntry, signal: AbortSignal | undefined) {
  const bytesEach = dtypeBytes[tensor.dtype];
  for (let at = 0; at < tensor.size; at += pieceElements) {
    throwIfAborted(signal, "loading tensors");
    const end = Math.min(tensor.size, at + pieceElements);
    const bytes = await file.read(entry.offset + at * bytesEach, (end - at) * bytesEach, `tensor ${shown(entry.name)}`);
    using piece = elementsOf(tensor, at, end);
    piece.write(rawArray(tensor.dtype, new Uint8Array(bytes).buffer));
    await piece.ready();
  }
}

/** The entries of some names, in the file's order. */
function entriesOf(entries: readonly TensorEntry[], wanted: readonly string[]): TensorEntry[] {
  const found = new Map(entries.map((entry) => [entry.name, entry]));
  for (const name of wanted) {
    if (found.has(name)) continue;
    const message = `loadTensors: there is no tensor ${shown(name)} among ${found.size}; inspectPath lists them`;
    throw new CaracalError("INVALID_ARGUMENT", message, { name });
  }
  const chosen = new Set(wanted);
  return entries.filter(({ name }) => chosen.has(name));
}

function checkMetadata(metadata: unknown): void {
  checkObject("saveTensors", "metadata", metadata);
  let characters = 0; // many keys may share one long text
  for (const [key, value] of Object.entries(metadata as object)) {
    if (typeof value !== "string") refuseValue("saveTensors", `metadata[${shown(key)}]`, "a string", value);
    characters += value.length;
    if (characters > maxMetadata) refuseValue("saveTensors", "metadata", "text of at most 16 MiB", metadata);
  }
}

/** More than any header may hold: `safetensorsHead` says how much that is exactly. */
const maxMetadata = 2 ** 25;

/** Ten times the tensors of the largest models. */
const maxTensors = 2 ** 20;

/** Returns a copy of the names. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedNames(names: unknown): string[] {
  const list = checkedList<string>("loadTensors", "names", names, "a list of names", maxTensors);
  list.forEach((name, i) => {
    checkOption("loadTensors", `names[${i}]`, name, aString);
  });
  return list;
}
