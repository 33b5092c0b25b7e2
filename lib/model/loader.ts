import type { PartialCheckpoint } from "../checkpoint/directory.js";
import type { Device } from "../tensor/tensor.js";
import { AudioEncoder } from "./audio/encoder.js";
import { Llm, type LlmOptions } from "./language/llm.js";
import type { OmniPackedCacheNote, PackedCacheOptions } from "./packed/cache.js";
import { type MemoryLimit, memoryLimit, memoryOf, type OmniMemory } from "./packed/memory.js";
import { OmniEmbedding, padIds } from "./prompt/embedding.js";
import type { OmniTokenizer } from "./prompt/tokenizer.js";
import { SpeechDecoder } from "./speech/decoder.js";
import { AudioHeads } from "./speech/heads.js";
import { VisionEncoder } from "./vision/encoder.js";
import type { LoadOptions } from "./weightSource.js";
import { loadModule, type OpenModuleOptions } from "./weights.js";

/** Loading progress, in bytes of the checkpoint. */
export interface OmniLoadProgress {
  readonly module: string;
  readonly loaded: number;
  readonly total: number;
}

/** @internal The modules of a model; those that were not loaded are null. */
export interface Modules {
  readonly llm: Llm;
  readonly vision: VisionEncoder | null;
  readonly audioEncoder: AudioEncoder | null;
  readonly speechDecoder: SpeechDecoder | null;
  readonly tokenizer: OmniTokenizer;
  readonly audioHeads: AudioHeads | null;
  readonly embedding: OmniEmbedding;
}

/** @internal */
export interface LoaderOptions extends PackedCacheOptions {
  readonly device: Device;
  readonly speechDtype?: LoadOptions["weightDtype"];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: OmniLoadProgress) => void) | undefined;
}

/** @internal Loads the modules one after another, and can free all modules loaded so far. */
export class Loader {
  readonly #checkpoint: PartialCheckpoint;
  readonly #options: LoaderOptions;
  readonly #limit: MemoryLimit;
  readonly #loaded: Disposable[] = [];
  readonly packedCache: OmniPackedCacheNote[] = [];
  readonly total: number;
  #done = 0;

  constructor(checkpoint: PartialCheckpoint, options: LoaderOptions) {
    this.#checkpoint = checkpoint;
    this.#options = options;
    this.#limit = memoryLimit(options.device);
    const { llm, vision, audio, speech, codec } = checkpoint;
    const maps = [llm.tensors, vision?.encoder, vision?.projector, audio?.encoder, audio?.projector];
    const speechMaps = [speech?.embeddings, speech?.heads, codec?.tensors];
    const all = [...maps, ...speechMaps].flatMap((map) => [...(map?.values() ?? [])]);
    this.total = all.reduce((bytes, entry) => bytes + entry.byteLength, 0);
  }

  get memory(): OmniMemory {
    return memoryOf(this.total, this.packedCache, this.#limit);
  }

  async load(tokenizer: OmniTokenizer, llmOptions: LlmOptions): Promise<Modules> {
    const { vision, audio, speech, codec, llm } = this.#checkpoint;
    const { activations = "f32" } = llmOptions;
    const { speechDtype: weightDtype } = this.#options;
    const heads = speech && codec && { config: speech.config, heads: speech.heads, codec: codec.config };
    const books = speech?.config.books ?? 0;
    const module = async <P, T extends Disposable>(
      name: string,
      part: P | undefined,
      load: (part: P, options: OpenModuleOptions) => Promise<T>,
    ) => (part === undefined ? null : await this.#module(name, (options) => load(part, options)));
    const modules = {
      tokenizer,
      speechDecoder: await module("speech decoder", codec, (p, o) =>
        SpeechDecoder.fromCheckpoint(p, { ...o, weightDtype }),
      ),
      audioEncoder: await module("audio encoder", audio, (p, o) =>
        AudioEncoder.fromCheckpoint(p, { ...o, weightDtype }, { activations }),
      ),
      vision: await module("vision encoder", vision, (p, o) => VisionEncoder.fromCheckpoint(p, o, { activations })),
      audioHeads: await module("speech heads", heads, (p, o) => AudioHeads.fromCheckpoint(p, o)),
      llm: await this.#module("language model", (o) => Llm.fromCheckpoint(llm, o, llmOptions)),
    };
    const embedding = await this.#module("speech embeddings", (o) =>
      loadModule({ "": speech?.embeddings.values() ?? [] }, o, (weights) =>
        OmniEmbedding.load(weights, modules.llm.textTable, { books, activations, ...padIds(tokenizer) }),
      ),
    );
    return { ...modules, embedding };
  }

  free(): void {
    for (const module of this.#loaded.splice(0).reverse()) module[Symbol.dispose]();
  }

  async #module<T extends Disposable>(name: string, load: (options: OpenModuleOptions) => Promise<T>): Promise<T> {
    const { device, signal, onProgress, packedCache, onPackedCache } = this.#options;
    const doneBefore = this.#done;
    let size = 0;
    const report = (loaded: number) => onProgress?.({ module: name, loaded: doneBefore + loaded, total: this.total });
    const module = await load({
      device,
      signal,
      packedCache,
      onPackedCache: (note) => {
        this.packedCache.push({ module: name, ...note });
        onPackedCache?.(note);
      },
      onProgress: ({ loaded, total }) => {
        size = total;
        report(loaded);
      },
    });
    this.#loaded.push(module);
    this.#done = doneBefore + size;
    report(size); // optional tensors that were not read count as loaded
    return module;
  }
}
