import { type LlmConfig, parseLlmConfig } from "../../checkpoint/config.js";
import type { Checkpoint } from "../../checkpoint/directory.js";
import { openLlm } from "../../checkpoint/parts.js";
import { CaracalError, throwIfAborted } from "../../errors.js";
import { type Activations, activationsRule } from "../../ops/call.js";
import { embedding } from "../../ops/embedding.js";
import { linear } from "../../ops/linear.js";
import { rmsNorm } from "../../ops/norm.js";
import { concatRows, gatherRows } from "../../ops/rows.js";
import {
  aFunction,
  checkedIntegers,
  checkedList,
  checkedObjects,
  checkOption,
  checkOptions,
  type OptionRule,
  oneOf,
  optional,
  positiveInteger,
} from "../../options.js";
import { checkTensor } from "../../tensor/check.js";
import type { Device, Tensor } from "../../tensor/tensor.js";
import type { Logits, Rows, Tap } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import type { CacheTensors } from "./cacheTensors.js";
import { DecodeGraphs } from "./decodeGraphs.js";
import { KvCache, type KvSequence, type NewRows, sequenceRule } from "./kvCache.js";
import { type LlmPass, llmLayer } from "./layer.js";
import { nextPass, type Slice } from "./passes.js";
import { type LayerWeights, type LlmWeights, loadLlmWeights } from "./weights.js";

/** Options of the language model. */
export interface LlmOptions {
  /** The dtype of activations and of the KV cache: f32 (default) or bf16. */
  readonly activations?: Activations | undefined;
  /** Capacity of the KV cache in tokens, over all sequences. Default: 8192, or the model's positions if fewer. */
  readonly kvCacheTokens?: number | undefined;
  /** Whether `decode` replays captured graphs (see `Graph`), with the same bits. Default: true. */
  readonly decodeGraphs?: boolean | undefined;
  /**
   * Whether products with weights of 2 to 8 bit codes may round their rows to 8-bit integers: faster on CPUs with AVX2,
   * and less exact (see `RowOptions` of `ops`). Default: false.
   */
  readonly int8Rows?: boolean | undefined;
}
/** @internal */
export const llmOptions = {
  activations: activationsRule,
  kvCacheTokens: optional(positiveInteger),
  decodeGraphs: optional(oneOf(true, false)),
  int8Rows: optional(oneOf(true, false)),
} satisfies Record<keyof LlmOptions, OptionRule>;

/** Tokens to append to a sequence, as embeddings `[rows, hidden size]`. */
export interface Extension {
  readonly sequence: KvSequence;
  readonly embeddings: Tensor;
}

/** Options of `Llm.forward`. */
export interface ForwardOptions {
  /** Checked between layers. */
  readonly signal?: AbortSignal | undefined;
  /** Sees `layer<i>.…` intermediates, and all rows before and after the final norm as `hidden` and `normed`. */
  readonly tap?: Tap | undefined;
  /** Which rows to return: the last row of each sequence (default), or all rows. */
  readonly rows?: "last" | "all" | undefined;
  /**
   * `decode` gives each row the bits that `decode` gives it, in which it differs from `prefill` (default) by rounding:
   * generated tokens are recomputed so, many at a time. It takes more memory per row.
   */
  readonly mode?: LlmPass["mode"] | undefined;
}
const forwardOptions = {
  signal: true,
  tap: optional(aFunction),
  rows: optional(oneOf("last", "all")),
  mode: optional(oneOf("prefill", "decode")),
} satisfies Record<keyof ForwardOptions, OptionRule | true>;

/** Options of `Llm.prefill`. */
export interface PrefillOptions extends ForwardOptions {
  /** Most rows per pass. Default 512. */
  readonly chunk?: number | undefined;
}
const prefillOptions = { ...forwardOptions, chunk: optional(positiveInteger) };

/**
 * The language model, LongCat-Flash: latent attention over a paged cache, and a mixture of experts that is computed
 * beside the dense path of its layer (shortcut-connected). Equations: LongCat-Flash technical report, with the
 * rotation in interleaved pairs and the scaling of the published code.
 *
 * The results for a sequence do not depend on the other sequences of a batch, nor on how its prompt is split.
 */
