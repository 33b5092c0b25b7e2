import { basename } from "node:path";
import { crc32 } from "node:zlib";
import { elementCount } from "../checkpoint/entry.js";
import { type RandomTensor, tensorBytes } from "./random.js";
import { OutputFile } from "./writer.js";

// Written by hand rather than by a zip library: torch aligns the data of every record, and the same seed must give the
// same bytes.

const alignment = 64;

type PlainTensor = RandomTensor<"bf16" | "f32">;

/**
 * Writes a state dict of contiguous tensors as `torch.save` does: a zip archive of stored records whose data is aligned
 * to 64 bytes, with `data.pkl` in pickle protocol 2. Without zip64, so only for archives below 4 GiB.
 */
export async function writeTorchArchive(
  path: string,
  tensors: readonly PlainTensor[],
  seed: number,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const root = basename(path, ".pt");
  await OutputFile.use(path, async (file) => {
    const records: StoredRecord[] = [];
    const text = (name: string, bytes: Buffer) => writeRecord(file, `${root}/${name}`, [bytes]);
    records.push(await text("data.pkl", pickleStateDict(tensors)));
    records.push(await text("byteorder", Buffer.from("little")));
    for (const [i, tensor] of tensors.entries()) {
      records.push(await writeRecord(file, `${root}/data/${i}`, tensorBytes(tensor, seed), onBytes));
    }
    records.push(await text("version", Buffer.from("3\n")));
    await writeDirectory(file, records);
  });
}

interface StoredRecord {
  readonly name: Buffer;
  readonly offset: number;
  readonly size: number;
  readonly crc: number;
}

async function writeRecord(
  file: OutputFile,
  name: string,
  pieces: Iterable<Uint8Array>,
  onBytes?: (bytes: number) => void,
): Promise<StoredRecord> {
  const offset = file.position;
  const encoded = Buffer.from(name);
  const padding = paddingAfter(offset + 30 + encoded.length);
  await file.write(Buffer.concat([localHeader(encoded, padding.length, 0, 0), encoded, padding]));
  const start = file.position;
  let crc = 0;
  for (const bytes of pieces) {
    crc = crc32(bytes, crc);
    await file.write(bytes);
    onBytes?.(bytes.length);
  }
  const size = file.position - start;
  await file.patch(localHeader(encoded, padding.length, crc, size), offset);
  return { name: encoded, offset, size, crc };
}

/** An extra field (torch calls it "FB") that moves the data to the next multiple of the alignment. */
function paddingAfter(end: number): Buffer {
  const fill = (alignment - ((end + 4) % alignment)) % alignment;
  const field = Buffer.alloc(4 + fill, "Z");
  field.write("FB");
  field.writeUInt16LE(fill, 2);
  return field;
}

/** Version 2.0, stored, names in UTF-8, and always 1980-01-01, so that the bytes do not depend on the time. */
const common = [20, 1 << 11, 0, 0, 33];

function localHeader(name: Buffer, extra: number, crc: number, size: number): Buffer {
  return packed([0x04034b50], common, [crc, size, size], [name.length, extra]);
}

async function writeDirectory(file: OutputFile, records: readonly StoredRecord[]): Promise<void> {
  const offset = file.position;
  const entries = records.flatMap(({ name, crc, size, offset }) => [
    packed([0x02014b50], [20, ...common], [crc, size, size], [name.length, 0, 0, 0, 0], [0, offset]),
    name,
  ]);
  const bytes = Buffer.concat(entries);
  const end = packed([0x06054b50], [0, 0, records.length, records.length], [bytes.length, offset], [0]);
  await file.write(Buffer.concat([bytes, end]));
}

/** Groups of little-endian numbers, alternately of 32 and 16 bits. */
function packed(...groups: readonly (readonly number[])[]): Buffer {
  const parts = groups.map((numbers, i) => {
    const bytes = Buffer.alloc(numbers.length * (i % 2 ? 2 : 4));
    numbers.forEach((n, k) => {
      if (i % 2) bytes.writeUInt16LE(n, 2 * k);
      else bytes.writeUInt32LE(n, 4 * k);
    });
    return bytes;
  });
  return Buffer.concat(parts);
}

const storageTypes = { bf16: "BFloat16Storage", f32: "FloatStorage" };

/** `OrderedDict(name → torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()))`. */
export function pickleStateDict(tensors: readonly PlainTensor[]): Buffer {
  const emptyDict = [global("collections", "OrderedDict"), ")", "R"];
  const items = tensors.flatMap(({ name, dtype, shape }, i) => [
    text(name),
    global("torch._utils", "_rebuild_tensor_v2"),
    "((",
    text("storage"),
    global("torch", storageTypes[dtype]),
    text(String(i)),
    text("cpu"),
    integer(elementCount(shape)),
    "tQ", // closes the tuple and makes it a persistent id
    integer(0),
    tuple(shape),
    tuple(stridesOf(shape)),
    "\x89", // requires_grad = False
    ...emptyDict, // no backward hooks
    "tR",
  ]);
  const parts = ["\x80\x02", ...emptyDict, "(", ...items, "u."];
  return Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)));
}

function global(module: string, name: string): string {
  return `c${module}\n${name}\n`;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from("X"), packed([bytes.length]), bytes]);
}

/** A `BININT`, or an eight-byte `LONG1` from 2³¹ on. */
function integer(value: number): Buffer {
  if (value < 2 ** 31) return Buffer.concat([Buffer.from("J"), packed([value])]);
  const bytes = Buffer.from("\x8a\x08........", "latin1");
  bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
}

function tuple(values: readonly number[]): Buffer {
  return Buffer.concat([Buffer.from("("), ...values.map(integer), Buffer.from("t")]);
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, i) => elementCount(shape.slice(i + 1)));
}
