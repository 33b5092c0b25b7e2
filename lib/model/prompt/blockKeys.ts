import { createHash } from "node:crypto";
import { maskedId, type SpeechInput } from "../speech/state.js";

/**
 * The keys of the blocks of a sequence, which grows by a row at a time. The key of a block is the SHA-256 hash of the
 * previous block's key and of the names of its own rows, so it stands for all rows up to the block's end. A row's name
 * says all that the row is computed from, besides the model and the rows before it.
 */
export class BlockKeys {
  readonly #blockSize: number;
  readonly #keys: string[] = [];
  /** The names of the rows after the last whole block. */
  #rows: string[] = [];

  constructor(blockSize: number) {
    this.#blockSize = blockSize;
  }

  /** The keys of the whole blocks. */
  get keys(): readonly string[] {
    return this.#keys;
  }

  /** A row of a prompt that has text, speech, or both. */
  addTokens(textId: number, codecIds: readonly number[] | Int32Array): void {
    this.#add(`tokens ${textId} ${codecIds.join(" ")}`);
  }

  /** Row `index` of what an encoder made of media. */
  addMedia(digest: string, index: number): void {
    this.#add(`media ${digest} ${index}`);
  }

  /** A row that a step computed: `mlaDecode` rounds unlike `mlaPrefill`, so no prompt has such a row. */
  addStep({ textId, codecIds }: SpeechInput): void {
    this.#add(`step ${textId ?? maskedId} ${codecIds.join(" ")}`);
  }

  #add(name: string): void {
    this.#rows.push(name);
    if (this.#rows.length < this.#blockSize) return;
    const names = [this.#keys.at(-1) ?? "", ...this.#rows].join("\n");
    this.#keys.push(createHash("sha256").update(names).digest("base64"));
    this.#rows = [];
  }
}
