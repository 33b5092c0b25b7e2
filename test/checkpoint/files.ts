import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { CaracalError } from "../../lib/errors.js";

/** A temporary folder for one test file, removed after its tests. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "caracal-checkpoint-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function writeIn(folder: string, name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Expects `CHECKPOINT_INVALID` with a message that matches every pattern. */
export async function expectInvalid(promise: Promise<unknown>, ...patterns: (RegExp | string)[]): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CaracalError);
  expect((error as CaracalError).code).toBe("CHECKPOINT_INVALID");
  for (const pattern of patterns) expect((error as CaracalError).message).toMatch(pattern);
}

/** A safetensors file with this header, an object or verbatim text, and data. */
export function safetensors(header: object | string, data: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

export interface ZipPart {
  readonly name: string;
  readonly data: Uint8Array;
  readonly method?: number;
  readonly flags?: number;
}

/** A zip archive as torch writes it, with sizes after the data (flag 8), or with `zip64` in 64-bit fields. */
export function zip(parts: readonly ZipPart[], { zip64 = false, comment = "" } = {}): Buffer {
  const chunks: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name, data, method = 0, flags = 8 } of parts) {
    const label = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(flags, 6);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(label.length, 26);
    local.writeUInt16LE(4, 28); // an empty padding field
    chunks.push(local, label, Buffer.from("FB\0\0"), Buffer.from(data));
    central.push(centralEntry(label, data.length, offset, { method, flags, zip64 }));
    offset += 34 + label.length + data.length;
  }
  const directory = Buffer.concat(central);
  return Buffer.concat([...chunks, directory, zipEnd(parts.length, directory.length, offset, zip64, comment)]);
}

function centralEntry(
  label: Buffer,
  size: number,
  offset: number,
  { method, flags, zip64 }: { method: number; flags: number; zip64: boolean },
): Buffer {
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(flags, 8);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(zip64 ? 0xffffffff : size, 20);
  entry.writeUInt32LE(zip64 ? 0xffffffff : size, 24);
  entry.writeUInt16LE(label.length, 28);
  entry.writeUInt16LE(zip64 ? 28 : 0, 30);
  entry.writeUInt32LE(zip64 ? 0xffffffff : offset, 42);
  if (!zip64) return Buffer.concat([entry, label]);
  const extra = Buffer.alloc(28);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  for (const [i, value] of [size, size, offset].entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
  return Buffer.concat([entry, label, extra]);
}

function zipEnd(count: number, size: number, offset: number, zip64: boolean, comment: string): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(zip64 ? 0xffff : count, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : size, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  end.writeUInt16LE(comment.length, 20);
  if (!zip64) return Buffer.concat([end, Buffer.from(comment)]);
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  for (const [i, value] of [count, count, size, offset].entries()) record.writeBigUInt64LE(BigInt(value), 24 + 8 * i);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + size), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([record, locator, end, Buffer.from(comment)]);
}
