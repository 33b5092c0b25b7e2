// Caracal in a process of its own.

import type { KvSequence } from "../../lib/model/language/kvCache.js";
import { Llm } from "../../lib/model/language/llm.js";
import { copyRows } from "../../lib/ops/rows.js";
import { normals } from "../../lib/synth/random.js";
import { Device } from "../../lib/tensor/tensor.js";
import { type Engine, type EngineOptions, serve, tokenAt } from "./engine.js";
import { room, type Work } from "./rows.js";

class Caracal implements Engine {
  readonly #options: EngineOptions;
  #llm: Llm | undefined;
  #sequences: readonly KvSequence[] = [];

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  get #loaded(): Llm {
    return this.#llm!;
  }

  async load(): Promise<void> {
    const { model, threads, int8Rows, packedCache } = this.#options;
    const device = await Device.open({ backend: "cpu", threads });
    const kvCacheTokens = room.sequences * room.tokens;
    this.#llm = await Llm.open(model, { device, kvCacheTokens, int8Rows, packedCache });
    this.#sequences = Array.from({ length: room.sequences }, () => this.#loaded.cache.sequence());
  }

  /** The rows of a context are taken from the cache without computing them: their values bear on no time. */
  async prepare(work: Work): Promise<void> {
    const { cache } = this.#loaded;
    const context = work.kind === "decode" ? work.context : 0;
    for (const sequence of this.#sequences) sequence.truncate(Math.min(sequence.length, context));
    const batch = this.#sequences.map((sequence) => ({ sequence, rows: context - sequence.length }));
    if (batch.every(({ rows }) => rows === 0)) return;
    cache.append(batch)[Symbol.dispose]();
    for (const module of cache.modules) {
      const { shape, device, dtype } = module;
      using values = device.tensor(
        normals(
          shape.reduce((a, b) => a * b, 1),
          1,
        ),
        shape,
        dtype,
      );
      copyRows(module, values);
    }
    await cache.device.synchronize();
  }

  async run(work: Work): Promise<void> {
    const llm = this.#loaded;
    using hidden = await this.#hidden(work);
    using logits = llm.logits(hidden);
    await logits.read();
  }

  async #hidden(work: Work) {
    const llm = this.#loaded;
    const ids = (rows: number) => Array.from({ length: rows }, (_, row) => tokenAt(row));
    if (work.kind === "decode") {
      using x = llm.embed(ids(work.batch));
      return llm.decode(this.#sequences.slice(0, work.batch), x);
    }
    using embeddings = llm.embed(ids(work.tokens));
    return await llm.prefill([{ sequence: this.#sequences[0]!, embeddings }], { rows: "all" });
  }

  undo(work: Work): void {
    for (const sequence of this.#sequences) sequence.truncate(work.kind === "decode" ? work.context : 0);
  }
}

serve(async (options) => new Caracal(options));
