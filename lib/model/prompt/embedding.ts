import { reservedSpeechIds } from "../../checkpoint/layout.js";
import { openEmbeddings } from "../../checkpoint/parts.js";
import { type Activations, activationsRule } from "../../ops/call.js";
import { promptEmbedding, stepEmbedding } from "../../ops/embedding.js";
import { cast } from "../../ops/rows.js";
import {
  checkedIntegers,
  checkedObjects,
  checkObject,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  optional,
  refuseValue,
  wholeNumber,
} from "../../options.js";
import { checkTensor } from "../../tensor/check.js";
import type { Device, Shape, Tensor } from "../../tensor/tensor.js";
import { bookCount, maxBooks } from "../speech/heads.js";
import { codecPadId, maskedId, type SpeechInput } from "../speech/state.js";
import type { Rows } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import { OmniTokenizer, textPadId } from "./tokenizer.js";

/** A prompt of T positions. */
export interface PromptIds {
  readonly textIds: ArrayLike<number>;
  /** T × books ids of past speech. Default: no past speech. */
  readonly codecIds?: ArrayLike<number> | undefined;
}

interface EmbeddingTables {
  /** `[vocabulary, hidden size]` */
  readonly text: Tensor<Activations>;
  /** One `[ids, hidden size]` per book. */
  readonly codec: readonly Tensor<Activations>[];
}

/** What the embedding must know of the model beside its tables. */
export interface EmbeddingOptions {
  /** Codec books; 0 without speech. */
  readonly books: number;
  /** The text id whose positions the audio projector's rows replace. */
  readonly audioPadId: number;
  /** The text id whose positions the vision projector's rows replace. */
  readonly imagePadId: number;
  /** The id that contributes nothing, as text and as code. Default 3. */
  readonly padId?: number | undefined;
  /** The dtype of the embeddings. Default: that of the text table. */
  readonly activations?: Activations | undefined;
}
const embeddingOptions = {
  books: { accepts: (value) => value === 0 || bookCount.accepts(value), expected: `an integer in [0, ${maxBooks}]` },
  audioPadId: wholeNumber,
  imagePadId: wholeNumber,
  padId: optional(wholeNumber),
  activations: activationsRule,
} satisfies Record<keyof EmbeddingOptions, OptionRule>;

/** Options of `OmniEmbedding.open`, which reads the ids from the directory's tokenizer. */
export interface OpenEmbeddingOptions extends OpenModuleOptions, Pick<EmbeddingOptions, "activations"> {}
const openEmbeddingOptions = { ...openModuleOptions, activations: activationsRule } satisfies Record<
  keyof OpenEmbeddingOptions,
  OptionRule | true
>;

/**
 * The language model's input embeddings. In a prompt, text and speech codes add up, except padding; rows of the
 * projectors replace the embeddings of their pad ids, in order. In a reply, see `SpeechInput`. As in
 * LongCat-Flash-Omni's published code.
 */
export class OmniEmbedding implements Disposable {
  /** Codec books. */
  readonly books: number;
  readonly #source: Weights;
  readonly #tables: EmbeddingTables;
  readonly #options: EmbeddingOptions;

  private constructor(source: Weights, tables: EmbeddingTables, options: EmbeddingOptions) {
    this.books = options.books;
    this.#source = source;
    this.#tables = tables;
    this.#options = options;
  }

  /**
   * Loads `audio_embeddings.k.weight`. Disposing the embedding disposes `weights`.
   * @param text the language model's text table, `[vocabulary, hidden size]`
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen, `ABORTED`, `INVALID_ARGUMENT`
   *   when an option is unknown
   */
  static async load(weights: Weights, text: Tensor<Activations>, options: EmbeddingOptions): Promise<OmniEmbedding> {
    checkOption("OmniEmbedding.load", "weights", weights, weightsRule);
    checkTensor("OmniEmbedding.load", "text", text);
    checkObject("OmniEmbedding.load", "options", options);
    checkOptions("OmniEmbedding.load", options, embeddingOptions);
    const codec = Array.from({ length: options.books }, (_, book) => {
      const table = weights.plain(`audio_embeddings.${book}.weight`);
      return table.dtype === text.dtype ? table : weights.derive(() => cast(table, text.dtype));
    });
    await weights.settle();
    return new OmniEmbedding(weights, { text, codec }, options);
  }

