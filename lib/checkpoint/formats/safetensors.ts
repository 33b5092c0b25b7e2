import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { printable, throwIfAborted } from "../../errors.js";
import { isRecord } from "../../options.js";
import { Turns } from "../../turns.js";
import { elementCount, entryBytes, isKnownDType, type TensorEntry } from "../entry.js";
import { invalid, plural, quote } from "../problems.js";
import { BoundedFile, listDirectory, type OpenOptions, readText } from "./file.js";
import { keysOf, parseJson } from "./json.js";

// Parsed by hand rather than by a library: headers are untrusted, so every bound is checked here, and only offsets are
// needed, since the data is mapped into memory later.

export interface SafetensorsContents {
  /** In the order of their bytes, shard by shard. */
  readonly entries: readonly TensorEntry[];
  /** The `__metadata__` of the file, or of all shards; the first shard that has a key determines its value. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A limit, because parsed JSON takes many times the memory of its text. The full model's header would have 7 MB. */
export const maxHeaderBytes = 16 << 20;
const maxIndexBytes = 16 << 20;

/** The names of dtypes in files are upper-case and separate the parts of small floats: `BF16`, `F8_E4M3`. */
const dtypeName = (name: string) => name.toLowerCase().replaceAll("_", "");

/**
 * Reads the headers, and only the headers, of a `.safetensors` file, of an `*.index.json` and the shards it names, or
 * of a directory that holds either.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when a header deviates from the format (its length, duplicate names,
 *   offsets that overlap, leave gaps or pass the end of the file, a size that is not shape × dtype), when a shard is
 *   missing, or when two shards hold the same tensor; `ABORTED`
 */
export async function openSafetensors(path: string, { signal }: OpenOptions = {}): Promise<SafetensorsContents> {
  const directory = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const file = directory ? await findInDirectory(path) : path;
  return file.endsWith(".json") ? openSharded(file, signal) : openFile(file, signal);
}

async function findInDirectory(directory: string): Promise<string> {
  const names = await listDirectory(directory);
  const preferred = "model.safetensors.index.json";
  if (names.includes(preferred)) return join(directory, preferred);
  for (const ending of [".safetensors.index.json", ".safetensors"]) {
    const found = names.filter((name) => name.endsWith(ending));
    if (found.length === 1) return join(directory, found[0]!);
    if (found.length > 1)
      throw invalid(directory, `several files end in ${ending}; expected one, or a ${preferred} that lists them`);
  }
  throw invalid(directory, `contains neither ${preferred} nor a .safetensors file`);
}

/**
 * The names of all tensors of a directory, as its index gives them: no shard is opened, and any may be absent.
 * @throws {CaracalError} as {@link openSafetensors}
 */
export async function tensorNames(directory: string, { signal }: OpenOptions = {}): Promise<ReadonlySet<string>> {
  const file = await findInDirectory(directory);
  const names = new Set<string>();
  if (!file.endsWith(".json")) {
    for (const { name } of (await openFile(file, signal)).entries) names.add(name);
    return names;
  }
  const turns = new Turns(`reading ${file}`, signal);
  for (const name of keysOf(await readIndex(file))) {
    names.add(name);
    if (turns.due) await turns.next();
  }
  return names;
}

/**
 * Finds some tensors of a directory, opening only the shards that hold them: the others may be absent.
 * @returns those of `names` that exist
 * @throws {CaracalError} as {@link openSafetensors}; `CHECKPOINT_INVALID` with the names of all shards that are missing
 */
export async function findTensors(
  directory: string,
  names: ReadonlySet<string>,
  { signal }: OpenOptions = {},
): Promise<TensorEntry[]> {
  const file = await findInDirectory(directory);
  let shards = [basename(file)];
  if (file.endsWith(".json")) {
    const weightMap = await readIndex(file);
    shards = await shardNames(weightMap, file, names);
    const present = new Set(await listDirectory(directory));
    const missing = shards.filter((shard) => !present.has(shard));
    if (missing.length > 0) throw invalid(directory, `lacks ${missing.join(", ")}; download them`);
  }
  const found: TensorEntry[] = [];
  for (const shard of shards) {
    const { entries } = await openFile(join(directory, shard), signal);
    for (const entry of entries) if (names.has(entry.name)) found.push(entry); // too many for arguments of one call
  }
  return found;
}

async function readIndex(indexFile: string): Promise<Record<string, unknown>> {
  const index = await parseJson(await readText(indexFile, maxIndexBytes), indexFile);
  const weightMap = isRecord(index) ? index.weight_map : undefined;
  if (!isRecord(weightMap)) throw invalid(indexFile, "expected an object with a `weight_map`");
  return weightMap;
}

async function openSharded(indexFile: string, signal: AbortSignal | undefined): Promise<SafetensorsContents> {
  const weightMap = await readIndex(indexFile);
  const entries = new Map<string, TensorEntry>();
  const metadata: Record<string, string> = {};
  const turns = new Turns(`reading ${indexFile}`, signal);
  for (const shard of await shardNames(weightMap, indexFile)) {
    const contents = await openFile(join(dirname(indexFile), shard), signal);
    for (const entry of contents.entries) {
      const other = entries.get(entry.name);
      if (other) throw invalid(entry.file, `tensor ${quote(entry.name)} is in ${basename(other.file)} as well`);
      entries.set(entry.name, entry);
    }
    Object.assign(metadata, { ...contents.metadata, ...metadata });
    if (turns.due) await turns.next();
  }
  for (const name of keysOf(weightMap)) {
    const [file, shard] = [entries.get(name)?.file, weightMap[name]];
    if (file === undefined || basename(file) !== shard) {
      throw invalid(indexFile, `maps tensor ${quote(name)} to ${quote(String(shard))}, which does not contain it`);
    }
    if (turns.due) await turns.next();
  }
  return { entries: [...entries.values()], metadata };
}

/** The shards of all tensors, or of `wanted` ones. */
async function shardNames(
  weightMap: Record<string, unknown>,
  indexFile: string,
  wanted?: ReadonlySet<string>,
): Promise<string[]> {
  const names = new Set<unknown>();
  const turns = new Turns(`reading ${indexFile}`);
  for (const tensor of keysOf(weightMap)) {
    if (wanted?.has(tensor) !== false) names.add(weightMap[tensor]);
    if (turns.due) await turns.next();
  }
  for (const name of names) {
    // Only plain names in the same folder are allowed: an index must not be able to open files elsewhere.
    if (typeof name !== "string" || !/^[^/\\\0]+\.safetensors$/.test(name)) {
      throw invalid(indexFile, `names the shard ${quote(String(name))}; expected a .safetensors file beside the index`);
    }
  }
  return [...(names as Set<string>)].sort();
}

function openFile(path: string, signal: AbortSignal | undefined): Promise<SafetensorsContents> {
  throwIfAborted(signal, "opening a checkpoint");
  return BoundedFile.use(path, async (file) => {
    const length = (await file.read(0, 8, "the header length")).readBigUInt64LE();
    if (length > maxHeaderBytes || Number(length) > file.size - 8) {
      throw invalid(
        path,
        `announces a header of ${length} bytes, but the file has ${file.size}: it is truncated or not safetensors`,
      );
    }
    const header = await parseJson(await file.text(8, Number(length), "the header"), path);
    if (!isRecord(header)) throw invalid(path, "expected the header to be a JSON object");
    const metadata = header.__metadata__ ?? {};
    if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
      throw invalid(path, "__metadata__ must map strings to strings");
    }
    const dataStart = 8 + Number(length);
    const entries: TensorEntry[] = [];
    const turns = new Turns(`reading ${path}`);
    for (const name of keysOf(header)) {
      if (name !== "__metadata__") entries.push(parseEntry(file, name, header[name], dataStart));
      if (turns.due) await turns.next();
    }
    await checkCoverage(entries, file, dataStart);
    return { entries, metadata: metadata as Record<string, string> };
  });
}

