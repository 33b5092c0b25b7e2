import { createHash, webcrypto } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { relative } from "node:path";
import type { TensorEntry } from "../../checkpoint/entry.js";
import { checkVersion, fileVersion } from "../../checkpoint/formats/file.js";
import { CaracalError, throwIfAborted } from "../../errors.js";
import type { Steps } from "../../turns.js";

/** Tensors by the names that the loader gives them. */
export type NamedEntries = ReadonlyMap<string, TensorEntry>;

/** The tensors that weights are packed from. */
export interface SourceTable {
  /** The files that hold them, in the order of their first tensors. */
  readonly files: readonly string[];
  /** Those that the files had when their headers were read, as `fileVersion`, if that is known. */
  readonly versions: readonly (string | undefined)[];
  /** SHA-256 of what f32 is packed as, and all names, dtypes, shapes and places, with files relative to `folder`. */
  readonly digest: string;
}

export function* sourceTable(entries: NamedEntries, folder: string, weightDtype: string): Steps<SourceTable> {
  const hash = createHash("sha256").update(`${weightDtype}\n`);
  const files = new Map<string, { readonly path: string; readonly version: string | undefined }>();
  for (const [name, { dtype, shape, file, offset, byteLength, version }] of entries) {
    const { path } = files.get(file) ?? { path: relative(folder, file) };
    if (!files.has(file)) files.set(file, { path, version });
    hash.update(`${JSON.stringify([name, dtype, shape, path, offset, byteLength])}\n`);
    yield;
  }
  const versions = [...files.values()].map(({ version }) => version);
  return { files: [...files.keys()], versions, digest: hash.digest("hex") };
}

/** What is to be known of the files of a table before packed weights are used or written. */
export interface SourceFiles {
  /** Users who may give a checkpoint its weights, and so packed ones too: this process's, root, the files' owners. */
  readonly owners: ReadonlySet<number>;
  /** Permissions that all of the files have: packed weights are no less secret than the checkpoint. */
  readonly mode: number;
}

/**
 * Looks at the files of a table.
 * @throws {CaracalError} `IO_ERROR` when one is missing, or not the one whose header was read
 */
export async function sourceFiles({ files, versions }: SourceTable): Promise<SourceFiles> {
  const owners = new Set([0, process.geteuid?.() ?? 0]);
  let mode = 0o666;
  for (const [i, file] of files.entries()) {
    const found = await statOf(file);
    checkVersion(file, versions[i], fileVersion(found));
    owners.add(Number(found.uid));
    mode &= Number(found.mode);
  }
  return { owners, mode: mode | 0o600 };
}

/**
 * Says that a file is the one that was seen before, unread since: nobody can set `ctimeNs`, so a file that was written,
 * or put in the place of another one, has another identity even if its size and modification time were made equal.
 */
export interface FileIdentity {
  readonly size: string;
  readonly ino: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

export const fileIdentity = ({ size, ino, mtimeNs, ctimeNs }: BigIntStats): FileIdentity => ({
  ...{ size: `${size}`, ino: `${ino}`, mtimeNs: `${mtimeNs}`, ctimeNs: `${ctimeNs}` },
});

/** @throws {CaracalError} `IO_ERROR` */
export const identityOf = async (path: string): Promise<FileIdentity> => fileIdentity(await statOf(path));

async function statOf(path: string): Promise<BigIntStats> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    throw new CaracalError("IO_ERROR", `${path}: cannot be read`, { file: path }, { cause: error });
  }
}

export const identitiesOf = (paths: readonly string[]): Promise<FileIdentity[]> => Promise.all(paths.map(identityOf));

export const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const pieceBytes = 4 << 20;
/** Pieces that are read and hashed at the same time. */
const pieces = 4;

/**
 * SHA-256 of the SHA-256 of each 4 MiB of a file. Reading and hashing are done by the threads of libuv, at 1.5 GB/s each.
 * @param end the bytes to read, if not all
 * @throws {CaracalError} `IO_ERROR`, `ABORTED`
 */
export async function contentDigest(path: string, signal: AbortSignal | undefined, end?: number): Promise<string> {
  try {
    const handle = await open(path);
    try {
      const size = end ?? (await handle.stat()).size;
      const digests: Buffer[] = [];
      const digestFrom = async (first: number) => {
        const buffer = Buffer.allocUnsafe(pieceBytes);
        for (let i = first; i * pieceBytes < size; i += pieces) {
          throwIfAborted(signal, "reading a checkpoint");
          const length = Math.min(pieceBytes, size - i * pieceBytes);
          const { bytesRead } = await handle.read(buffer, 0, length, i * pieceBytes);
          digests[i] = Buffer.from(await webcrypto.subtle.digest("SHA-256", buffer.subarray(0, bytesRead)));
        }
      };
      await Promise.all(Array.from({ length: pieces }, (_, first) => digestFrom(first)));
      return createHash("sha256").update(Buffer.concat(digests)).digest("hex");
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof CaracalError) throw error;
    throw new CaracalError("IO_ERROR", `${path}: cannot be read`, { file: path }, { cause: error });
  }
}
