import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { entryBytes, type TensorEntry } from "../checkpoint/entry.js";
import { maxHeaderBytes } from "../checkpoint/formats/safetensors.js";
import { CaracalError } from "../errors.js";
import { OutputFile, type Progress } from "./writer.js";

const maxShardBytes = 4 * 2 ** 30;

/** What the header of a file says about a tensor. */
export type TensorHead = Pick<TensorEntry, "name" | "dtype" | "shape">;

/** The bytes of a tensor in chunks, each of which may be overwritten by the next. */
type Contents<T> = (tensor: T) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Writes tensors to `directory` as at least two shards, `model-*-of-*.safetensors`, and their index. */
export async function writeShards<T extends TensorHead>(
  directory: string,
  tensors: readonly T[],
  contents: Contents<T>,
  progress: Progress,
): Promise<void> {
  const shards = splitIntoShards(tensors);
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    const metadata = { format: "pt" };
    await writeSafetensors(join(directory, file), shard, metadata, contents, (bytes) => progress.advance(file, bytes));
    for (const { name } of shard) weightMap[name] = file;
  }
  const index = { metadata: { total_size: totalBytes(tensors) }, weight_map: weightMap };
  await writeFile(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
}

export function totalBytes(tensors: readonly TensorHead[]): number {
  return tensors.reduce((bytes, { dtype, shape }) => bytes + entryBytes(dtype, shape), 0);
}

function splitIntoShards<T extends TensorHead>(tensors: readonly T[]): T[][] {
  const limit = Math.min(maxShardBytes, Math.ceil(totalBytes(tensors) / 2));
  const shards: T[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const bytes = entryBytes(tensor.dtype, tensor.shape);
    if (bytes > room) {
      shards.push([]);
      room = limit;
    }
    shards.at(-1)!.push(tensor);
    room -= bytes;
  }
  return shards;
}

/**
 * Writes the wider dtype first and pads the header, so that every tensor is aligned to its item size.
 * @throws {CaracalError} `INVALID_ARGUMENT` for a header that no reader takes
 */
export async function writeSafetensors<T extends TensorHead>(
  path: string,
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>>,
  contents: Contents<T>,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const sorted = [...tensors].sort((a, b) => entryBytes(b.dtype, []) - entryBytes(a.dtype, []));
  let end = 0;
  const entries = sorted.map(({ name, dtype, shape }) => {
    const begin = end;
    end += entryBytes(dtype, shape);
    return [name, { dtype: dtype === "f8e4m3" ? "F8_E4M3" : dtype.toUpperCase(), shape, data_offsets: [begin, end] }];
  });
  const text = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) });
  const bytes = Buffer.byteLength(text);
  const header = Buffer.from(text + " ".repeat(Math.ceil((bytes + 8) / 64) * 64 - 8 - bytes));
  if (header.length > maxHeaderBytes) {
    const message = `${path}: names and metadata take ${header.length} bytes, at most ${maxHeaderBytes} can be read`;
    throw new CaracalError("INVALID_ARGUMENT", message, { bytes: header.length, limit: maxHeaderBytes });
  }
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await OutputFile.use(path, async (file) => {
    await file.write(Buffer.concat([length, header]));
    for (const tensor of sorted) {
      for await (const bytes of contents(tensor)) {
        await file.write(bytes);
        onBytes(bytes.length);
      }
    }
  });
}
