import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { TensorEntry } from "../checkpoint/entry.js";
import { asReadError } from "../checkpoint/formats/file.js";
import { copyOthers, findOthers, missingBytes, type Other } from "./others.js";
import { ResumableCheckpoint } from "./resumable.js";
import {
  indexFile,
  indexText,
  safetensorsHead,
  shardName,
  splitIntoShards,
  type TensorHead,
  totalBytes,
} from "./safetensors.js";
import { checkApart, checkSpace } from "./target.js";
import { OutputFile, Progress, type SynthProgress } from "./writer.js";

/** What is written together: tensors of one shard. */
interface Piece {
  readonly outputs: readonly TensorHead[];
}

/** The language model that a directory was made from. */
export interface DerivedFrom {
  readonly directory: string;
  /** Its `config.json`. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** The tensors that are read. */
  readonly entries: readonly TensorEntry[];
}

/** How a directory is derived from another; `R` is what is recorded of its pieces. */
export interface Derivation<P extends Piece, R> {
  /** The options that determine what is written, as text: an interrupted call is only continued with the same. */
  readonly job: Readonly<Record<string, string>>;
  readonly pieces: readonly P[];
  /**
   * Writes a piece: each `put` takes the next bytes of every output.
   * @returns what to record of it
   */
  readonly write: (piece: P, put: (bytes: readonly Uint8Array[]) => Promise<void>) => Promise<readonly R[]>;
  /** The `format` in the metadata of shards: `pt`, or `mlx` as mlx-lm writes. */
  readonly metadata: "pt" | "mlx";
  readonly config: object;
  /** Tells whether something that was read back is what `write` returned. */
  readonly isRecorded: (value: unknown) => value is R;
}

export interface DeriveOptions {
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
}

export interface Derived<R> {
  /** The absolute path. */
  readonly directory: string;
  /** Bytes of the language model's tensors in the source, as far as they are read, and in the target. */
  readonly sourceBytes: number;
  readonly bytes: number;
  /** Shards that an earlier, interrupted call had finished. */
  readonly resumed: number;
  /** What was recorded of the pieces. */
  readonly records: readonly R[];
}

/**
 * Writes a model directory whose language model is made from another one's, a shard of at most 4 GiB at a time, and whose
 * other files are copies. If it is interrupted, the same call goes on after the last complete shard.
 * @throws {CaracalError} `INVALID_ARGUMENT` when `directory` exists and may not be replaced, was begun from another source
 *   or with another job, is being written by another call, or is, contains or lies inside the source; `CHECKPOINT_INVALID` for
 *   links to folders and nowhere among the other files, and what is no regular file; `IO_ERROR`, `ABORTED`
 */
export async function derive<P extends Piece, R>(
  source: DerivedFrom,
  directory: string,
  derivation: Derivation<P, R>,
  options: DeriveOptions,
): Promise<Derived<R>> {
  await checkApart(source.directory, directory);
  const shards = splitIntoShards(derivation.pieces, ({ outputs }) => outputs);
  const heads = shards.map((pieces) => pieces.flatMap(({ outputs }) => outputs));
  const others = await findOthers(source.directory, options.signal);
  await using target = await ResumableCheckpoint.open<readonly R[]>(directory, {
    job: { ...derivation.job, source: await fingerprint(source) },
    force: options.force ?? false,
    isResult: (value) => Array.isArray(value) && value.every(derivation.isRecorded),
  });
  const { records, resumed } = await writeAll(source, target, shards, derivation, others, options);
  await target.finish({ [indexFile]: indexText(heads) }, derivation.config);
  const [sourceBytes, bytes] = [totalBytes(source.entries), totalBytes(heads.flat())];
  return { directory: target.directory, sourceBytes, bytes, resumed, records };
}

/** Tells whether the source is the same as before: the configuration, and names, sizes and times of the shards. */
async function fingerprint({ raw, entries }: DerivedFrom): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(raw));
  for (const file of [...new Set(entries.map(({ file }) => file))].sort()) {
    const { size, mtimeMs } = await stat(file).catch((error) => Promise.reject(asReadError(file, error)));
    hash.update(`\n${basename(file)} ${size} ${mtimeMs}`);
  }
  return hash.digest("hex");
}

async function writeAll<P extends Piece, R>(
  source: DerivedFrom,
  target: ResumableCheckpoint<readonly R[]>,
  shards: readonly (readonly P[])[],
  derivation: Derivation<P, R>,
  others: readonly Other[],
  { signal, onProgress }: DeriveOptions,
): Promise<{ records: R[]; resumed: number }> {
  const sizes = shards.map((pieces) => totalBytes(pieces.flatMap(({ outputs }) => outputs)));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const progress = new Progress(total, onProgress, signal);
  const names = shards.map((_, i) => shardName(i, shards.length));
  const before = await Promise.all(names.map((name) => target.finished(name)));
  const left = sizes.reduce((sum, size, i) => sum + (before[i] ? 0 : size), 0);
  const needed = left + (await missingBytes(others, target.directory));
  await checkSpace(target.directory, needed, "free some, or choose a folder on another disk");
  await copyOthers(source.directory, others, target.directory, signal);
  const records: R[] = [];
  for (const [i, pieces] of shards.entries()) {
    const name = names[i]!;
    const known = before[i];
    if (known) progress.advance(name, sizes[i]!);
    const onBytes = (bytes: number) => progress.advance(name, bytes);
    const write = (path: string) => writeShard(path, pieces, derivation, onBytes);
    const found = known ?? (await target.write(name, write));
    for (const record of found) records.push(record); // too many for arguments of one call
  }
  return { records, resumed: before.filter((record) => record !== undefined).length };
}

async function writeShard<P extends Piece, R>(
  path: string,
  pieces: readonly P[],
  { metadata, write }: Derivation<P, R>,
  onBytes: (bytes: number) => void,
): Promise<R[]> {
  const tensors = pieces.flatMap(({ outputs }) => outputs);
  const { head, positions } = safetensorsHead(path, tensors, { format: metadata });
  const records: R[] = [];
  await OutputFile.use(path, async (file) => {
    await file.write(head);
    for (const piece of pieces) {
      const at = piece.outputs.map(({ name }) => positions.get(name)!);
      const put = async (pieces: readonly Uint8Array[]) => {
        for (const [i, bytes] of pieces.entries()) {
          await file.patch(bytes, at[i]!);
          at[i]! += bytes.length;
          onBytes(bytes.length);
        }
      };
      for (const record of await write(piece, put)) records.push(record);
    }
  });
  return records;
}
