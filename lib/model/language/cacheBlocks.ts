import { BlockPool } from "./blockPool.js";
import { PrefixIndex } from "./prefixIndex.js";

/** The blocks of a KV cache: those that nobody holds are free, also while their rows are kept for whoever can use them. */
export class CacheBlocks {
  /** Called when blocks became free. */
  onFreed: (() => void) | undefined;
  readonly #pool: BlockPool;
  readonly #index = new PrefixIndex();

  constructor(count: number) {
    this.#pool = new BlockPool(count);
  }

  get free(): number {
    return this.#pool.free + this.#index.resting;
  }

  /** Free blocks whose rows are kept. */
  get cached(): number {
    return this.#index.resting;
  }

  /** Takes a free block, one whose rows are kept only if there is no other: the caller has made sure that there is one. */
  take(): number {
    return this.#pool.free > 0 ? this.#pool.take() : this.#index.evict();
  }

  /** Adds a holder to each block. */
  share(blocks: readonly number[]): void {
    this.#pool.share(blocks);
  }

  /** Whether a block is only read, because others hold it or can find it. */
  isShared(block: number): boolean {
    return this.#pool.isShared(block) || this.#index.has(block);
  }

  /** Removes a holder from each of a sequence's blocks, which are in token order. */
  give(blocks: readonly number[]): void {
    const released = this.#pool.give(blocks);
    this.#pool.put(this.#index.rest(released));
    if (released.length > 0) this.onFreed?.();
  }

  /** Adds a holder to the block of a key; undefined if its rows are not kept. */
  find(key: string): number | undefined {
    const block = this.#index.find(key);
    if (block !== undefined && !this.#index.wake(block)) this.#pool.share([block]);
    return block;
  }

  /** Whether the block of a key has a holder, so that another one needs no room for it. */
  isHeld(key: string): boolean {
    const block = this.#index.find(key);
    return block !== undefined && !this.#index.isResting(block);
  }

  /**
   * Keeps the rows of a block, all of which were computed, for those who know the key.
   * @returns the block to hold instead: another one, if that has the same rows already
   */
  keep(key: string, block: number): number {
    const known = this.find(key);
    if (known === undefined) this.#index.add(key, block);
    else this.give([block]);
    return known ?? block;
  }
}
