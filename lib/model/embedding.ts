import type { Activations } from "../ops/call.js";
import { promptEmbedding, stepEmbedding } from "../ops/embedding.js";
import { cast } from "../ops/rows.js";
import type { Device } from "../tensor/device.js";
import type { Tensor } from "../tensor/tensor.js";
import { codecPadId, maskedId, type SpeechInput } from "./speechState.js";
import { textPadId } from "./tokenizer.js";
import type { Weights } from "./weights.js";

type Table = Tensor<Activations>;

/** A prompt of T positions. */
export interface PromptIds {
  readonly textIds: ArrayLike<number>;
  /** T × books, of past speech; left out where there is none. */
  readonly codecIds?: ArrayLike<number> | undefined;
}

export interface EmbeddingTables {
  /** [vocabulary, hidden size] */
  readonly text: Table;
  /** One [ids, hidden size] per book. */
  readonly codec: readonly Table[];
}

export interface EmbeddingOptions {
  /** Where rows of the audio projector stand. */
  readonly audioPadId: number;
  /** Where rows of the vision projector stand. */
  readonly imagePadId: number;
  /** Contributes nothing, as text and as code. */
  readonly padId?: number | undefined;
  readonly activations?: Activations | undefined;
}

/**
 * What the language model reads. Prompt: text and speech codes add up, except padding; rows of the projectors replace
 * the embeddings of their pad ids, in order. Reply: see `SpeechInput`. As in LongCat-Flash-Omni's published code.
 */
export class OmniEmbedding {
  /** Codec books. */
  readonly books: number;

  constructor(
    private readonly tables: EmbeddingTables,
    private readonly options: EmbeddingOptions,
  ) {
    this.books = tables.codec.length;
  }

  /**
   * Loads `audio_embeddings.k.weight`, beside the language model's own text table.
   * @throws ABORTED, CHECKPOINT_INVALID
   */
  static async load(weights: Weights, text: Table, options: EmbeddingOptions & { books: number }) {
    const codec = Array.from({ length: options.books }, (_, book) => {
      const table = weights.plain(`audio_embeddings.${book}.weight`);
      return table.dtype === text.dtype ? table : weights.derive(() => cast(table, text.dtype));
    });
    await weights.settle();
    return new OmniEmbedding({ text, codec }, options);
  }

  get #device(): Device {
    return this.tables.text.device;
  }

  /**
   * Embeds a prompt.
   *
   * @param audioRows [audio pads, hidden size]
   * @param visionRows [image pads, hidden size]
   * @returns [T, hidden size]
   * @throws SHAPE_MISMATCH or INVALID_ARGUMENT when pads and rows do not pair up, INDEX_OUT_OF_RANGE on read
   */
  prompt(ids: PromptIds, audioRows?: Table, visionRows?: Table): Table {
    const length = ids.textIds.length;
    const { audioPadId, imagePadId, padId = textPadId, activations: outDtype } = this.options;
    return this.#device.scope(() =>
      promptEmbedding({
        textTable: this.tables.text,
        codecTables: this.tables.codec,
        textIds: this.#ids(ids.textIds, [length]),
        codecIds: this.#ids(ids.codecIds ?? new Int32Array(length * this.books).fill(codecPadId), [length, this.books]),
        audioRows,
        visionRows,
        audioPadId,
        imagePadId,
        padId,
        outDtype,
      }),
    );
  }

  /** Embeds the next input of each sequence: [sequences, hidden size]. */
  step(inputs: readonly SpeechInput[]): Table {
    const count = inputs.length;
    return this.#device.scope(() =>
      stepEmbedding({
        textTable: this.tables.text,
        codecTables: this.tables.codec,
        textIds: this.#ids(
          inputs.map(({ textId }) => textId ?? maskedId),
          [count],
        ),
        codecIds: this.#ids(
          inputs.flatMap(({ codecIds }) => [...codecIds]),
          [count, this.books],
        ),
        outDtype: this.options.activations,
      }),
    );
  }

  #ids(ids: ArrayLike<number>, shape: readonly number[]): Tensor<"i32"> {
    return this.#device.tensor(Int32Array.from(ids), shape, "i32");
  }
}
