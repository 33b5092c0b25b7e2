import type { LlmConfig } from "../checkpoint/config.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import type { Activations } from "../ops/call.js";
import { embedding } from "../ops/embedding.js";
import { linear } from "../ops/linear.js";
import { rmsNorm } from "../ops/norm.js";
import { concatRows, gatherRows } from "../ops/rows.js";
import type { Device } from "../tensor/device.js";
import type { Tensor } from "../tensor/tensor.js";
import { DecodeGraphs } from "./decodeGraphs.js";
import { type CacheTensors, KvCache, type KvSequence, type NewRows } from "./kvCache.js";
import { type LlmPass, llmLayer } from "./llmLayer.js";
import { type LayerWeights, type LlmWeights, loadLlmWeights } from "./llmWeights.js";
import type { Tap, Weights } from "./weights.js";

export interface LlmOptions {
  /** The dtype of activations, and of the KV cache: f32 (default) or bf16. */
  readonly activations?: Activations | undefined;
  /** Tokens that the KV cache holds, over all sequences. Default 8192, or what the model can address if that is less. */
  readonly kvCacheTokens?: number | undefined;
  /** Epsilon of the two norms inside the attention; 1e-6 as in the published code, which does not use `rms_norm_eps`. */
  readonly loraNormEps?: number | undefined;
  /** Whether the routing weight of zero experts is scaled like the others, as in the report. Default true. */
  readonly scaleZeroExperts?: boolean | undefined;
  /** Whether `decode` replays captured graphs (see `Graph`). Default: on a GPU. */
  readonly decodeGraphs?: boolean | undefined;
}

/** Tokens to append to a sequence, as embeddings [rows, hidden size]. */
export interface Extension {
  readonly sequence: KvSequence;
  readonly embeddings: Tensor;
}

export interface ForwardOptions {
  /** Looked at between layers. */
  readonly signal?: AbortSignal | undefined;
  /** Sees what `llmLayer` shows, and all rows before and after the final norm, as `hidden` and `normed`. */
  readonly tap?: Tap | undefined;
  /** Which rows come back: the last of each sequence (default), or all. */
  readonly rows?: "last" | "all" | undefined;
}

/**
 * The language model, LongCat-Flash: latent attention over a paged cache, and a mixture of experts that is computed
 * beside the dense path of its layer (shortcut-connected). Equations: LongCat-Flash technical report, with the
 * rotation in interleaved pairs and the scaling of the published code.
 *
 * A sequence's results do not depend on which other sequences are computed with it, nor on how its prompt is cut.
 */
export class Llm implements Disposable {
  readonly config: LlmConfig;
  readonly activations: Activations;
  readonly cache: KvCache;
  readonly #weights: LlmWeights;
  readonly #source: Weights;
  readonly #constants: Pick<LlmPass, "config" | "cache" | "loraNormEps" | "scaleZeroExperts">;
  readonly #graphs: DecodeGraphs | undefined;

  private constructor(source: Weights, weights: LlmWeights, config: LlmConfig, options: LlmOptions) {
    const { activations = "f32", loraNormEps = 1e-6, scaleZeroExperts = true } = options;
    this.config = config;
    this.activations = activations;
    this.cache = new KvCache(source.device, {
      modules: 2 * config.num_layers,
      width: config.kv_lora_rank + config.qk_rope_head_dim,
      tokens: options.kvCacheTokens ?? Math.min(8192, config.max_position_embeddings),
      dtype: activations,
    });
    this.#source = source;
    this.#weights = weights;
    this.#constants = { config, cache: this.cache, loraNormEps, scaleZeroExperts };
    const { decodeGraphs = source.device.backend === "cuda" } = options;
    this.#graphs = decodeGraphs ? new DecodeGraphs((x, rows) => this.#decode(x, rows)) : undefined;
  }

  /**
   * Loads the tensors `model.…` and `lm_head.weight`; disposing the model disposes `weights`.
   * @throws ABORTED, CHECKPOINT_INVALID, OUT_OF_MEMORY
   */
  static async load(weights: Weights, config: LlmConfig, options: LlmOptions = {}): Promise<Llm> {
    return new Llm(weights, await loadLlmWeights(weights, config), config, options);
  }

  get device(): Device {
    return this.#source.device;
  }

