// Writes GGUF files, version 3, the format of llama.cpp's models: a header of typed metadata, a table of tensors, then their
// data, aligned to 32 bytes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { elementCount } from "../../lib/checkpoint/entry.js";
import { OutputFile } from "../../lib/synth/writer.js";

/** ggml's tensor types: the number in files, and how many values share a block of how many bytes. */
export const ggmlTypes = {
  f32: { id: 0, values: 1, bytes: 4 },
  q4_0: { id: 2, values: 32, bytes: 18 },
  q8_0: { id: 8, values: 32, bytes: 34 },
  q4_k: { id: 12, values: 256, bytes: 144 },
  bf16: { id: 30, values: 1, bytes: 2 },
} as const;
export type GgmlType = keyof typeof ggmlTypes;

/** A tensor's place in the table. `shape` is in ggml's order: the contiguous dimension, a matrix's inputs, first. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgmlType;
}

/** A typed value of the metadata. */
export type GgufValue =
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly bool: boolean }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly f32s: Float32Array }
  | { readonly i32s: Int32Array };

export type GgufMetadata = Readonly<Record<string, GgufValue>>;

const alignment = 32;

/** Bytes of a tensor's data. */
export function ggufBytes({ shape, type }: GgufTensor): number {
  const { values, bytes } = ggmlTypes[type];
  return (elementCount(shape) / values) * bytes;
}

/**
 * Writes a model.
 * @param contents the bytes of a tensor in chunks
 * @param onBytes called with the bytes of each chunk; what it throws ends the writing
 * @throws {CaracalError} `IO_ERROR`
 */
export async function writeGguf<T extends GgufTensor>(
  path: string,
  metadata: GgufMetadata,
  tensors: readonly T[],
  contents: (tensor: T) => Iterable<Uint8Array>,
  onBytes: (bytes: number) => void = () => {},
): Promise<void> {
  await OutputFile.use(path, async (file) => {
    await file.write(header(metadata, tensors));
    await pad(file);
    for (const tensor of tensors) {
      for (const bytes of contents(tensor)) {
        await file.write(bytes);
        onBytes(bytes.length);
      }
      await pad(file);
    }
  });
}

const aligned = (bytes: number) => Math.ceil(bytes / alignment) * alignment;

const pad = (file: OutputFile) => file.write(Buffer.alloc(aligned(file.position) - file.position));

function header(metadata: GgufMetadata, tensors: readonly GgufTensor[]): Buffer {
  const pairs = Object.entries(metadata);
  let offset = 0;
  const table = tensors.map((tensor) => {
    const { name, shape, type } = tensor;
    const entry = [string(name), u32(shape.length), ...shape.map(u64), u32(ggmlTypes[type].id), u64(offset)];
    offset = aligned(offset + ggufBytes(tensor));
    return Buffer.concat(entry);
  });
  return Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensors.length),
    u64(pairs.length),
    ...pairs.map(([key, value]) => Buffer.concat([string(key), encode(value)])),
    ...table,
  ]);
}

/** The numbers of the metadata's types. */
const valueTypes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };

function encode(value: GgufValue): Buffer {
  if ("u32" in value) return Buffer.concat([u32(valueTypes.u32), u32(value.u32)]);
  if ("f32" in value) return Buffer.concat([u32(valueTypes.f32), raw(Float32Array.of(value.f32))]);
  if ("bool" in value) return Buffer.concat([u32(valueTypes.bool), Buffer.of(value.bool ? 1 : 0)]);
  if ("string" in value) return Buffer.concat([u32(valueTypes.string), string(value.string)]);
  const array = (type: number, length: number, items: Buffer) =>
    Buffer.concat([u32(valueTypes.array), u32(type), u64(length), items]);
  if ("strings" in value)
    return array(valueTypes.string, value.strings.length, Buffer.concat(value.strings.map(string)));
  if ("f32s" in value) return array(valueTypes.f32, value.f32s.length, raw(value.f32s));
  return array(valueTypes.i32, value.i32s.length, raw(value.i32s));
}

const raw = (values: Float32Array | Int32Array): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
