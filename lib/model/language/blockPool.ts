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

  /** The number of blocks without a holder, except those that `give` returned and `put` has not got. */
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

  /** Removes a holder from each block. @returns those that nobody holds any more, which the caller may `put` back */
  give(blocks: readonly number[]): number[] {
    const released: number[] = [];
    for (const block of blocks) {
      const holders = this.#holders.get(block) ?? 1;
      if (holders === 1) released.push(block);
      else if (holders === 2) this.#holders.delete(block);
      else this.#holders.set(block, holders - 1);
    }
    return released;
  }

  /** Lets blocks be taken again. */
  put(blocks: readonly number[]): void {
    for (const block of blocks) this.#returned.push(block);
  }
}
