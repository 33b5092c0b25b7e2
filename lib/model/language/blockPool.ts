/**
 * The blocks of a KV cache: which are free, and how many sequences hold each of the others. A block that several
 * sequences hold is only read; whoever wants to write into it takes a copy.
 */
export class BlockPool {
  readonly #count: number;
  readonly #returned: number[] = [];
  /** Those from here on were never taken. */
  #next = 0;
  /** The holders of each block that has more than one. */
  readonly #holders = new Map<number, number>();

  constructor(count: number) {
    this.#count = count;
  }

  get free(): number {
    return this.#returned.length + this.#count - this.#next;
  }

  /** Takes a free block: the caller has made sure that there is one. */
  take(): number {
    return this.#returned.pop() ?? this.#next++;
  }

  /** Adds a holder to each block. */
  share(blocks: readonly number[]): void {
    for (const block of blocks) this.#holders.set(block, (this.#holders.get(block) ?? 1) + 1);
  }

  isShared(block: number): boolean {
    return this.#holders.size > 0 && this.#holders.has(block);
  }

  /** Removes a holder from each block. @returns whether any became free */
  give(blocks: readonly number[]): boolean {
    const before = this.#returned.length;
    for (const block of blocks) {
      const holders = this.#holders.get(block) ?? 1;
      if (holders === 1) this.#returned.push(block);
      else if (holders === 2) this.#holders.delete(block);
      else this.#holders.set(block, holders - 1);
    }
    return this.#returned.length > before;
  }
}
