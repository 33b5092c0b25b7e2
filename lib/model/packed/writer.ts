import { constants } from "node:fs";
import { mkdir, open, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { CaracalError } from "../../errors.js";
import { addon, guarded } from "../../native/addon.js";
import { movePacked, packedForm } from "../../tensor/packedFile.js";
import type { NativeArray } from "../../tensor/tensor.js";
import { alignment, digestOf, headerBytes, madeHere, type PackedRecord, Unusable } from "./format.js";
import { contentDigest, type FileIdentity, fileIdentity, type SourceFiles } from "./source.js";
import type { PackedStore } from "./store.js";

/** Where a file is written before it gets its name. */
const partOf = (path: string) => `${path}.part`;
/** The note that says which files, read before, had the contents that the header names. */
export const seenBy = (path: string): string => `${path}.seen`;

/**
 * Writes packed weights to a file, which gets its name once it is complete. It does so under a lock that ends with the
 * process, so that one process at a time writes, and what a killed one left is overwritten by the next.
 */
export class PackedWriter implements PackedStore {
  readonly #path: string;
  readonly #handle: Awaited<ReturnType<typeof open>>;
  readonly #weights: Record<string, PackedRecord> = {};
  readonly #kept: [name: string, weight: NativeArray][] = [];
  #end = 0;

  private constructor(path: string, handle: Awaited<ReturnType<typeof open>>) {
    this.#path = path;
    this.#handle = handle;
  }

  /**
   * @param bytes about how many will be written
   * @throws {Unusable} when the folder cannot be written to, its disk lacks the room, another process is writing, or the
   *   file is one that somebody else put there
   */
  static async create(path: string, bytes: number, { owners, mode }: SourceFiles): Promise<PackedWriter> {
    return await asUnusable(async () => {
      await mkdir(dirname(path), { recursive: true });
      const { bavail, bsize } = await statfs(dirname(path));
      if (bavail * bsize < bytes)
        throw new Unusable(`its disk has ${bavail * bsize} bytes left, but it needs ${bytes}`);
      // Without O_TRUNC, because another process may be writing the file. In a folder that everyone can write to, the
      // name may be a link to a file of ours that is to be overwritten, or a file of somebody who goes on writing to it.
      const handle = await open(partOf(path), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, mode);
      try {
        const { uid, nlink } = await handle.stat();
        if (!owners.has(uid) || nlink > 1) throw new Unusable(`somebody else put ${partOf(path)} there`);
        const lock = guarded(() => addon().lockFile(handle.fd));
        if (lock === "held") throw new Unusable("another process is writing it");
        if (lock === "unsupported") throw new Unusable("its file system has no locks");
        // The file may have got its name between our open and our lock.
        const [opened, named] = [await handle.stat(), await stat(partOf(path)).catch(() => undefined)];
        if (opened.ino !== named?.ino) throw new Unusable("another process has just written it");
        await handle.truncate(0);
        return new PackedWriter(path, handle);
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  find(): undefined {}

  keep(name: string, weight: NativeArray): void {
    this.#kept.push([name, weight]);
  }

  /** Moves the weights kept so far to the file. @throws {Unusable} when the disk is full or fails */
  async settle(): Promise<void> {
    for (const [name, weight] of this.#kept.splice(0)) {
      const offset = Math.ceil(this.#end / alignment) * alignment;
      const form = packedForm(weight);
      await asUnusable(() => movePacked(weight, this.#handle.fd, offset));
      this.#weights[name] = { ...form, offset };
      this.#end = offset + form.bytes;
    }
  }

  /**
   * Completes the file and gives it its name.
   * @param identities those of the sources that have the `contents`
   * @throws {Unusable} when the disk is full or fails; {CaracalError} `ABORTED`
   */
  async finish(
    table: string,
    contents: readonly string[],
    identities: readonly FileIdentity[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const start = Math.ceil(this.#end / alignment) * alignment;
    await asUnusable(async () => {
      await this.#handle.truncate(start);
      const payload = await contentDigest(partOf(this.#path), signal, start);
      const bytes = headerBytes({ made: madeHere(), table, contents, payload, weights: this.#weights }, start);
      await this.#handle.write(bytes, 0, bytes.length, start);
      await this.#handle.sync();
      await rename(partOf(this.#path), this.#path);
      // Renaming has changed the time of change.
      const packed = fileIdentity(await this.#handle.stat({ bigint: true }));
      await this.#handle.close();
      await writeSeen(this.#path, { digest: digestOf(bytes), identities: [...identities, packed] });
    });
  }

  /** Removes what was written. */
  async abandon(): Promise<void> {
    await rm(partOf(this.#path), { force: true }).catch(() => {});
    await this.#handle.close().catch(() => {});
  }
}

/** What a note says: the SHA-256 of the header, and the identities of its sources and of the packed file, the last one. */
export interface Seen {
  readonly digest: string;
  readonly identities: readonly FileIdentity[];
}

/** Notes the identities of files whose contents were read, if the folder can be written to. */
export async function writeSeen(path: string, seen: Seen): Promise<void> {
  const part = `${seenBy(path)}.${process.pid}.${performance.now()}`;
  try {
    await writeFile(part, JSON.stringify(seen), { flag: "wx" });
    await rename(part, seenBy(path));
  } catch {
    await rm(part, { force: true }).catch(() => {});
  }
}

async function asUnusable<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (error instanceof CaracalError && error.code === "IO_ERROR") throw new Unusable(error.message);
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof CaracalError || error instanceof Unusable || code === undefined) throw error;
    throw new Unusable(`it cannot be written (${code})`);
  }
}
