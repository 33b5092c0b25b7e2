import { CaracalError } from "../errors.js";
import type { Activations, WeightDType } from "../ops/call.js";
import { add } from "../ops/elementwise.js";
import { embedding } from "../ops/embedding.js";
import { linear } from "../ops/linear.js";
import { type AllowedIds, argmax, repetitionPenalty } from "../ops/sampling.js";
import type { PackedWeight, Tensor } from "../tensor/tensor.js";
import type { Weights } from "./weights.js";

type Matrix = readonly [number, number];
type Logits = Tensor<"f32", Matrix>;

export interface AudioHeadsOptions {
  readonly books?: number | undefined;
  /** Divides (or, below 0, multiplies) a logit once for every time its id occurs in the history. */
  readonly penalty?: number | undefined;
  /** Steps that the history holds. */
  readonly window?: number | undefined;
  /** The ids that each book may choose; all when left out. */
  readonly allowed?: readonly AllowedIds[] | undefined;
}

/**
 * The speech heads: one id per codec book and step, the most likely one. The books of a step follow one another: each
 * reads the hidden state plus the embeddings of the ids chosen before it. As in LongCat-Flash-Omni's published code,
 * but that ids without a codec code can be ruled out.
 */
export class AudioHeads implements Disposable {
  readonly books: number;
  readonly #heads: readonly PackedWeight<WeightDType, Matrix>[];
  readonly #tables: readonly Tensor<Activations>[];
  readonly #penalty: number;
  readonly #window: number;
  readonly #allowed: readonly AllowedIds[] | undefined;

  private constructor(
    private readonly source: Weights,
    options: AudioHeadsOptions,
  ) {
    const { books = 4, penalty = 1.1, window = 30, allowed } = options;
    const range = (count: number) => Array.from({ length: count }, (_, k) => k);
    this.books = books;
    this.#heads = range(books).map((k) => source.packed(`audio_output_layers.${k}.weight`));
    this.#tables = range(books - 1).map((k) => source.plain(`embedding.${k}.weight`));
    this.#penalty = penalty;
    this.#window = window;
    this.#allowed = allowed;
  }

  /** Loads `audio_output_layers.k.weight` and `embedding.k.weight`. @throws ABORTED, CHECKPOINT_INVALID */
  static async load(weights: Weights, options: AudioHeadsOptions = {}): Promise<AudioHeads> {
    const heads = new AudioHeads(weights, options);
    await weights.settle();
    return heads;
  }

  /**
   * Queues one step of B sequences.
   *
   * @param hidden [B, hidden size], after the final norm
   * @param histories per book and sequence, the ids chosen so far, oldest first; negative ones do not count
   * @param tap is shown the logits of each book before the penalty, f32 [B, ids]
   * @returns per book, the ids: i32 [B]
   */
  step(
    hidden: Tensor<Activations>,
    histories: readonly (readonly (readonly number[])[])[],
    tap?: (book: number, logits: Tensor<"f32">) => void,
  ): Tensor<"i32">[] {
    const rows = hidden.shape[0]!;
    if (histories.length !== this.books || histories.some((book) => book.length !== rows))
      throw new CaracalError("SHAPE_MISMATCH", `expected ${this.books} × ${rows} histories, one per book and sequence`);
    return hidden.device.scope(() => {
      let state = hidden;
      return this.#heads.map((head, book) => {
        const logits = linear(state, head, { outDtype: "f32" }) as Logits;
        tap?.(book, logits);
        const penalised = repetitionPenalty(logits, this.#history(hidden, histories[book]!), this.#penalty);
        const ids = argmax(penalised, { allowed: this.#allowed?.[book] });
        const table = this.#tables[book];
        if (table) state = add(state, embedding(table, ids, { outDtype: hidden.dtype }));
        return ids;
      });
    });
  }

  #history({ device }: Tensor, histories: readonly (readonly number[])[]): Tensor<"i32", Matrix> {
    const values = new Int32Array(histories.length * this.#window).fill(-1);
    histories.forEach((ids, row) => {
      values.set(ids.slice(-this.#window), row * this.#window);
    });
    return device.tensor(values, [histories.length, this.#window], "i32");
  }

  dispose(): void {
    this.source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
