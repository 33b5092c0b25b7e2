import { CaracalError } from "../../errors.js";
import type { Activations } from "../../ops/call.js";
import { copyRows } from "../../ops/rows.js";
import {
  checkedObjects,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  refuseValue,
  wholeNumber,
} from "../../options.js";
import { deviceRule } from "../../tensor/check.js";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.js";
import { CacheBlocks } from "./cacheBlocks.js";
import { cacheFull, checkBlockTable, maxBlocks } from "./cacheLimits.js";
import { type CacheNumbers, type CacheTensors, cacheNumbers, cacheTensors, singleRows } from "./cacheTensors.js";
import { type AppendOptions, appendOptions, type KvCacheOptions, kvCacheOptions } from "./kvCacheOptions.js";

/** New tokens of one sequence. */
export interface NewRows {
  readonly sequence: KvSequence;
  readonly rows: number;
}

/** `CacheTensors` that hold their sequences until disposed. Dispose after queuing the last operation that uses them. */
export interface CacheRows extends CacheTensors, Disposable {}

/**
 * Keys and values of past tokens, in blocks that sequences take as they grow and return when they are truncated or
 * disposed. A block has the same index in the cache of every attention module, so one block table serves all modules.
 *
 * Blocks may be returned while queued operations still read them: operations run in order, so the next owner writes
 * them later.
 */
export class KvCache implements Disposable {
  readonly device: Device;
  readonly blockSize: number;
  /** Capacity in tokens, over all sequences. */
  readonly tokens: number;
  /** One tensor `[blocks, blockSize, width]` per attention module. */
  readonly modules: readonly Tensor<Activations>[];
  /** @internal */
  readonly blocks: CacheBlocks;

  /**
   * The memory is allocated by queued operations; `ready` waits for them.
   * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown, a size is not a positive integer, or there are
   *   more than 2^26 blocks;
   *   `OUT_OF_MEMORY` when the device can never hold a module's rows
   */
  constructor(device: Device, options: KvCacheOptions) {
    checkOption("KvCache", "device", device, deviceRule);
    checkOptions("KvCache", options, kvCacheOptions);
    const { modules, width, tokens, blockSize = 64, dtype = "f32" } = options;
    const blocks = Math.ceil(tokens / blockSize);
    if (blocks > maxBlocks.cache)
      refuseValue("KvCache", "tokens", `at most ${maxBlocks.cache} blocks of ${blockSize} (blockSize)`, tokens);
    this.device = device;
    this.blockSize = blockSize;
    this.tokens = blocks * blockSize;
    this.blocks = new CacheBlocks(blocks);
    this.modules = device.scope(() =>
      Array.from({ length: modules }, () => device.zeros([blocks, blockSize, width], dtype)),
    );
  }

  /** Waits until the cache has its memory. @throws {CaracalError} `OUT_OF_MEMORY` when the device has too little */
  async ready(): Promise<void> {
    await Promise.all(this.modules.map((module) => module.ready()));
  }

  /** Tokens in blocks that no sequence holds, the cached ones included. */
  get freeTokens(): number {
    return this.blocks.free * this.blockSize;
  }

  /** Tokens in free blocks whose rows are kept, for sequences that begin with the same rows, until the room is needed. */
  get cachedTokens(): number {
    return this.blocks.cached * this.blockSize;
  }

  /** Returns a new, empty sequence. */
  sequence(): KvSequence {
    return new KvSequence(this);
  }

  /**
   * Whether `append` would find room for these rows.
   * @throws {CaracalError} `INVALID_ARGUMENT` for rows that are not a whole number from 0
   */
  fits(batch: readonly NewRows[]): boolean {
    return this.#blocksFor(checkedBatch("KvCache.fits", batch)) <= this.blocks.free;
  }

  /**
   * Makes room for new rows of every sequence: for all of them, or for none.
   * @throws {CaracalError} `OUT_OF_MEMORY` when too few blocks are free, `DISPOSED` for a disposed sequence,
   *   `INVALID_ARGUMENT` for a sequence of another cache or one that occurs twice, for rows that are not a whole number
   *   from 0, for a sequence of more than 2^22 blocks or a block table of more than 2^26 entries, and for an unknown option
   */
  append(batch: readonly NewRows[], options: AppendOptions = {}): CacheRows {
    const added = checkedBatch("KvCache.append", batch);
    checkOptions("KvCache.append", options, appendOptions);
    const { minWidth = 1, rowByRow = false } = options;
    const numbers = this.place(added, minWidth, rowByRow);
    let made: CacheTensors;
    try {
      made = this.device.scope(() => {
        const { values } = numbers;
        return cacheTensors(this.device.tensor(values, [values.length], "i32"), numbers);
      });
    } catch (error) {
      for (const { sequence, rows } of added) sequence.truncate(sequence.length - rows);
      throw error;
    }
    for (const { sequence } of added) sequence.hold();
    let disposed = false;
    return {
      ...made,
      [Symbol.dispose]: () => {
        if (disposed) return;
        disposed = true;
        disposeAll(made);
        for (const { sequence } of added) sequence.release();
      },
    };
  }

