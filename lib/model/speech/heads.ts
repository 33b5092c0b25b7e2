import type { CodecConfig } from "../../checkpoint/config.js";
import { reservedSpeechIds } from "../../checkpoint/layout.js";
import { openSpeechHeads, type SpeechHeadsPart } from "../../checkpoint/parts.js";
import { CaracalError } from "../../errors.js";
import type { Activations } from "../../ops/call.js";
import { add } from "../../ops/elementwise.js";
import { embedding } from "../../ops/embedding.js";
import { linear } from "../../ops/linear.js";
import { type AllowedIds, argmax, repetitionPenalty } from "../../ops/sampling.js";
import {
  aFunction,
  checkedIntegers,
  checkedList,
  checkOption,
  checkOptions,
  type OptionRule,
  optional,
  plainList,
  positiveInteger,
  positiveNumber,
} from "../../options.js";
import { checkTensor } from "../../tensor/check.js";
import type { Device, Tensor } from "../../tensor/tensor.js";
import type { Ids, Logits, Matrix, PackedMatrix, Rows } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import { semanticEndId } from "./state.js";

/** Options of the speech heads. */
export interface AudioHeadsOptions {
  /** Codec books. Default 4. */
  readonly books?: number | undefined;
  /** Divides (or, below 0, multiplies) a logit once per occurrence of its id in the history. Default 1.1. */
  readonly penalty?: number | undefined;
  /** Steps of history that the penalty considers. Default 30. */
  readonly window?: number | undefined;
  /** The ids that each book may choose. Default: all ids. */
  readonly allowed?: readonly AllowedIds[] | undefined;
}
/** More books than any codec has. */
export const maxBooks = 1024;
export const bookCount: OptionRule = {
  accepts: (value) => positiveInteger.accepts(value) && (value as number) <= maxBooks,
  expected: `an integer in [1, ${maxBooks}]`,
};
const audioHeadsOptions = {
  books: optional(bookCount),
  penalty: optional(positiveNumber),
  window: optional({
    accepts: (value) => positiveInteger.accepts(value) && (value as number) <= 2 ** 16,
    expected: "an integer in [1, 2^16]",
  }),
  allowed: optional({
    accepts: (value) => Array.isArray(value) && value.length <= maxBooks,
    expected: "a list of ranges for each book",
  }),
} satisfies Record<keyof AudioHeadsOptions, OptionRule | true>;

/**
 * The speech heads: one id per codec book and step, the most likely id. The books of a step are chosen in order: each
 * reads the hidden state plus the embeddings of the ids chosen before it. As in LongCat-Flash-Omni's published code,
 * except that ids without a codec code can be excluded.
 */
export class AudioHeads implements Disposable {
  /** Codec books. */
  readonly books: number;
  readonly #source: Weights;
  readonly #heads: readonly PackedMatrix[];
  readonly #tables: readonly Tensor<Activations>[];
  readonly #penalty: number;
  readonly #window: number;
  readonly #allowed: readonly AllowedIds[] | undefined;

  private constructor(source: Weights, options: AudioHeadsOptions) {
    const { books = 4, penalty = 1.1, window = 30, allowed } = options;
    const range = (count: number) => Array.from({ length: count }, (_, k) => k);
    this.books = books;
    this.#source = source;
    this.#heads = range(books).map((k) => source.packed(`audio_output_layers.${k}.weight`));
    this.#tables = range(books - 1).map((k) => source.plain(`embedding.${k}.weight`));
    this.#penalty = penalty;
    this.#window = window;
    this.#allowed = allowed && plainList(allowed);
  }

  /**
   * Loads `audio_output_layers.k.weight` and `embedding.k.weight`. Disposing the heads disposes `weights`.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen, `ABORTED`, `INVALID_ARGUMENT`
   *   when an option is unknown or out of range
   */
  static async load(weights: Weights, options: AudioHeadsOptions = {}): Promise<AudioHeads> {
    checkOption("AudioHeads.load", "weights", weights, weightsRule);
    checkOptions("AudioHeads.load", options, audioHeadsOptions);
    const heads = new AudioHeads(weights, options);
    await weights.settle();
    return heads;
  }

