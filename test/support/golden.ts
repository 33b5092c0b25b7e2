// Reads test/golden/*.safetensors independently of the library's own reader, so that neither can hide a mistake of the
// other.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** `goldenPath("longcat_flash")`, `goldenPath("preprocess.json")` */
export const goldenPath = (name: string): string =>
  fileURLToPath(new URL(`../golden/${name}${name.includes(".") ? "" : ".safetensors"}`, import.meta.url));

export interface GoldenTensor {
  readonly dtype: "F32" | "BF16" | "I32" | "U8";
  readonly shape: number[];
  /** A `Float32Array` for f32 and bf16, an `Int32Array` for i32, a `Uint8Array` for u8. */
  readonly values: Float32Array | Int32Array | Uint8Array;
}

export interface Golden {
  readonly names: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Throws if there is no such tensor. */
  tensor(name: string): GoldenTensor;
  f32(name: string): Float32Array;
  i32(name: string): Int32Array;
}

type Entry = { dtype: GoldenTensor["dtype"]; shape: number[]; data_offsets: [number, number] };

/** `readGolden("longcat_flash")` */
export function readGolden(name: string): Golden {
  const file = readFileSync(goldenPath(name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes)) as Record<string, Entry>;
  const metadata = (header.__metadata__ ?? {}) as unknown as Record<string, string>;
  delete header.__metadata__;
  const tensor = (key: string): GoldenTensor => {
    const entry = header[key];
    if (!entry) throw new Error(`${name} has no ${key}; it has ${Object.keys(header).join(", ")}`);
    const [start, end] = entry.data_offsets;
    const bytes = Uint8Array.from(file.subarray(8 + headerBytes + start, 8 + headerBytes + end));
    return { dtype: entry.dtype, shape: entry.shape, values: decode(entry.dtype, bytes) };
  };
  return {
    names: Object.keys(header),
    config: JSON.parse(metadata.config ?? "{}"),
    metadata,
    tensor,
    f32: (key) => tensor(key).values as Float32Array,
    i32: (key) => tensor(key).values as Int32Array,
  };
}

function decode(dtype: GoldenTensor["dtype"], bytes: Uint8Array): GoldenTensor["values"] {
  const { buffer } = bytes;
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "I32") return new Int32Array(buffer);
  if (dtype === "U8") return bytes;
  const wide = Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16);
  return new Float32Array(wide.buffer);
}