  /**
   * @internal `append` for a caller that has checked the batch and has tensors already. Nothing holds the sequences.
   * @throws {CaracalError} as `append`
   */
  place(added: readonly NewRows[], minWidth: number, rowByRow: boolean): CacheNumbers {
    for (const { sequence } of added) {
      if (sequence.cache !== this) throw new CaracalError("INVALID_ARGUMENT", "the sequence belongs to another cache");
      if (sequence.disposed) throw new CaracalError("DISPOSED", "the sequence was disposed");
    }
    if (added.length > 1 && new Set(added.map(({ sequence }) => sequence)).size < added.length)
      throw new CaracalError("INVALID_ARGUMENT", "a sequence may be extended only once per call");
    this.#checkRoom(added);
    this.#checkTable(added, minWidth, rowByRow);
    const placed = added.map(({ sequence, rows }) => {
      const from = sequence.grow(rows);
      return { blocks: sequence.blocks, rows, from };
    });
    return cacheNumbers(rowByRow ? placed.flatMap(singleRows) : placed, this.blockSize, minWidth);
  }

  /**
   * Clears the errors of failed operations, which would otherwise spread to every later use of the cache. The rows that
   * those operations should have written are undefined: truncate their sequences before them.
   */
  recover(): void {
    for (const module of this.modules) module.clearError();
  }