  /**
   * Loads the heads alone from a model directory, limited to ids that name a code: reads
   * `audio/audio_output_layers.pt` and `audio_codec/config.yaml`, and needs no other file.
   * @throws {CaracalError} as `load`, and `IO_ERROR`
   */
  static async open(directory: string, options: OpenModuleOptions): Promise<AudioHeads> {
    checkOptions("AudioHeads.open", options, openModuleOptions);
    return AudioHeads.fromCheckpoint(await openSpeechHeads(directory, options), options);
  }

  /** @internal Loads the heads from an opened checkpoint. */
  static fromCheckpoint({ config, heads, codec }: SpeechHeadsPart, options: OpenModuleOptions): Promise<AudioHeads> {
    const { books } = config;
    const load = (weights: Weights) => AudioHeads.load(weights, { books, allowed: codeIds(books, codec) });
    return loadModule({ "": heads.values() }, options, load);
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /**
   * Queues one step of B sequences.
   *
   * @param hidden `[B, hidden size]`, after the final norm
   * @param histories per book and sequence, the ids chosen so far, oldest first; negative ids do not count, and no more
   *   than the last `window` are read, so that a step takes no longer because many went before
   * @param tap sees the logits of each book before the penalty, f32 `[B, ids]`
   * @returns per book, the ids: i32 `[B]`
   * @throws {CaracalError} `SHAPE_MISMATCH` when there is not one history per book and sequence, `INVALID_ARGUMENT` for
   *   what is no tensor or list of integers
   */
  step(
    hidden: Tensor<Activations>,
    histories: readonly (readonly (readonly number[])[])[],
    tap?: (book: number, logits: Logits) => void,
  ): Ids[] {
    checkTensor("AudioHeads.step", "hidden", hidden);
    const chosen = checkedHistories(histories, this.#window);
    checkOption("AudioHeads.step", "tap", tap, optional(aFunction));
    const input = hidden as Rows;
    const rows = input.shape[0];
    if (chosen.length !== this.books || chosen.some((book) => book.length !== rows))
      throw new CaracalError("SHAPE_MISMATCH", `expected ${this.books} × ${rows} histories, one per book and sequence`);
    return input.device.scope(() => {
      let state = input;
      return this.#heads.map((head, book) => {
        const logits = linear(state, head, { outDtype: "f32" });
        tap?.(book, logits);
        const penalised = repetitionPenalty(logits, this.#history(chosen[book]!), this.#penalty);
        const ids = argmax(penalised, { allowed: this.#allowed?.[book] });
        const table = this.#tables[book];
        if (table) state = add(state, embedding(table, ids, { outDtype: hidden.dtype }));
        return ids;
      });
    });
  }

  /** Frees the weights. */
  dispose(): void {
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #history(histories: readonly (number[] | Int32Array)[]): Tensor<"i32", Matrix> {
    const values = histories.flatMap((ids) => [...ids, ...new Array<number>(this.#window - ids.length).fill(-1)]);
    return this.device.tensor(values, [histories.length, this.#window], "i32");
  }
}

/** Returns a copy of the histories' last ids. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedHistories(
  histories: readonly (readonly (readonly number[])[])[],
  last: number,
): (number[] | Int32Array)[][] {
  const where = "AudioHeads.step";
  return checkedList(where, "histories", histories, "a list of books", maxBooks).map((book, i) =>
    checkedList(where, `histories[${i}]`, book, "a list of sequences").map((ids, j) =>
      checkedIntegers(where, `histories[${i}][${j}]`, ids, undefined, last),
    ),
  );
}

/** Per book, the ids that name a code of the speech decoder. The semantic book may also end the speech. */
function codeIds(books: number, codec: CodecConfig): AllowedIds[] {
  const first = reservedSpeechIds;
  return Array.from({ length: books }, (_, book): AllowedIds => {
    if (book > 0) return [[first, first + codec.codec_codebook_size ** 2]];
    return [
      [semanticEndId, semanticEndId + 1],
      [first, first + codec.semantic_token_nums],
    ];
  });
}