  /** The text embedding table [vocabulary, hidden size]. */
  get textTable(): Tensor<Activations> {
    return this.#weights.embedding;
  }

  /** Text embeddings [n, hidden size] of n ids. @throws INDEX_OUT_OF_RANGE, on read */
  embed(ids: readonly number[]): Tensor<Activations> {
    using rows = this.device.tensor(ids, [ids.length], "i32");
    return embedding(this.textTable, rows, { outDtype: this.activations });
  }

  /**
   * Appends tokens to several sequences, in passes of at most `chunk` rows that they share, and returns hidden states
   * after the final norm: [sequences, hidden size] for the last rows, [rows, hidden size] for all, sequence by sequence.
   * When it throws, no sequence has changed.
   * @throws INVALID_ARGUMENT for an empty extension or one that outgrows the model's positions, OUT_OF_MEMORY, ABORTED
   */
  async prefill(
    extensions: readonly Extension[],
    options: ForwardOptions & { chunk?: number | undefined } = {},
  ): Promise<Tensor<Activations>> {
    const { chunk = 512, ...forward } = options;
    if (!(Number.isInteger(chunk) && chunk > 0))
      throw new CaracalError("INVALID_ARGUMENT", `chunk must be a positive integer, got ${chunk}`);
    const lengths = this.#batch(extensions).map(({ rows }) => rows);
    const before = extensions.map(({ sequence }) => sequence.length);
    const outputs: Tensor<Activations>[][] = extensions.map(() => []);
    try {
      for (const pass of passes(lengths, chunk)) {
        using hidden = await this.#pass(extensions, pass, forward);
        let row = 0;
        for (const { index, from, to, last } of pass) {
          const rows = options.rows === "all" ? to - from : 1;
          if (options.rows === "all" || last) outputs[index]!.push(hidden.slice(row, row + rows));
          row += rows;
        }
      }
      return concatRows(outputs.flat());
    } catch (error) {
      rollBack(extensions, before);
      throw error;
    } finally {
      for (const tensor of outputs.flat()) tensor.dispose();
    }
  }

  async #pass(extensions: readonly Extension[], pass: readonly Slice[], options: ForwardOptions) {
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

