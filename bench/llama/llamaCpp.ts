// llama.cpp in a process of its own.
import { type AddonContext, loadLlamaCpp } from "./binding.js";
import { type Engine, type EngineOptions, serve, tokenAt } from "./engine.js";
import { room, type Work } from "./rows.js";

class LlamaCppEngine implements Engine {
  readonly #options: EngineOptions;
  #context: AddonContext | undefined;
  /** Tokens in each sequence. */
  #length = 0;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  async load(): Promise<void> {
    const { model: file, threads } = this.#options;
    const llama = await loadLlamaCpp();
    const model = new llama.AddonModel(file, { gpuLayers: 0, useMmap: true });
    if (!(await model.init())) throw new Error(`llama.cpp does not load ${file}`);
    // Each sequence has its part of the cache: in a common one, attention would also read the other sequences' rows.
    this.#context = new llama.AddonContext(model, {
      contextSize: room.sequences * room.tokens,
      sequences: room.sequences,
      batchSize: room.prompt,
      threads,
      flashAttention: true, // never slower here
    });
    if (!(await this.#context.init())) throw new Error("llama.cpp has no memory for its context");
  }

  async prepare(work: Work): Promise<void> {
    const context = work.kind === "decode" ? work.context : 0;
    if (context < this.#length) this.#truncate(context);
    if (context === this.#length) return;
    for (; this.#length < context; this.#length += room.prompt)
      await this.#decode([0], this.#length, Math.min(room.prompt, context - this.#length), false);
    this.#length = context;
    for (let s = 1; s < room.sequences; s++) await this.#context!.copySequenceStateFromOtherSequence(s, 0);
  }

  /**
   * Asks for the logits of all rows. Without, llama.cpp drops the other rows before the last block's networks, more than half
   * of the work in a model of two blocks.
   */
  async run(work: Work): Promise<void> {
    if (work.kind === "prefill") return await this.#decode([0], 0, work.tokens, true);
    await this.#decode(
      Array.from({ length: work.batch }, (_, s) => s),
      work.context,
      1,
      true,
    );
  }

  undo(work: Work): void {
    this.#truncate(work.kind === "decode" ? work.context : 0);
  }

  #truncate(length: number): void {
    for (let s = 0; s < room.sequences; s++) this.#context!.removeTokenCellsFromSequence(s, length, -1);
    this.#length = length;
  }

  async #decode(sequences: readonly number[], position: number, tokens: number, logits: boolean): Promise<void> {
    const context = this.#context!;
    const rows = Uint32Array.from({ length: tokens }, (_, row) => row);
    context.initBatch(sequences.length * tokens);
    for (const [i, sequence] of sequences.entries())
      context.addToBatch(
        sequence,
        position,
        rows.map((row) => tokenAt(i + row)),
        logits ? rows : new Uint32Array(),
      );
    await context.decodeBatch();
  }
}

serve(async (options) => new LlamaCppEngine(options));