function parseEntry({ path: file, version }: BoundedFile, name: string, info: unknown, dataStart: number): TensorEntry {
  const fail = (problem: string) => invalid(file, `tensor ${quote(name)}: ${problem}`);
  if (!isRecord(info)) throw fail("its header entry is not an object");
  if (typeof info.dtype !== "string") throw fail(`dtype ${show(info.dtype)} is not a string`);
  const known = isKnownDType(dtypeName(info.dtype));
  const dtype = known ? dtypeName(info.dtype) : printable(info.dtype.slice(0, 32));
  const shape = info.shape;
  if (!isSizes(shape)) throw fail(`shape ${show(shape)} is not a list of whole numbers >= 0`);
  const offsets = info.data_offsets;
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    throw fail(`data_offsets ${show(offsets)} is not [begin, end]`);
  }
  const byteLength = offsets[1]! - offsets[0]!;
  if (!Number.isSafeInteger(elementCount(shape))) throw fail(`shape ${show(shape)} has too many elements`);
  const expected = known ? entryBytes(dtype, shape) : byteLength;
  if (expected !== byteLength) {
    throw fail(`${dtype} [${shape}] takes ${expected} bytes, but its data_offsets span ${byteLength}`);
  }
  return { name, dtype, shape, file, offset: dataStart + offsets[0]!, byteLength, version };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function show(value: unknown): string {
  return quote(JSON.stringify(value) ?? "undefined");
}

/** Checks that the tensors tile the rest of the file: no overlap, no gap, nothing after the last. */
async function checkCoverage(entries: TensorEntry[], file: BoundedFile, dataStart: number): Promise<void> {
  entries.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  const turns = new Turns(`reading ${file.path}`);
  let end = dataStart;
  let before: string | undefined;
  const previous = () => (before === undefined ? "the header" : `tensor ${quote(before)}`);
  for (const { name, offset, byteLength } of entries) {
    if (turns.due) await turns.next();
    const fail = (problem: string) => invalid(file.path, `tensor ${quote(name)} ${problem}`);
    if (offset + byteLength > file.size) {
      throw fail(`ends at byte ${offset + byteLength}, but the file has ${file.size}; download it again`);
    }
    if (offset < end) throw fail(`overlaps ${previous()}`);
    if (offset > end) throw fail(`leaves a gap of ${plural(offset - end, "byte")} after ${previous()}`);
    end = offset + byteLength;
    before = name;
  }
  if (end !== file.size) throw invalid(file.path, `${plural(file.size - end, "stray byte")} after ${previous()}`);
}
