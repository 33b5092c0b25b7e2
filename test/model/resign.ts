import { writeFileSync } from "node:fs";
import { headerBytes, type PackedHeader } from "../../lib/model/packed/format.js";

/** Writes a file of packed weights with another header, and the SHA-256 that belongs to it. */
export function resign(file: string, original: Buffer, change: (header: PackedHeader) => void): void {
  const trailer = original.length - 64;
  const offset = Number(original.readBigUInt64LE(trailer + 16));
  const header = JSON.parse(original.subarray(offset, trailer).toString()) as PackedHeader;
  change(header);
  writeFileSync(file, Buffer.concat([original.subarray(0, offset), headerBytes(header, offset)]));
}
