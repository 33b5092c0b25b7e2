import { Turns } from "../../turns.js";
import { invalid, quote } from "../problems.js";
import type { BoundedFile } from "./file.js";

// Parsed by hand rather than by a library: tensors are mapped straight from the archive, so only the byte offset of each
// record's data is needed, with every bound checked; the contents are never read.

/** A file inside a zip archive, stored without compression. */
export interface ZipRecord {
  readonly name: string;
  readonly size: number;
  readonly headerOffset: number;
  /** The start of the next record's header or of the central directory: the data must end before it. */
  readonly limit: number;
}

/** A file for each storage; the largest published archive has a few thousand. */
const maxRecords = 1 << 16;
const endBytes = 22;
const localBytes = 30;
const centralBytes = 46;
const maxCentralBytes = 1 << 10;
const signature = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 };

/**
 * Reads the central directory of a zip archive (zip64 included) whose records are all stored, as `torch.save` writes
 * them.
 * @throws {CaracalError} `CHECKPOINT_INVALID` for compressed or encrypted records, duplicate names, and anything that
 *   is out of bounds
 */
export async function readZipDirectory(file: BoundedFile): Promise<Map<string, ZipRecord>> {
  const { offset, size, count, end } = await findDirectory(file);
  if (offset + size !== end)
    throw invalid(file.path, "damaged zip: the central directory does not end where it should");
  if (count > maxRecords) throw invalid(file.path, `has ${count} zip records; expected at most ${maxRecords}`);
  if (size > count * maxCentralBytes) throw invalid(file.path, `damaged zip: ${count} records in ${size} bytes`);
  const bytes = await file.read(offset, size, "the zip directory");
  const records: Omit<ZipRecord, "limit">[] = [];
  const turns = new Turns(`reading ${file.path}`);
  let position = 0;
  while (position < size) {
    if (turns.due) await turns.next();
    const { record, next } = parseCentral(file, bytes, position);
    records.push(record);
    position = next;
  }
  if (records.length !== count) {
    throw invalid(file.path, `damaged zip: ${records.length} records, but the directory announces ${count}`);
  }
  return withLimits(file, records, offset);
}

/** The first byte of a record's data, found through its local header, which may contain padding. */
export async function locateData(file: BoundedFile, record: ZipRecord): Promise<number> {
  const header = await file.read(record.headerOffset, localBytes, `the header of ${quote(record.name)}`);
  if (header.readUInt32LE(0) !== signature.local || header.readUInt16LE(8) !== 0) {
    throw invalid(file.path, `damaged zip: no stored record ${quote(record.name)} at byte ${record.headerOffset}`);
  }
  const nameBytes = header.readUInt16LE(26);
  const name = await file.read(record.headerOffset + localBytes, nameBytes, `the name of ${quote(record.name)}`);
  if (name.toString() !== record.name)
    throw invalid(file.path, `damaged zip: the two headers of ${quote(record.name)} disagree about its name`);
  const offset = record.headerOffset + localBytes + nameBytes + header.readUInt16LE(28);
  if (offset + record.size > record.limit)
    throw invalid(file.path, `damaged zip: ${quote(record.name)} overlaps the next record`);
  return offset;
}

interface DirectoryLocation {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
  /** The start of the end-of-directory records, which follow the directory. */
  readonly end: number;
}

async function findDirectory(file: BoundedFile): Promise<DirectoryLocation> {
  const tailBytes = Math.min(file.size, endBytes + 0xffff); // the archive comment has at most 65535 bytes
  const tailOffset = file.size - tailBytes;
  const tail = await file.read(tailOffset, tailBytes, "the end of the zip");
  for (let at = tailBytes - endBytes; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== signature.end || at + endBytes + tail.readUInt16LE(at + 20) !== tailBytes) continue;
    const location = {
      count: tail.readUInt16LE(at + 10),
      size: tail.readUInt32LE(at + 12),
      offset: tail.readUInt32LE(at + 16),
      end: tailOffset + at,
    };
    const is64 = at >= 20 && tail.readUInt32LE(at - 20) === signature.locator64;
    return is64 ? findDirectory64(file, tail.subarray(at - 20, at)) : location;
  }
  throw invalid(file.path, "truncated or not a zip archive: no end-of-directory record");
}

async function findDirectory64(file: BoundedFile, locator: Buffer): Promise<DirectoryLocation> {
  const end = wide(file, locator, 8);
  const record = await file.read(end, 56, "the zip64 end-of-directory record");
  if (record.readUInt32LE(0) !== signature.end64)
    throw invalid(file.path, "damaged zip: no zip64 record where expected");
  return { count: wide(file, record, 32), size: wide(file, record, 40), offset: wide(file, record, 48), end };
}

/** Reads a 64-bit offset or size, which cannot exceed the size of the file. */
function wide(file: BoundedFile, bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > file.size) throw invalid(file.path, `damaged zip: ${value} is beyond the file's ${file.size} bytes`);
  return Number(value);
}

function parseCentral(file: BoundedFile, bytes: Buffer, at: number) {
  if (at + centralBytes > bytes.length || bytes.readUInt32LE(at) !== signature.central) {
    throw invalid(file.path, `damaged zip: no directory entry at byte ${at} of the directory`);
  }
  const nameEnd = at + centralBytes + bytes.readUInt16LE(at + 28);
  const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
  const next = extraEnd + bytes.readUInt16LE(at + 32);
  if (next > bytes.length)
    throw invalid(file.path, "damaged zip: a directory entry extends past the end of the directory");
  const name = bytes.toString("utf8", at + centralBytes, nameEnd);
  const fail = (problem: string) => invalid(file.path, `zip record ${quote(name)} ${problem}`);
  if (bytes.readUInt16LE(at + 8) & 1) throw fail("is encrypted");
  const method = bytes.readUInt16LE(at + 10);
  if (method !== 0) throw fail(`is compressed (method ${method}); expected it stored, as torch.save writes it`);
  const fields = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
  const [size, compressed, headerOffset] = widen(file, fields, bytes.subarray(nameEnd, extraEnd));
  if (size !== compressed) throw fail(`is stored, but its two sizes differ: ${size} and ${compressed}`);
  return { record: { name, size: size!, headerOffset: headerOffset! }, next };
}

/** Replaces each field that is 0xffffffff with the next value of the zip64 extra field, as the format prescribes. */
function widen(file: BoundedFile, fields: number[], extra: Buffer): number[] {
  if (!fields.includes(0xffffffff)) return fields;
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    const values = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2));
    let used = 0;
    return fields.map((field) => {
      if (field !== 0xffffffff) return field;
      if (used + 8 > values.length) throw invalid(file.path, "damaged zip: a zip64 size is missing");
      used += 8;
      return wide(file, values, used - 8);
    });
  }
  throw invalid(file.path, "damaged zip: the zip64 sizes are missing");
}

function withLimits(file: BoundedFile, records: Omit<ZipRecord, "limit">[], end: number): Map<string, ZipRecord> {
  const byName = new Map<string, ZipRecord>();
  records.sort((a, b) => a.headerOffset - b.headerOffset);
  records.forEach((record, i) => {
    const limit = records[i + 1]?.headerOffset ?? end;
    const minEnd = record.headerOffset + localBytes + Buffer.byteLength(record.name) + record.size;
    if (minEnd > limit) throw invalid(file.path, `damaged zip: ${quote(record.name)} extends past byte ${limit}`);
    if (byName.has(record.name)) throw invalid(file.path, `zip record ${quote(record.name)} appears twice`);
    byName.set(record.name, { ...record, limit });
  });
  return byName;
}
