import { join } from "node:path";
import { entryBytes, type TensorEntry } from "../checkpoint/entry.js";
import { maxHeaderBytes } from "../checkpoint/formats/safetensors.js";
import { CaracalError } from "../errors.js";
import { OutputFile, type Progress, writeNew } from "./writer.js";

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
  const shards = splitIntoShards(tensors, (tensor) => [tensor]);
  for (const [i, shard] of shards.entries()) {
    const file = shardName(i, shards.length);
    const metadata = { format: "pt" };
    await writeSafetensors(join(directory, file), shard, metadata, contents, (bytes) => progress.advance(file, bytes));
  }
  await writeNew(join(directory, indexFile), indexText(shards));
}

export const indexFile = "model.safetensors.index.json";

/** The name of shard `i` of `count`. */
export function shardName(i: number, count: number): string {
  const number = (n: number) => String(n).padStart(5, "0");
  return `model-${number(i + 1)}-of-${number(count)}.safetensors`;
}

/** The index of shards that hold these tensors. */
export function indexText(shards: readonly (readonly TensorHead[])[]): string {
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries())
    for (const { name } of shard) weightMap[name] = shardName(i, shards.length);
  const index = { metadata: { total_size: totalBytes(shards.flat()) }, weight_map: weightMap };
  return `${JSON.stringify(index, null, 2)}\n`;
}

export function totalBytes(tensors: readonly TensorHead[]): number {
  return tensors.reduce((bytes, { dtype, shape }) => bytes + entryBytes(dtype, shape), 0);
}

/** Divides items among at least two shards of at most 4 GiB, unless one item is larger. */
export function splitIntoShards<T>(items: readonly T[], tensorsOf: (item: T) => readonly TensorHead[]): T[][] {
  const sizes = items.map((item) => totalBytes(tensorsOf(item)));
  const limit = Math.min(maxShardBytes, Math.ceil(sizes.reduce((sum, bytes) => sum + bytes, 0) / 2));
  const shards: T[][] = [];
  let room = 0;
  for (const [i, item] of items.entries()) {
    if (sizes[i]! > room) {
      shards.push([]);
      room = limit;
    }
    shards.at(-1)!.push(item);
    room -= sizes[i]!;
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
  const { head, sorted } = safetensorsHead(path, tensors, metadata);
  await OutputFile.use(path, async (file) => {
    await file.write(head);
    for (const tensor of sorted) {
      for await (const bytes of contents(tensor)) {
        await file.write(bytes);
        onBytes(bytes.length);
      }
    }
  });
}

/**
 * The beginning of a file, and its tensors in the order of their bytes with the positions of these in the file.
 * @throws {CaracalError} `INVALID_ARGUMENT` for a header that no reader takes
 */
export function safetensorsHead<T extends TensorHead>(
  path: string,
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>>,
): { readonly head: Buffer; readonly sorted: readonly T[]; readonly positions: ReadonlyMap<string, number> } {
  const sorted = [...tensors].sort((a, b) => entryBytes(b.dtype, []) - entryBytes(a.dtype, []));
  const begins = new Map<string, number>();
  let end = 0;
  const entries = sorted.map(({ name, dtype, shape }) => {
    const begin = end;
    begins.set(name, begin);
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
  const head = Buffer.concat([length, header]);
  return { head, sorted, positions: new Map([...begins].map(([name, begin]) => [name, head.length + begin])) };
}