  /**
   * Loads the embeddings alone from a model directory: reads `audio/audio_embeddings.pt`, the tokenizer, and the text
   * table from `language_model_embedding.pt` or, if that is absent, the language model's shards.
   * @throws {CaracalError} as `load`, and `IO_ERROR`
   */
  static async open(directory: string, options: OpenEmbeddingOptions): Promise<OmniEmbedding> {
    checkOptions("OmniEmbedding.open", options, openEmbeddingOptions);
    const { signal, activations } = options;
    const tokenizer = await OmniTokenizer.open(directory, { signal });
    const { config, embeddings, text, textScales, width } = await openEmbeddings(directory, options);
    return loadModule({ "": [...embeddings.values(), text, ...textScales] }, options, (weights) => {
      const { books } = config;
      const table = weights.matrix(text.name, [text.shape[0]!, width]);
      return OmniEmbedding.load(weights, table, { books, activations, ...padIds(tokenizer) });
    });
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#tables.text.device;
  }

  /** @internal The number of codes that the table of each book embeds. */
  get codes(): number {
    return Math.min(...this.#tables.codec.map(({ shape }) => shape[0]! - reservedSpeechIds));
  }

  /**
   * Embeds a prompt.
   *
   * @param audioRows `[audio pads, hidden size]`
   * @param visionRows `[image pads, hidden size]`
   * @returns `[T, hidden size]`
   * @throws {CaracalError} `SHAPE_MISMATCH` for tensors of another width, `INVALID_ARGUMENT` for other ids. When the result is read: `SHAPE_MISMATCH` for
   *   more or fewer rows than pads, `INDEX_OUT_OF_RANGE` for an id outside its table
   */
  prompt(ids: PromptIds, audioRows?: Tensor<Activations>, visionRows?: Tensor<Activations>): Rows {
    checkObject("OmniEmbedding.prompt", "ids", ids);
    checkIds("textIds", ids.textIds);
    if (ids.codecIds !== undefined) checkIds("codecIds", ids.codecIds);
    const length = ids.textIds.length;
    const { audioPadId, imagePadId, padId = textPadId, activations: outDtype } = this.#options;
    return this.device.scope(() =>
      promptEmbedding({
        textTable: this.#tables.text,
        codecTables: this.#tables.codec,
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

  /**
   * Embeds the next input of each sequence: `[sequences, hidden size]`.
   * @throws {CaracalError} `INVALID_ARGUMENT` for other inputs, `SHAPE_MISMATCH` for another number of codec ids than
   *   there are books
   */
  step(inputs: readonly SpeechInput[]): Rows {
    const where = "OmniEmbedding.step";
    const list = checkedObjects(where, "inputs", inputs, "{ textId, codecIds }").map(({ textId, codecIds }, i) => {
      if (textId !== null) checkOption(where, `inputs[${i}].textId`, textId, wholeNumber);
      return { textId, codecIds: checkedIntegers(where, `inputs[${i}].codecIds`, codecIds, maxBooks) };
    });
    const count = list.length;
    return this.device.scope(() =>
      stepEmbedding({
        textTable: this.#tables.text,
        codecTables: this.#tables.codec,
        textIds: this.#ids(
          list.map(({ textId }) => textId ?? maskedId),
          [count],
        ),
        codecIds: this.#ids(
          list.flatMap(({ codecIds }) => [...codecIds]),
          [count, this.books],
        ),
        outDtype: this.#options.activations,
      }),
    );
  }

  /** Frees the weights it was loaded from; a text table from elsewhere stays. */
  dispose(): void {
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #ids<const S extends Shape>(ids: ArrayLike<number>, shape: S): Tensor<"i32", S> {
    return this.device.tensor(
      ids instanceof Int32Array ? ids : Array.from({ length: ids.length }, (_, i) => ids[i]!),
      shape,
      "i32",
    );
  }
}

/** More ids than any prompt has. */
const maxIds = 2 ** 24;

function checkIds(argument: string, ids: ArrayLike<number>): void {
  const where = "OmniEmbedding.prompt";
  const isList = isObject(ids) && wholeNumber.accepts(ids.length) && ids.length <= maxIds;
  if (!isList) refuseValue(where, argument, `a list of at most ${maxIds} integers`, ids);
  for (let i = 0; i < ids.length; i++)
    if (!Number.isSafeInteger(ids[i])) refuseValue(where, `${argument}[${i}]`, "an integer", ids[i]);
}

/** @internal The ids that mark the positions of media. */
export function padIds(tokenizer: OmniTokenizer): Pick<EmbeddingOptions, "audioPadId" | "imagePadId"> {
  return { audioPadId: tokenizer.specialId("<|audio_pad|>"), imagePadId: tokenizer.specialId("<|image_pad|>") };
}
