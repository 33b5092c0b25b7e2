import { CaracalError } from "../../errors.js";
import type { Activations } from "../../ops/call.js";
import type { Device } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";

export interface KvCacheOptions {
  /** Attention modules that each keep a row per token. */
  readonly modules: number;
  /** Values per row: the compressed key-value vector, then the rotated key. */
  readonly width: number;
  /** Tokens to make room for, over all sequences; rounded up to whole blocks. */
  readonly tokens: number;
  readonly blockSize?: number;
  readonly dtype?: Activations;
}

/** New tokens of one sequence. */
export interface NewRows {
  readonly sequence: KvSequence;
  readonly rows: number;
}

/** Where the new tokens of a packed batch stand, as the attention operations take it. T rows, B sequences. */
export interface CacheTensors {
  /** i32 [T], positions in their sequences. */
  readonly positions: Tensor<"i32">;
  /** i32 [T], rows of the cache: block · blockSize + offset. */
  readonly slots: Tensor<"i32">;
  /** i32 [B, blocks of the longest, or more]. */
  readonly blockTable: Tensor<"i32">;
  /** i32 [B + 1], where each sequence's new rows begin in the batch. */
  readonly cuSeqlens: Tensor<"i32">;
  /** i32 [B], lengths, the new rows included. */
  readonly seqLens: Tensor<"i32">;
}

/** The same, with its sequences held until it is disposed: after the last operation that uses it is queued. */
export interface CacheRows extends CacheTensors, Disposable {}

/**
 * Keys and values of past tokens, in blocks that sequences take as they grow and give back when they are cut or
 * disposed. A block stands at the same place in the cache of every attention module, so a sequence has one table.
 *
 * Blocks may be given back while operations that read them are queued: whoever takes them next writes them later.
 */
export class KvCache implements Disposable {
  readonly device: Device;
  readonly blockSize: number;
  /** Tokens that fit, over all sequences. */
  readonly tokens: number;
  /** One tensor [blocks, blockSize, width] per attention module. */
  readonly modules: readonly Tensor<Activations>[];
  readonly #free: number[];

  /** @throws OUT_OF_MEMORY, on first use, when the device cannot hold it */
  constructor(device: Device, options: KvCacheOptions) {
    const { modules, width, tokens, blockSize = 64, dtype = "f32" } = options;
    if (!(Number.isInteger(tokens) && tokens > 0))
      throw new CaracalError("INVALID_ARGUMENT", `a cache needs room for at least 1 token, got ${tokens}`);
    const blocks = Math.ceil(tokens / blockSize);
    this.device = device;
    this.blockSize = blockSize;
    this.tokens = blocks * blockSize;
    this.modules = Array.from({ length: modules }, () => device.zeros([blocks, blockSize, width], dtype));
    this.#free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  }

  /** Tokens that no sequence has taken. */
  get freeTokens(): number {
    return this.#free.length * this.blockSize;
  }

  /** An empty sequence. */
  sequence(): KvSequence {
    return new KvSequence(this);
  }

  /** Whether `append` would find room for these rows. */
  fits(batch: readonly NewRows[]): boolean {
    return this.#blocksFor(batch) <= this.#free.length;
  }

  /**
   * Makes room for new rows of every sequence: all of them, or none.
   * @param minWidth of the block table; what no sequence has of it is 0
   * @throws OUT_OF_MEMORY when too few blocks are free, DISPOSED for a disposed sequence
   */
  append(batch: readonly NewRows[], minWidth = 1): CacheRows {
    for (const { sequence } of batch) {
      if (sequence.cache !== this) throw new CaracalError("INVALID_ARGUMENT", "the sequence is of another cache");
      if (sequence.disposed) throw new CaracalError("DISPOSED", "the sequence was disposed");
    }
    this.#checkRoom(batch);
    const grown = batch.map(({ sequence, rows }) => ({ sequence, rows, from: sequence.grow(rows) }));
    const tensors = this.#describe(grown, minWidth);
    for (const { sequence } of batch) sequence.hold();
    return {
      ...tensors,
      [Symbol.dispose]: () => {
        for (const tensor of Object.values(tensors)) tensor.dispose();
        for (const { sequence } of batch) sequence.release();
      },
    };
  }

  /**
   * After operations that failed: forgets their errors, which otherwise spread to every later use of the cache. The rows
   * that they were to write mean nothing: cut the sequences back before them.
   */
  recover(): void {
    for (const module of this.modules) module.clearError();
  }

  #blocksFor(batch: readonly NewRows[]): number {
    return batch.reduce((sum, { sequence, rows }) => {
      return sum + Math.max(0, Math.ceil((sequence.length + rows) / this.blockSize) - sequence.blocks.length);
    }, 0);
  }

