/**
 * Which rows the blocks of a KV cache hold, so that a sequence that begins with the same rows can share them. A block is
 * known by a key, which stands for its rows and all rows before them. Only whole blocks have one, and while they have it,
 * their rows do not change.
 *
 * A block that nobody holds any more rests here until a sequence shares it or its room is needed.
 */
export class PrefixIndex {
  readonly #blocks = new Map<string, number>();
  readonly #keys = new Map<number, string>();
  /** Blocks that nobody holds, the least recently used first. */
  readonly #resting = new Set<number>();

  /** The number of blocks that nobody holds. */
  get resting(): number {
    return this.#resting.size;
  }

  has(block: number): boolean {
    return this.#keys.has(block);
  }

  find(key: string): number | undefined {
    return this.#blocks.get(key);
  }

  isResting(block: number): boolean {
    return this.#resting.has(block);
  }

  add(key: string, block: number): void {
    this.#blocks.set(key, block);
    this.#keys.set(block, key);
  }

  /**
   * Takes in those of a sequence's blocks, in token order, that have a key. The last ones will go first: no block is of
   * use without those before it.
   * @returns the others
   */
  rest(blocks: readonly number[]): number[] {
    for (let i = blocks.length - 1; i >= 0; i--) if (this.has(blocks[i]!)) this.#resting.add(blocks[i]!);
    return blocks.filter((block) => !this.has(block));
  }

  /** Gives a block to a sequence. @returns whether nobody held it */
  wake(block: number): boolean {
    return this.#resting.delete(block);
  }

  /** Forgets the least recently used block that nobody holds: the caller has made sure that there is one. */
  evict(): number {
    const block = this.#resting.values().next().value!;
    this.#resting.delete(block);
    this.#blocks.delete(this.#keys.get(block)!);
    this.#keys.delete(block);
    return block;
  }
}
