import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { goldenPath } from "../support/golden.js";

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A change to the header of a golden file, or to the bytes of one of its tensors. */
export interface Change {
  readonly header?: (header: Record<string, unknown>) => void;
  readonly tensor?: string;
  readonly bytes?: (data: Buffer) => void;
}

let next = 0;

/** Writes a changed copy of a golden file into `folder`, and returns its path. */
export function alteredGolden(folder: string, name: string, { header: edit, tensor, bytes }: Change): string {
  const file = readFileSync(goldenPath(name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
  const data = Buffer.from(file.subarray(8 + headerBytes));
  if (tensor !== undefined) {
    const [start, end] = (header[tensor] as Entry).data_offsets;
    bytes!(data.subarray(start, end));
  }
  edit?.(header);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, `${next++}-${name}.safetensors`);
  writeFileSync(path, Buffer.concat([size, text, data]));
  return path;
}
