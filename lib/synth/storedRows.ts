import type { TensorEntry } from "../checkpoint/entry.js";
import { BoundedFile, checkVersion } from "../checkpoint/formats/file.js";

/** Some rows of a tensor of the source: `rows` of its first dimension, beginning with `from`. */
export interface StoredRows {
  readonly entry: TensorEntry;
  readonly from: number;
  readonly rows: number;
}

const chunkBytes = 4 << 20;

/** All rows of a tensor. A scalar is one row. */
export function allRows(entry: TensorEntry): StoredRows {
  return { entry, from: 0, rows: entry.shape[0] ?? 1 };
}

/** The bytes of rows as they are stored, in chunks. Nothing else of the tensor is read. */
export async function* storedBytes({ entry, from, rows }: StoredRows): AsyncGenerator<Uint8Array> {
  const row = rowBytes(entry);
  for (let at = from * row; at < (from + rows) * row; at += chunkBytes)
    yield await readBytes(entry, at, Math.min(chunkBytes, (from + rows) * row - at));
}

/** The bytes of rows as they are stored, in one piece. */
export function readStoredRows({ entry, from, rows }: StoredRows): Promise<Uint8Array> {
  const row = rowBytes(entry);
  return readBytes(entry, from * row, rows * row);
}

const rowBytes = ({ byteLength, shape }: TensorEntry): number => byteLength / Math.max(shape[0] ?? 1, 1);

function readBytes(entry: TensorEntry, at: number, length: number): Promise<Uint8Array> {
  return BoundedFile.use(entry.file, (file) => {
    checkVersion(entry.file, entry.version, file.version);
    return file.read(entry.offset + at, length, entry.name);
  });
}