  #blocksFor(batch: readonly NewRows[]): number {
    let blocks = 0;
    for (const added of batch) {
      const { sequence, rows } = added;
      blocks += this.#blocksWith(added) - sequence.blocks.length;
      if (rows > 0 && sequence.sharesTail) blocks++; // for the copy
    }
    return blocks;
  }

  /** The blocks that a sequence has once it has new rows. */
  #blocksWith({ sequence, rows }: NewRows): number {
    return Math.max(sequence.blocks.length, Math.ceil((sequence.length + rows) / this.blockSize));
  }

  #checkTable(batch: readonly NewRows[], minWidth: number, rowByRow: boolean): void {
    let width = minWidth;
    for (const added of batch) width = Math.max(width, this.#blocksWith(added));
    checkBlockTable(rowByRow ? batch.reduce((sum, { rows }) => sum + rows, 0) : batch.length, width);
  }

  #checkRoom(batch: readonly NewRows[]): void {
    const { sequence: most } = maxBlocks;
    for (const added of batch)
      if (this.#blocksWith(added) > most)
        refuseValue("KvCache", "rows", `so few that ${most} blocks of ${this.blockSize} tokens suffice`, added.rows);
    const wantedBlocks = this.#blocksFor(batch);
    if (wantedBlocks > this.blocks.free) throw cacheFull(this, wantedBlocks, this.blocks.free);
  }

  /** @internal Takes the blocks that a sequence needs for more rows. @throws {CaracalError} as `KvSequence.reserve` */
  take(sequence: KvSequence, rows: number): number[] {
    const batch = [{ sequence, rows }];
    this.#checkRoom(batch);
    return Array.from({ length: this.#blocksFor(batch) }, () => this.blocks.take());
  }

  /** Frees the cache's memory. Safe to call twice. */
  dispose(): void {
    for (const module of this.modules) module.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Returns a copy of the batch. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedBatch(where: string, batch: readonly NewRows[]): NewRows[] {
  return checkedObjects(where, "batch", batch, "{ sequence, rows }").map(({ sequence, rows }, i) => {
    checkOption(where, `batch[${i}].sequence`, sequence, sequenceRule);
    checkOption(where, `batch[${i}].rows`, rows, wholeNumber);
    return { sequence, rows };
  });
}

/** The tokens of one sequence in a `KvCache`. */
export class KvSequence implements Disposable {
  readonly cache: KvCache;
  #blocks: number[] = [];
  #length = 0;
  #holds = 0;
  #disposed = false;

  /** @internal Use `KvCache.sequence`. */
  constructor(cache: KvCache) {
    this.cache = cache;
  }

  /** As of tensors: no proxy is a sequence. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return isObject(value) && #blocks in value;
  }

  /** Tokens of the sequence in the cache. */
  get length(): number {
    return this.#length;
  }

  /** The sequence's blocks, in token order. */
  get blocks(): readonly number[] {
    return this.#blocks;
  }

  /** Whether the sequence was disposed, and its blocks are free. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Takes blocks for this many more tokens in advance.
   * @throws {CaracalError} `OUT_OF_MEMORY` when too few blocks are free, `DISPOSED`, `INVALID_ARGUMENT` for rows that are
   *   not a whole number from 0, or a sequence of more than 2^22 blocks
   */
  reserve(rows: number): void {
    checkOption("KvSequence.reserve", "rows", rows, wholeNumber);
    if (this.#disposed) throw new CaracalError("DISPOSED", "the sequence was disposed");
    this.#reserve(rows);
  }

  #reserve(rows: number): void {
    const copies = rows > 0 && this.sharesTail;
    if (this.#length + rows <= this.#blocks.length * this.cache.blockSize && !copies) return; // as in most steps
    const taken = this.cache.take(this, rows);
    try {
      if (copies) this.#copyTail(taken.at(-1)!);
    } catch (error) {
      this.cache.blocks.give(taken);
      throw error;
    }
    if (copies) taken.pop();
    for (const block of taken) this.#blocks.push(block); // too many for arguments of one call
  }

  /** @internal Whether the block of the next token holds tokens of other sequences, too. */
  get sharesTail(): boolean {
    const { blockSize } = this.cache;
    return (
      this.#length % blockSize > 0 && this.cache.blocks.isShared(this.#blocks[Math.floor(this.#length / blockSize)]!)
    );
  }

  /** Puts a copy in the place of the block of the next token, which other sequences go on holding. */
  #copyTail(copy: number): void {
    const { blockSize, modules, device } = this.cache;
    const [index, rows] = [Math.floor(this.#length / blockSize), this.#length % blockSize];
    const shared = this.#blocks[index]!;
    device.scope(() => {
      for (const module of modules) {
        const rowsOf = (block: number) => module.slice(block, block + 1).reshape(module.shape.slice(1));
        copyRows(rowsOf(copy), rowsOf(shared).slice(0, rows));
      }
    });
    this.#blocks[index] = copy;
    this.cache.blocks.give([shared]);
  }

  /**
   * A sequence of the same tokens, which grows on its own: both may be extended, truncated and disposed as if there were
   * no other. They share the blocks of these tokens; the first to write into the last one takes a copy.
   * @throws {CaracalError} `DISPOSED`
   */
  fork(): KvSequence {
    if (this.#disposed) throw new CaracalError("DISPOSED", "the sequence was disposed");
    const fork = new KvSequence(this.cache);
    fork.#blocks = this.#blocks.slice(0, Math.ceil(this.#length / this.cache.blockSize));
    fork.#length = this.#length;
    this.cache.blocks.share(fork.#blocks);
    return fork;
  }

  /** @internal Goes on with the whole block of a key, in which the next row lies. @returns whether the cache has it */
  adopt(key: string): boolean {
    const block = this.cache.blocks.find(key);
    if (block === undefined) return false;
    const index = Math.floor(this.#length / this.cache.blockSize);
    this.cache.blocks.give(this.#blocks.splice(index, 1, block)); // one that was reserved, or has some of the rows
    this.#length = (index + 1) * this.cache.blockSize;
    return true;
  }

  /** @internal Lets others adopt a whole block of this sequence. */
  keep(index: number, key: string): void {
    this.#blocks[index] = this.cache.blocks.keep(key, this.#blocks[index]!);
  }

  /** @internal Adds rows, with blocks as needed; returns the position of the first. */
  grow(rows: number): number {
    const from = this.#length;
    this.#reserve(rows);
    this.#length += rows;
    return from;
  }

  /** @internal Keeps the blocks from other sequences while a batch that writes them is being queued. */
  hold(): void {
    this.#holds++;
  }

  /** @internal Ends a `hold`. */
  release(): void {
    this.#holds--;
    if (this.#disposed && this.#holds === 0) this.#cut(0);
  }

  /**
   * Removes the tokens from position `length` on, as a rollback does.
   * @throws {CaracalError} `INVALID_ARGUMENT` when the sequence is shorter, or part of a batch that is being queued
   */
  truncate(length: number): void {
    checkOption("KvSequence.truncate", "length", length, wholeNumber);
    if (length > this.#length) {
      throw new CaracalError("INVALID_ARGUMENT", `cannot truncate a sequence of ${this.#length} tokens to ${length}`);
    }
    if (this.#holds > 0) {
      throw new CaracalError("INVALID_ARGUMENT", "the sequence is being extended: await that before truncating it");
    }
    this.#cut(length);
  }

  #cut(length: number): void {
    this.#length = length;
    this.cache.blocks.give(this.#blocks.splice(Math.ceil(length / this.cache.blockSize)));
  }

  /** Returns the blocks, at the end of the batch if one is being queued. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#holds === 0) this.#cut(0);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Takes a sequence. */
export const sequenceRule: OptionRule = {
  accepts: (value) => value instanceof KvSequence,
  expected: "a KvSequence, as KvCache.sequence() gives",
};