  #checkRoom(batch: readonly NewRows[]): void {
    const wanted = this.#blocksFor(batch);
    if (wanted <= this.#free.length) return;
    throw new CaracalError(
      "OUT_OF_MEMORY",
      `the KV cache of ${this.tokens} tokens is full: ${wanted} more blocks of ${this.blockSize} tokens are needed, ` +
        `${this.#free.length} are free; end a reply or load the model with a larger kvCacheTokens`,
      { tokens: this.tokens, wantedBlocks: wanted, freeBlocks: this.#free.length },
    );
  }

  /** @internal @throws OUT_OF_MEMORY */
  take(sequence: KvSequence, rows: number): number[] {
    const batch = [{ sequence, rows }];
    this.#checkRoom(batch);
    return Array.from({ length: this.#blocksFor(batch) }, () => this.#free.pop()!);
  }

  #describe(batch: readonly (NewRows & { from: number })[], minWidth: number): CacheTensors {
    const total = batch.reduce((sum, { rows }) => sum + rows, 0);
    const width = Math.max(minWidth, ...batch.map(({ sequence }) => sequence.blocks.length));
    const positions = new Int32Array(total);
    const slots = new Int32Array(total);
    const table = new Int32Array(batch.length * width);
    const starts = new Int32Array(batch.length + 1);
    batch.forEach(({ sequence, rows, from }, b) => {
      table.set(sequence.blocks, b * width);
      const start = starts[b]!;
      for (let i = 0; i < rows; i++) {
        const position = from + i;
        positions[start + i] = position;
        const block = sequence.blocks[Math.floor(position / this.blockSize)]!;
        slots[start + i] = block * this.blockSize + (position % this.blockSize);
      }
      starts[b + 1] = start + rows;
    });
    const lengths = Int32Array.from(batch, ({ sequence }) => sequence.length);
    return {
      positions: this.device.tensor(positions, [total], "i32"),
      slots: this.device.tensor(slots, [total], "i32"),
      blockTable: this.device.tensor(table, [batch.length, width], "i32"),
      cuSeqlens: this.device.tensor(starts, [batch.length + 1], "i32"),
      seqLens: this.device.tensor(lengths, [batch.length], "i32"),
    };
  }

  /** @internal */
  give(blocks: readonly number[]): void {
    this.#free.push(...blocks);
  }

  [Symbol.dispose](): void {
    for (const module of this.modules) module.dispose();
  }
}

/** The tokens of one sequence in a `KvCache`. */
export class KvSequence implements Disposable {
  readonly cache: KvCache;
  #blocks: number[] = [];
  #length = 0;
  #holds = 0;
  #disposed = false;

  /** @internal Made by `KvCache.sequence`. */
  constructor(cache: KvCache) {
    this.cache = cache;
  }

  /** Tokens that the cache holds of it. */
  get length(): number {
    return this.#length;
  }

  /** Its blocks, in the order of its tokens. */
  get blocks(): readonly number[] {
    return this.#blocks;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Takes room for this many more tokens already now. @throws OUT_OF_MEMORY, DISPOSED */
  reserve(rows: number): void {
    if (this.#disposed) throw new CaracalError("DISPOSED", "the sequence was disposed");
    this.#blocks.push(...this.cache.take(this, rows));
  }

  /** @internal Adds rows, with blocks as needed; returns the position of the first. */
  grow(rows: number): number {
    const from = this.#length;
    this.reserve(rows);
    this.#length += rows;
    return from;
  }

  /** @internal A batch that is being queued writes to the blocks: they may not go to another sequence yet. */
  hold(): void {
    this.#holds++;
  }

  /** @internal */
  release(): void {
    this.#holds--;
    if (this.#disposed && this.#holds === 0) this.#cut(0);
  }

  /** Forgets the tokens from `length` on (rollback). @throws INVALID_ARGUMENT when there are fewer, or amid a batch */
  truncate(length: number): void {
    if (!(Number.isInteger(length) && length >= 0 && length <= this.#length)) {
      throw new CaracalError("INVALID_ARGUMENT", `cannot cut a sequence of ${this.#length} tokens to ${length}`);
    }
    if (this.#holds > 0) {
      throw new CaracalError("INVALID_ARGUMENT", "the sequence is being extended: await that before cutting it");
    }
    this.#cut(length);
  }

  #cut(length: number): void {
    this.#length = length;
    this.cache.give(this.#blocks.splice(Math.ceil(length / this.cache.blockSize)));
  }

  /** Gives its blocks back, at the end of the batch if one is being queued. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#holds === 0) this.#cut(0);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
