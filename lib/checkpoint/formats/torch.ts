import { throwIfAborted } from "../../errors.js";
import { Turns } from "../../turns.js";
import { entryBytes, type TensorEntry } from "../entry.js";
import { invalid, quote } from "../problems.js";
import { BoundedFile, type OpenOptions } from "./file.js";
import { Dict, PickledTensor, type Storage, unpickle } from "./pickle.js";
import { locateData, readZipDirectory, type ZipRecord } from "./zip.js";

const maxPickleBytes = 64 << 20;

/**
 * Finds the tensors of a `.pt` file written by `torch.save` (torch 1.6 or newer: a zip archive), without reading their
 * data. The file's pickle is evaluated by a reader that can only describe tensors ({@link unpickle}). The archive must
 * hold a dict of tensors (a state dict), either directly or under the key `state_dict` or `model`; values that are not
 * tensors are ignored.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the file is no such archive, or when a tensor is not contiguous and
 *   so cannot be mapped into memory; `ABORTED`
 */
export function openTorchArchive(path: string, { signal }: OpenOptions = {}): Promise<TensorEntry[]> {
  throwIfAborted(signal, "opening a checkpoint");
  return BoundedFile.use(path, async (file) => {
    await checkMagic(file);
    const records = await readZipDirectory(file);
    const root = findRoot(records, path);
    const byteOrder = records.get(`${root}byteorder`);
    if (byteOrder && (await readRecord(file, byteOrder)).toString() !== "little") {
      throw invalid(path, "the tensors are not little-endian; save them again on a little-endian machine");
    }
    const turns = new Turns(`reading ${path}`, signal);
    const value = await turns.during(unpickle(await readRecord(file, records.get(`${root}data.pkl`)!), path));
    const locate = storageLocator(file, records, root);
    const entries: TensorEntry[] = [];
    for (const [name, tensor] of tensorsOf(value, path)) {
      entries.push(await toEntry(file, name, tensor, locate));
      if (turns.due) await turns.next();
    }
    return entries;
  });
}

async function checkMagic(file: BoundedFile): Promise<void> {
  const magic = await file.read(0, 4, "the zip header");
  if (magic.readUInt32LE() === 0x04034b50) return;
  const legacy = magic[0] === 0x80; // before torch 1.6, files began with a pickled number
  throw invalid(
    file.path,
    legacy ? "in the legacy torch format; load it and save it again with torch >= 1.6" : "not a torch archive",
  );
}

/** The folder inside the archive, with a trailing slash: torch names it after the file that it first wrote. */
function findRoot(records: Map<string, ZipRecord>, path: string): string {
  const roots = [...records.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (roots.length !== 1)
    throw invalid(path, `contains ${roots.length} data.pkl; expected exactly one, as torch.save writes it`);
  return roots[0]!.slice(0, -"data.pkl".length);
}

async function readRecord(file: BoundedFile, record: ZipRecord): Promise<Buffer> {
  if (record.size > maxPickleBytes) {
    throw invalid(file.path, `${quote(record.name)} has ${record.size} bytes; expected at most ${maxPickleBytes}`);
  }
  return file.read(await locateData(file, record), record.size, quote(record.name));
}

function tensorsOf(value: unknown, path: string): [string, PickledTensor][] {
  if (!(value instanceof Dict)) throw invalid(path, "contains no dict of tensors; save a state_dict");
  const direct = namedTensors(value, path);
  if (direct.length > 0) return direct;
  for (const key of ["state_dict", "model"]) {
    const inner = value.get(key);
    if (inner instanceof Dict) return namedTensors(inner, path);
  }
  return direct;
}

function namedTensors(dict: Dict, path: string): [string, PickledTensor][] {
  const tensors = [...dict].filter((item): item is [unknown, PickledTensor] => item[1] instanceof PickledTensor);
  for (const [name] of tensors) {
    if (typeof name !== "string") throw invalid(path, `the key of a tensor is the number ${name}; expected a string`);
  }
  return tensors as [string, PickledTensor][];
}

type Locate = (storage: Storage, name: string) => Promise<number>;

/** Finds the first byte of a storage. Each record is looked up once. */
function storageLocator(file: BoundedFile, records: Map<string, ZipRecord>, root: string): Locate {
  const found = new Map<string, number>();
  return async (storage, name) => {
    const record = records.get(`${root}data/${storage.key}`);
    const fail = (problem: string) => invalid(file.path, `tensor ${quote(name)}: ${problem}`);
    if (!record) throw fail(`its storage data/${quote(storage.key)} is missing`);
    const expected = entryBytes(storage.dtype, [storage.elements]);
    if (record.size !== expected) {
      throw fail(`its storage has ${record.size} bytes, not ${storage.elements} × ${storage.dtype} = ${expected}`);
    }
    const offset = found.get(storage.key) ?? (await locateData(file, record));
    found.set(storage.key, offset);
    return offset;
  };
}

async function toEntry(
  { path: file, version }: BoundedFile,
  name: string,
  tensor: PickledTensor,
  locate: Locate,
): Promise<TensorEntry> {
  const { storage, shape, strides } = tensor;
  if (!isContiguous(shape, strides)) {
    throw invalid(
      file,
      `tensor ${quote(name)} [${shape}] is not contiguous (strides [${strides}]); call .contiguous() on it before saving`,
    );
  }
  const { dtype } = storage;
  const offset = (await locate(storage, name)) + entryBytes(dtype, [tensor.offset]);
  return { name, dtype, shape, file, offset, byteLength: entryBytes(dtype, shape), version };
}

/** Row-major without gaps. Strides of dimensions of size 1, and all strides of an empty tensor, do not matter. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}
