import type { KvSequence } from "../language/kvCache.js";
import type { BlockKeys } from "../prompt/blockKeys.js";
import type { SpeechInput } from "../speech/state.js";

/** The rows of a reply that the cache keeps for others, or has kept for it. */
export class ReplyPrefix {
  readonly #sequence: KvSequence;
  readonly #keys: BlockKeys;
  /** Blocks from the beginning that the cache keeps. */
  #kept = 0;
  /** Steps whose rows have a name. */
  #named = 0;

  /** @param keys those of the prompt */
  constructor(sequence: KvSequence, keys: BlockKeys) {
    this.#sequence = sequence;
    this.#keys = keys;
  }

  /** The number of next rows, up to row `limit` of the sequence, that lie in whole blocks which other sequences hold. */
  heldRows(limit: number): number {
    const { blocks, blockSize } = this.#sequence.cache;
    let end = 0;
    for (const [next, key] of this.#next(limit)) {
      if (!blocks.isHeld(key)) break;
      end = (next + 1) * blockSize;
    }
    return Math.max(0, end - this.#sequence.length);
  }

  /** Goes on with the blocks of the next rows, up to row `limit`, that the cache has. */
  reuse(limit: number): void {
    for (const [next, key] of this.#next(limit)) {
      if (!this.#sequence.adopt(key)) return;
      this.#kept = next + 1;
    }
  }

  /** Lets the cache keep the rows that were computed. */
  keep(): void {
    const { keys } = this.#keys;
    const { length, cache } = this.#sequence;
    for (; this.#kept < keys.length && (this.#kept + 1) * cache.blockSize <= length; this.#kept++)
      this.#sequence.keep(this.#kept, keys[this.#kept]!);
  }

  /** Lets the cache keep the rows of steps, too, for the reply itself: it will lose its rows, and go on later. */
  leave(steps: readonly SpeechInput[]): void {
    for (; this.#named < steps.length; this.#named++) this.#keys.addStep(steps[this.#named]!);
    this.keep();
    this.#kept = 0;
  }

  *#next(limit: number): Generator<readonly [index: number, key: string]> {
    const { length, cache } = this.#sequence;
    const { keys } = this.#keys;
    for (let i = Math.floor(length / cache.blockSize); i < keys.length && (i + 1) * cache.blockSize <= limit; i++)
      yield [i, keys[i]!];
  }
}
