import { throwIfAborted } from "../errors.js";
import { entryDTypeBytes, type TensorEntry } from "./entry.js";
import { BoundedFile, invalid, quote } from "./file.js";
import { Dict, PickledTensor, type Storage, unpickle } from "./pickle.js";
import type { OpenOptions } from "./safetensors.js";
import { locateData, readZipDirectory, type ZipRecord } from "./zip.js";

const maxPickleBytes = 64 << 20;

/**
 * Reads which tensors a `.pt` file of `torch.save` (torch 1.6 or newer: a zip archive) holds and where, without
 * reading their data. The file's pickle is evaluated by a reader that can describe tensors and do nothing else
 * ({@link unpickle}). The archive must hold a dict of tensors (a state dict), by itself or one level down as
 * `state_dict` or `model`; values that are not tensors are left out. Throws `CHECKPOINT_INVALID` that names what is
 * wrong, also for a tensor that is not contiguous: such bytes cannot be mapped as they are.
 */
export function openTorchArchive(path: string, { signal }: OpenOptions = {}): Promise<TensorEntry[]> {
  throwIfAborted(signal, "opening a checkpoint");
  return BoundedFile.use(path, async (file) => {
    await checkMagic(file);
    const records = await readZipDirectory(file);
    const root = findRoot(records, path);
    const byteOrder = records.get(`${root}byteorder`);
    if (byteOrder && (await readRecord(file, byteOrder)).toString() !== "little") {
      throw invalid(path, "the tensors are not little-endian; save it again on a little-endian machine");
    }
    const value = unpickle(await readRecord(file, records.get(`${root}data.pkl`)!), path);
    const locate = storageLocator(file, records, root);
    const entries: TensorEntry[] = [];
    for (const [name, tensor] of tensorsOf(value, path)) entries.push(await toEntry(path, name, tensor, locate));
    return entries;
  });
}

async function checkMagic(file: BoundedFile): Promise<void> {
  const magic = await file.read(0, 4, "the zip header");
  if (magic.readUInt32LE() === 0x04034b50) return;
  const legacy = magic[0] === 0x80; // torch.save before 1.6 began with a pickled number
  throw invalid(
    file.path,
    legacy ? "in torch's old format; load and save it with torch >= 1.6" : "not a torch archive",
  );
}

/** The folder inside the archive, with a slash: torch names it after the file it first wrote. */
function findRoot(records: Map<string, ZipRecord>, path: string): string {
  const roots = [...records.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (roots.length !== 1) throw invalid(path, `holds ${roots.length} data.pkl; expected the one of torch.save`);
  return roots[0]!.slice(0, -"data.pkl".length);
}

async function readRecord(file: BoundedFile, record: ZipRecord): Promise<Buffer> {
  if (record.size > maxPickleBytes) throw invalid(file.path, `${quote(record.name)} has ${record.size} bytes`);
  return file.read(await locateData(file, record), record.size, quote(record.name));
}

function tensorsOf(value: unknown, path: string): [string, PickledTensor][] {
  if (!(value instanceof Dict)) throw invalid(path, "does not hold a dict of tensors; save a state_dict");
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
    if (typeof name !== "string") throw invalid(path, `a tensor is named by the number ${name}; expected text`);
  }
  return tensors as [string, PickledTensor][];
}

type Locate = (storage: Storage, name: string) => Promise<number>;

/** Finds the byte where a storage begins; each record is looked up once. */
function storageLocator(file: BoundedFile, records: Map<string, ZipRecord>, root: string): Locate {
  const found = new Map<string, number>();
  return async (storage, name) => {
    const record = records.get(`${root}data/${storage.key}`);
    const fail = (problem: string) => invalid(file.path, `tensor ${quote(name)}: ${problem}`);
    if (!record) throw fail(`its storage data/${quote(storage.key)} is missing`);
    const expected = storage.elements * entryDTypeBytes[storage.dtype];
    if (record.size !== expected) {
      throw fail(`its storage holds ${record.size} bytes, not ${storage.elements} × ${storage.dtype} = ${expected}`);
    }
    const offset = found.get(storage.key) ?? (await locateData(file, record));
    found.set(storage.key, offset);
    return offset;
  };
}

async function toEntry(file: string, name: string, tensor: PickledTensor, locate: Locate): Promise<TensorEntry> {
  const { storage, shape, strides } = tensor;
  if (!isContiguous(shape, strides)) {
    throw invalid(
      file,
      `tensor ${quote(name)} [${shape}] is not contiguous (strides [${strides}]); save it again after .contiguous()`,
    );
  }
  const itemBytes = entryDTypeBytes[storage.dtype];
  const offset = (await locate(storage, name)) + tensor.offset * itemBytes;
  const byteLength = shape.reduce((bytes, size) => bytes * size, itemBytes);
  return { name, dtype: storage.dtype, shape, file, offset, byteLength };
}

/** Row-major without gaps. The stride of a dimension of size 1, and every stride of an empty tensor, is never used. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}
