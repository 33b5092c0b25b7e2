import { existsSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { BoundedFile } from "../../checkpoint/formats/file.js";
import { parseJson } from "../../checkpoint/formats/json.js";
import { CaracalError } from "../../errors.js";
import { aFunction, type OptionRule, optional } from "../../options.js";
import { mapPacked } from "../../tensor/packedFile.js";
import type { PackedWeight } from "../../tensor/packedWeight.js";
import type { Device, MappedFile } from "../../tensor/tensor.js";
import { Turns } from "../../turns.js";
import { madeHere, type PackedHeader, type ReadHeader, readHeader, Unusable } from "./format.js";
import {
  contentDigest,
  type FileIdentity,
  identitiesOf,
  identityOf,
  isSame,
  type NamedEntries,
  type SourceTable,
  sourceFiles,
  sourceTable,
} from "./source.js";
import type { PackedStore } from "./store.js";
import { PackedWriter, type Seen, seenBy, writeSeen } from "./writer.js";

/** What became of the packed weights of a module that was loaded. */
export interface PackedCacheNote {
  /** The file that holds the packed weights, or would. */
  readonly file: string;
  /** `mapped` from the file; `written` to it by this load, and then mapped; or `packed` into memory, without the file. */
  readonly outcome: "mapped" | "written" | "packed";
  /** Why the weights were not simply mapped. */
  readonly reason?: string;
  /** The size of the file, if it is mapped. */
  readonly bytes?: number;
}

/** What became of the packed weights of a module of a model. */
export interface OmniPackedCacheNote extends PackedCacheNote {
  readonly module: string;
}

/** Options of loading with packed weights in files. */
export interface PackedCacheOptions {
  /**
   * Files of packed weights, which processes share and which make loading a matter of opening a file: on CPU devices
   * only. They take as much disk space as the weights, so nothing writes them unasked. By default a model's are used if
   * they are beside it, as `caracal pack` writes them; with `true` they are also written there, if they are missing or
   * no longer those of the checkpoint; with the path of a folder, read from and written to that folder; with `false`,
   * not used. The environment variable `CARACAL_PACKED_CACHE` gives a folder where this is undefined.
   */
  readonly packedCache?: boolean | string | undefined;
  /** Receives what became of them, once for each module that is loaded. */
  readonly onPackedCache?: ((note: PackedCacheNote) => void) | undefined;
}

const isFolder = (value: unknown): boolean => typeof value === "string" && value !== "" && !value.includes("\0");
/** @internal */
export const packedCacheOptions = {
  packedCache: optional({
    accepts: (value) => typeof value === "boolean" || isFolder(value),
    expected: "true, false or the path of a folder",
  }),
  onPackedCache: optional(aFunction),
} satisfies Record<keyof PackedCacheOptions, OptionRule>;

/** @internal The name of the folder of packed weights beside a checkpoint. */
export const packedFolder = "caracal-packed";

/** What a `PackedCache` is for. */
interface Load extends PackedCacheOptions {
  readonly device: Device;
  /** What is packed of f32, if not f32: it has a file of its own. */
  readonly weightDtype?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @internal The file of the packed weights of one module, which may not exist yet. */
export class PackedCache {
  readonly path: string;
  readonly mayWrite: boolean;
  readonly #table: SourceTable;
  readonly #bytes: number;
  readonly #device: Device;
  readonly #signal: AbortSignal | undefined;

  private constructor(path: string, mayWrite: boolean, table: SourceTable, bytes: number, load: Load) {
    this.path = path;
    this.mayWrite = mayWrite;
    this.#table = table;
    this.#bytes = bytes;
    this.#device = load.device;
    this.#signal = load.signal;
  }

  /** The cache that the options ask for; undefined if they ask for none, or the device cannot use it. */
  static async of(entries: NamedEntries, load: Load): Promise<PackedCache | undefined> {
    const {
      packedCache = process.env.CARACAL_PACKED_CACHE || undefined,
      device,
      signal,
      weightDtype = "stored",
    } = load;
    const first = entries.values().next().value?.file;
    if (packedCache === false || first === undefined || device.backend !== "cpu") return undefined;
    const isGiven = typeof packedCache === "string";
    const folder = resolve(isGiven ? packedCache : join(dirname(first), packedFolder));
    if (packedCache === undefined && !existsSync(folder)) return undefined;
    const table = await new Turns("reading packed weights", signal).during(sourceTable(entries, folder, weightDtype));
    const path = join(folder, `${basename(first, extname(first))}-${table.digest.slice(0, 16)}.packed`);
    const bytes = [...entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return new PackedCache(path, packedCache !== undefined, table, bytes, load);
  }

  /**
   * Opens the file.
   * @throws {Unusable} with the reason when it is missing, damaged, or not made from what the checkpoint is now;
   *   {CaracalError} `ABORTED`, `IO_ERROR` when the checkpoint cannot be read or is not the one whose headers were read
   */
  async open(): Promise<PackedStore> {
    if (!existsSync(this.path)) throw new Unusable("there is none");
    const before = await identityOf(this.path);
    const found = await readHeader(this.path);
    const { owners } = await sourceFiles(this.#table);
    if (!owners.has(found.owner)) throw new Unusable(`it belongs to user ${found.owner}, whom the checkpoint does not`);
    const { made, table } = found.header;
    const here = madeHere();
    if (!isSame(made, here)) throw new Unusable(`it was made by ${JSON.stringify(made)}, not ${JSON.stringify(here)}`);
    if (table !== this.#table.digest) throw new Unusable("it was made from other tensors");
    const file = this.#device.mapFile(this.path);
    if (!isSame(await identityOf(this.path), before)) throw new Unusable("it was replaced meanwhile");
    const packed = new MappedWeights(this.#device, file, found.header);
    packed.check();
    await this.#checkContents(found, before, owners);
    return packed;
  }

  /**
   * Writes the file.
   * @param fill loads the module with a store, and frees it
   * @throws {Unusable} with the reason when it cannot be written; the errors of `fill`; {CaracalError} `ABORTED`
   */
  async write(fill: (store: PackedStore) => Promise<void>): Promise<void> {
    const { files, digest } = this.#table;
    const writer = await PackedWriter.create(this.path, this.#bytes, await sourceFiles(this.#table));
    try {
      const before = await identitiesOf(files);
      await fill(writer);
      const contents = await this.#contents();
      if (!isSame(await identitiesOf(files), before)) throw new Unusable("the checkpoint changed meanwhile");
      await writer.finish(digest, contents, before, this.#signal);
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  /** Files that were seen with these contents are not read again while they are the same files. */
  async #checkContents(found: ReadHeader, packed: FileIdentity, owners: ReadonlySet<number>): Promise<void> {
    const { header, digest, offset } = found;
    const seen: Seen = { digest, identities: [...(await identitiesOf(this.#table.files)), packed] };
    if (isSame(await readSeen(this.path, owners), seen)) return;
    if (!isSame(await this.#contents(), header.contents))
      throw new Unusable("the checkpoint has changed since it was made");
    if ((await contentDigest(this.path, this.#signal, offset)) !== header.payload)
      throw new Unusable("its weights are damaged");
    const after = await identitiesOf([...this.#table.files, this.path]);
    if (!isSame(after, seen.identities)) throw new Unusable("it, or the checkpoint, changed meanwhile");
    await writeSeen(this.path, seen);
  }

  async #contents(): Promise<string[]> {
    const digests: string[] = [];
    for (const file of this.#table.files) digests.push(await contentDigest(file, this.#signal));
    return digests;
  }
}

const maxSeenBytes = 16 << 20;

/** What the note says; undefined when there is none, or none that one of these users wrote. */
async function readSeen(path: string, owners: ReadonlySet<number>): Promise<unknown> {
  try {
    return await BoundedFile.use(seenBy(path), async (file) => {
      if (file.size > maxSeenBytes || !owners.has(file.owner)) return undefined;
      return await parseJson(await file.text(0, file.size, "the note"), seenBy(path));
    });
  } catch (error) {
    if (error instanceof CaracalError) return undefined;
    throw error;
  }
}

class MappedWeights implements PackedStore {
  readonly #device: Device;
  readonly #file: MappedFile;
  readonly #weights: PackedHeader["weights"];

  constructor(device: Device, file: MappedFile, { weights }: PackedHeader) {
    this.#device = device;
    this.#file = file;
    this.#weights = weights;
  }

  /** @throws {Unusable} when a weight is not one, or not in the file */
  check(): void {
    for (const name of Object.keys(this.#weights)) {
      try {
        this.find(name)?.dispose();
      } catch (error) {
        throw new Unusable(`${name}: ${(error as Error).message}`);
      }
    }
  }

  find(name: string): PackedWeight | undefined {
    if (!Object.hasOwn(this.#weights, name)) return undefined;
    const record = this.#weights[name]!;
    return mapPacked(this.#device, this.#file, record.offset, record);
  }

  keep(): void {}

  async settle(): Promise<void> {}
}

/**
 * @internal Loads a module with packed weights from a file if it can be used, and writes it first if that is wanted.
 * @param load loads the module; with a store that takes the weights it packs, the module is of no use
 */
export async function withPackedCache<T extends Disposable>(
  entries: NamedEntries,
  options: Load,
  load: (store?: PackedStore) => Promise<T>,
): Promise<T> {
  const cache = await PackedCache.of(entries, options);
  if (!cache) return await load();
  const { path: file } = cache;
  const note = (outcome: PackedCacheNote["outcome"], reason?: string) => {
    const bytes = outcome === "packed" ? undefined : statSync(file, { throwIfNoEntry: false })?.size;
    const found = { ...(reason !== undefined && { reason }), ...(bytes !== undefined && { bytes }) };
    options.onPackedCache?.({ file, outcome, ...found });
  };
  const loadNoting = async (store: PackedStore | undefined, outcome: PackedCacheNote["outcome"], reason?: string) => {
    const module = await load(store);
    try {
      note(outcome, reason);
    } catch (error) {
      module[Symbol.dispose](); // nobody gets it, since the listener threw
      throw error;
    }
    return module;
  };
  const opened = await reasonOr(() => cache.open());
  if (typeof opened !== "string") return await loadNoting(opened, "mapped");
  let reason = opened;
  if (cache.mayWrite) {
    const written = await reasonOr(async () => {
      await cache.write(async (store) => (await load(store))[Symbol.dispose]());
      return await cache.open();
    });
    if (typeof written !== "string") return await loadNoting(written, "written", opened);
    reason = written;
  }
  return await loadNoting(undefined, "packed", reason);
}

/** What `get` gives, or why it cannot. */
async function reasonOr<T>(get: () => Promise<T>): Promise<T | string> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof Unusable) return error.message;
    if (error instanceof CaracalError && error.code === "IO_ERROR") return error.message;
    throw error;
  }
}