export class Llm implements Disposable {
  readonly config: LlmConfig;
  readonly activations: Activations;
  readonly cache: KvCache;
  readonly #weights: LlmWeights;
  readonly #source: Weights;
  readonly #graphs: DecodeGraphs | undefined;
  readonly #int8Rows: boolean;

  private constructor(source: Weights, weights: LlmWeights, config: LlmConfig, options: LlmOptions) {
    const { activations = "f32", decodeGraphs = true, int8Rows = false } = options;
    this.config = config;
    this.activations = activations;
    this.#int8Rows = int8Rows;
    this.cache = new KvCache(source.device, {
      modules: 2 * config.num_layers,
      width: config.kv_lora_rank + config.qk_rope_head_dim,
      tokens: options.kvCacheTokens ?? Math.min(8192, config.max_position_embeddings),
      dtype: activations,
    });
    this.#source = source;
    this.#weights = weights;
    this.#graphs = decodeGraphs ? new DecodeGraphs((x, rows) => this.#decode(x, rows)) : undefined;
  }

  /**
   * Loads the tensors `model.…` and `lm_head.weight`. Disposing the model disposes `weights`.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen or a field of the config is wrong,
   *   `ABORTED`, `OUT_OF_MEMORY`, `INVALID_ARGUMENT` when an option is unknown or out of range
   */
  static async load(weights: Weights, config: LlmConfig, options: LlmOptions = {}): Promise<Llm> {
    checkOption("Llm.load", "weights", weights, weightsRule);
    checkOptions("Llm.load", options, llmOptions);
    const checked = parseLlmConfig(config, "Llm.load: config");
    const llm = new Llm(weights, await loadLlmWeights(weights, checked), checked, options);
    try {
      await llm.cache.ready();
      return llm;
    } catch (error) {
      llm.cache.dispose();
      throw error;
    }
  }

  /**
   * Loads the language model alone from a model directory: reads `config.json` and the `model-*.safetensors` shards,
   * and needs no other file.
   * @throws {CaracalError} as `load`, and `IO_ERROR`
   */
  static async open(directory: string, options: LlmOptions & OpenModuleOptions): Promise<Llm> {
    checkOptions("Llm.open", options, { ...openModuleOptions, ...llmOptions });
    const { activations, kvCacheTokens, decodeGraphs, int8Rows } = options;
    const part = await openLlm(directory, options);
    return Llm.fromCheckpoint(part, options, { activations, kvCacheTokens, decodeGraphs, int8Rows });
  }

  /** @internal Loads the model from an opened checkpoint. */
  static fromCheckpoint(part: Checkpoint["llm"], options: OpenModuleOptions, modelOptions: LlmOptions): Promise<Llm> {
    return loadModule({ "": part.tensors.values() }, options, (weights) =>
      Llm.load(weights, part.config, modelOptions),
    );
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /** The text embedding table `[vocabulary, hidden size]`. */
  get textTable(): Rows {
    return this.#weights.embedding;
  }

  /**
   * Text embeddings `[n, hidden size]` of n ids.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no list of integers; `INDEX_OUT_OF_RANGE`, when the result is
   *   read, for an id outside the vocabulary
   */
  embed(ids: readonly number[]): Rows {
    const list = checkedIntegers("Llm.embed", "ids", ids);
    using rows = this.device.tensor(list, [list.length], "i32");
    return embedding(this.textTable, rows, { outDtype: this.activations });
  }

  /**
   * Appends tokens to several sequences, in shared passes of at most `chunk` rows. When it throws, no sequence has
   * changed.
   *
   * @returns hidden states after the final norm: `[sequences, hidden size]` for the last rows, or
   *   `[rows, hidden size]` for all rows, sequence by sequence
   * @throws {CaracalError} `INVALID_ARGUMENT` for an empty extension, one longer than the model's positions, or an
   *   unknown option; `SHAPE_MISMATCH`, `DTYPE_MISMATCH` for embeddings of another width or dtype; `OUT_OF_MEMORY` when
   *   the cache is full; `ABORTED`
   */
  async prefill(extensions: readonly Extension[], options: PrefillOptions = {}): Promise<Rows> {
    checkOptions("Llm.prefill", options, prefillOptions);
    const { chunk = 512, ...forward } = options;
    const list = checkedExtensions("Llm.prefill", extensions);
    const prompts = this.#batch(list).map(({ rows }) => ({ length: rows, done: 0 }));
    const lengthsBefore = list.map(({ sequence }) => sequence.length);
    const outputs: Rows[][] = list.map(() => []);
    try {
      for (let pass = nextPass(prompts, chunk); pass.length > 0; pass = nextPass(prompts, chunk)) {
        using hidden = await this.#pass(list, pass, forward);
        let row = 0;
        for (const { index, from, to, last } of pass) {
          const rows = forward.rows === "all" ? to - from : 1;
          if (forward.rows === "all" || last) outputs[index]!.push(hidden.slice(row, row + rows));
          row += rows;
          prompts[index]!.done = to;
        }
      }
      return concatRows(outputs.flat());
    } catch (error) {
      rollBack(list, lengthsBefore);
      throw error;
    } finally {
      for (const tensor of outputs.flat()) tensor.dispose();
    }
  }

  async #pass(extensions: readonly Extension[], pass: readonly Slice[], options: ForwardOptions): Promise<Rows> {
    const slices = pass.map(({ index, from, to }) => {
      const { sequence, embeddings } = extensions[index]!;
      return { sequence, embeddings: embeddings.slice(from, to) };
    });
    try {
      return await this.forward(slices, options);
    } finally {
      for (const { embeddings } of slices) embeddings.dispose();
    }
  }