  /** `prefill` in one pass. */
  async forward(extensions: readonly Extension[], options: ForwardOptions = {}): Promise<Tensor<Activations>> {
    const { signal, tap, rows = "last" } = options;
    throwIfAborted(signal, "prefill");
    const batch = this.#batch(extensions);
    const before = extensions.map(({ sequence }) => sequence.length);
    let x: Tensor<Activations> | undefined;
    try {
      using cached = this.cache.append(batch);
      const pass: LlmPass = { ...this.#constants, rows: cached, mode: "prefill", tap };
      x = concatRows(extensions.map(({ embeddings }) => embeddings as Tensor<Activations>));
      for (const [i, layer] of this.#weights.layers.entries()) {
        const input: Tensor<Activations> = x;
        x = this.device.scope(() => llmLayer(input, layer, i, pass));
        input.dispose();
        if (!signal) continue;
        await this.device.synchronize(); // an abort takes effect within a layer
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
      rollBack(extensions, before);
      throw error;
    } finally {
      x?.dispose();
    }
  }

  /**
   * Appends one token to each sequence; queues everything and returns at once.
   *
   * @param x [sequences, hidden size]
   * @returns hidden states [sequences, hidden size] after the final norm
   * @throws as `prefill`
   */
  decode(sequences: readonly KvSequence[], x: Tensor): Tensor<Activations> {
    if (x.shape[0] !== sequences.length)
      throw new CaracalError("SHAPE_MISMATCH", `${sequences.length} sequences need as many rows, got ${x.shape[0]}`);
    this.#checkEmbeddings(x);
    const batch = sequences.map((sequence) => ({ sequence, rows: 1 }));
    this.#checkPositions(batch);
    if (!this.#graphs) {
      using rows = this.cache.append(batch);
      return this.device.scope(() => this.#decode(x as Tensor<Activations>, rows));
    }
    // Block tables of few widths, lest every block that a sequence takes asks for a graph of its own.
    const blocks = Math.ceil((Math.max(0, ...sequences.map(({ length }) => length)) + 1) / this.cache.blockSize);
    using rows = this.cache.append(batch, 2 ** Math.ceil(Math.log2(blocks)));
    return this.#graphs.run(x as Tensor<Activations>, rows);
  }

  #decode(x: Tensor<Activations>, rows: CacheTensors): Tensor<Activations> {
    const pass: LlmPass = { ...this.#constants, rows, mode: "decode" };
    const layer = (y: Tensor<Activations>, weights: LayerWeights, i: number) =>
      this.device.scope(() => llmLayer(y, weights, i, pass));
    return this.#norm(this.#weights.layers.reduce(layer, x));
  }

  /**
   * After results of `prefill`, `forward` or `decode` that could not be read: later ones no longer fail for the same
   * reason. Their sequences hold rows that mean nothing, and are to be truncated or disposed; others are as they were.
   */
  recover(): void {
    this.#graphs?.clear();
    this.cache.recover();
  }

  /** f32 logits [rows, vocabulary] of hidden states after the final norm. */
  logits(hidden: Tensor<Activations>): Tensor<"f32", readonly [number, number]> {
    return linear(hidden, this.#weights.head, { outDtype: "f32" }) as Tensor<"f32", readonly [number, number]>;
  }

  /** Frees weights and cache. */
  dispose(): void {
    this.#graphs?.clear();
    this.cache[Symbol.dispose]();
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #norm(x: Tensor<Activations>): Tensor<Activations> {
    return rmsNorm(x, this.#weights.norm, { eps: this.config.rms_norm_eps });
  }

  #batch(extensions: readonly Extension[]): NewRows[] {
    for (const { embeddings } of extensions) this.#checkEmbeddings(embeddings);
    const batch = extensions.map(({ sequence, embeddings }) => ({ sequence, rows: embeddings.shape[0]! }));
    if (batch.length === 0 || batch.some(({ rows }) => rows === 0))
      throw new CaracalError("INVALID_ARGUMENT", "every sequence must be extended by at least one token, got none");
    if (new Set(batch.map(({ sequence }) => sequence)).size < batch.length)
      throw new CaracalError("INVALID_ARGUMENT", "a sequence may be extended only once in a call");
    this.#checkPositions(batch);
    return batch;
  }

  #checkEmbeddings({ shape, dtype }: Tensor): void {
    if (shape.length !== 2 || shape[1] !== this.config.hidden_size)
      throw new CaracalError("SHAPE_MISMATCH", `embeddings must be [T, ${this.config.hidden_size}], got [${shape}]`);
    if (dtype !== this.activations)
      throw new CaracalError("DTYPE_MISMATCH", `embeddings must be ${this.activations}, got ${dtype}`);
  }

  #checkPositions(batch: readonly NewRows[]): void {
    const limit = this.config.max_position_embeddings;
    const longest = Math.max(...batch.map(({ sequence, rows }) => sequence.length + rows));
    if (longest <= limit) return;
    throw new CaracalError("INVALID_ARGUMENT", `a sequence of ${longest} tokens is longer than the model's ${limit}`, {
      tokens: longest,
      limit,
    });
  }
}

/** The rows of a packed batch that are the last of their sequences. */
function lastRows(batch: readonly NewRows[]): Int32Array {
  let end = 0;
  return Int32Array.from(batch, ({ rows }) => {
    end += rows;
    return end - 1;
  });
}

function rollBack(extensions: readonly Extension[], lengths: readonly number[]): void {
  extensions.forEach(({ sequence }, i) => {
    if (!sequence.disposed) sequence.truncate(lengths[i]!);
  });
}

interface Slice {
  readonly index: number;
  readonly from: number;
  readonly to: number;
  /** Ends its extension. */
  readonly last: boolean;
}

/** Cuts extensions of these lengths into passes of at most `chunk` rows. */
function passes(lengths: readonly number[], chunk: number): Slice[][] {
  const result: Slice[][] = [];
  let room = 0;
  lengths.forEach((length, index) => {
    for (let from = 0; from < length; ) {
      if (room === 0) {
        result.push([]);
        room = chunk;
      }
      const to = Math.min(length, from + room);
      result.at(-1)!.push({ index, from, to, last: to === length });
      room -= to - from;
      from = to;
    }
  });
  return result;
}