  /**
   * `prefill` in a single pass.
   * @throws {CaracalError} as `prefill`
   */
  async forward(extensions: readonly Extension[], options: ForwardOptions = {}): Promise<Rows> {
    checkOptions("Llm.forward", options, forwardOptions);
    const { signal, tap, rows = "last", mode = "prefill" } = options;
    throwIfAborted(signal, "prefill");
    const list = checkedExtensions("Llm.forward", extensions);
    const batch = this.#batch(list);
    const lengthsBefore = list.map(({ sequence }) => sequence.length);
    let x: Rows | undefined;
    try {
      using cached = this.cache.append(batch, { rowByRow: mode === "decode" });
      const pass = { ...this.#layerInputs(cached, mode), tap };
      x = concatRows(list.map(({ embeddings }) => this.#rows(embeddings)));
      for (const [i, layer] of this.#weights.layers.entries()) {
        const input: Rows = x;
        x = this.device.scope(() => llmLayer(input, layer, i, pass));
        input.dispose();
        if (!signal) continue;
        await this.device.synchronize(); // so that an abort takes effect within one layer
        throwIfAborted(signal, "prefill");
      }
      const all = x;
      return this.device.scope(() => {
        tap?.("hidden", all);
        tap?.("normed", this.#norm(all));
        return this.#norm(
          rows === "all" ? all : gatherRows(all, this.device.tensor(lastRows(batch), [batch.length], "i32")),
        );
      });
    } catch (error) {
      rollBack(list, lengthsBefore);
      throw error;
    } finally {
      x?.dispose();
    }
  }

  /**
   * Appends one token to each sequence. Queues all operations and returns at once.
   *
   * @param x `[sequences, hidden size]`
   * @returns hidden states `[sequences, hidden size]` after the final norm
   * @throws {CaracalError} as `prefill`
   */
  decode(sequences: readonly KvSequence[], x: Tensor): Rows {
    checkTensor("Llm.decode", "x", x);
    const list = checkedSequences("Llm.decode", sequences, this.cache.tokens);
    if (x.shape[0] !== list.length)
      throw new CaracalError("SHAPE_MISMATCH", `${list.length} sequences need as many rows, got ${x.shape[0]}`);
    const embeddings = this.#rows(x);
    const batch = list.map((sequence) => ({ sequence, rows: 1 }));
    const longest = this.#checkPositions(batch);
    if (!this.#graphs) {
      using rows = this.cache.append(batch);
      return this.device.scope(() => this.#decode(embeddings, rows));
    }
    // Table widths are powers of two, so that a sequence does not need a new graph for every block it takes.
    const width = 2 ** Math.ceil(Math.log2(Math.ceil(longest / this.cache.blockSize)));
    return this.#graphs.run(embeddings, this.cache.place(batch, width, false));
  }

  #layerInputs(rows: CacheTensors, mode: LlmPass["mode"]): LlmPass {
    return { config: this.config, cache: this.cache, rows, mode, int8Rows: this.#int8Rows };
  }

  #decode(x: Rows, rows: CacheTensors): Rows {
    const pass = this.#layerInputs(rows, "decode");
    const layer = (y: Rows, weights: LayerWeights, i: number) => this.device.scope(() => llmLayer(y, weights, i, pass));
    return this.#norm(this.#weights.layers.reduce(layer, x));
  }

  /**
   * Clears the errors left by results of `prefill`, `forward` or `decode` that could not be read; later results would
   * fail for the same reason. The new rows of the affected sequences are undefined: truncate or dispose those
   * sequences. Other sequences are unaffected.
   */
  recover(): void {
    this.#graphs?.clear();
    this.cache.recover();
  }

  /**
   * f32 logits `[rows, vocabulary]`.
   * @param hidden `[rows, hidden size]`: hidden states after the final norm
   */
  logits(hidden: Rows): Logits {
    return linear(hidden, this.#weights.head, { outDtype: "f32", int8Rows: this.#int8Rows });
  }

  /** Frees weights and cache. */
  dispose(): void {
    this.#graphs?.clear();
    this.cache.dispose();
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #norm(x: Rows): Rows {
    return rmsNorm(x, this.#weights.norm, { eps: this.config.rms_norm_eps });
  }

  #batch(extensions: readonly Extension[]): NewRows[] {
    const batch = extensions.map(({ sequence, embeddings }) => ({ sequence, rows: this.#rows(embeddings).shape[0] }));
    if (batch.length === 0 || batch.some(({ rows }) => rows === 0))
      throw new CaracalError("INVALID_ARGUMENT", "every sequence must be extended by at least one token, got none");
    if (new Set(batch.map(({ sequence }) => sequence)).size < batch.length)
      throw new CaracalError("INVALID_ARGUMENT", "a sequence may be extended only once per call");
    this.#checkPositions(batch);
    return batch;
  }

  /** Checks that x holds embeddings of this model. */
  #rows(x: Tensor): Rows {
    const { shape, dtype } = x;
    if (shape.length !== 2 || shape[1] !== this.config.hidden_size)
      throw new CaracalError("SHAPE_MISMATCH", `embeddings must be [T, ${this.config.hidden_size}], got [${shape}]`);
    if (dtype !== this.activations)
      throw new CaracalError("DTYPE_MISMATCH", `embeddings must be ${this.activations}, got ${dtype}`);
    return x as Rows;
  }

  /** Returns the length of the longest sequence, new rows included. */
  #checkPositions(batch: readonly NewRows[]): number {
    const limit = this.config.max_position_embeddings;
    let longest = 1;
    for (const { sequence, rows } of batch) longest = Math.max(longest, sequence.length + rows);
    if (longest <= limit) return longest;
    throw new CaracalError("INVALID_ARGUMENT", `a sequence of ${longest} tokens is longer than the model's ${limit}`, {
      tokens: longest,
      limit,
    });
  }
}

/** Returns a copy of the extensions. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedExtensions(where: string, extensions: readonly Extension[]): Extension[] {
  const list = checkedObjects(where, "extensions", extensions, "{ sequence, embeddings }");
  return list.map(({ sequence, embeddings }, i) => {
    checkOption(where, `extensions[${i}].sequence`, sequence, sequenceRule);
    checkTensor(where, `extensions[${i}].embeddings`, embeddings);
    return { sequence, embeddings };
  });
}

/** Returns a copy of the list. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedSequences(where: string, sequences: readonly KvSequence[], most: number): KvSequence[] {
  return checkedList<KvSequence>(where, "sequences", sequences, "a list of KvSequences", most, (item, name) =>
    checkOption(where, name, item, sequenceRule),
  );
}

/** The index of each sequence's last row in a packed batch. */
function lastRows(batch: readonly NewRows[]): Int32Array {
  let end = 0;
  return Int32Array.from(batch, ({ rows }) => {
    end += rows;
    return end - 1;
  });
}

function rollBack(extensions: readonly Extension[], lengths: readonly number[]): void {
  extensions.forEach(({ sequence }, i) => {
    if (!sequence.disposed && sequence.length > lengths[i]!) sequence.truncate(lengths[i]!); // or the caller did it
  });
}
