import { readConfig } from "../checkpoint/config.js";
import { type Checkpoint, openCheckpoint } from "../checkpoint/directory.js";
import { reservedSpeechIds } from "../checkpoint/layout.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import type { Activations } from "../ops/call.js";
import { Device } from "../tensor/device.js";
import { AudioEncoder } from "./audio/encoder.js";
import { Llm, type LlmOptions } from "./language/llm.js";
import type { Message } from "./prompt/build.js";
import { OmniEmbedding } from "./prompt/embedding.js";
import { preparePrompt } from "./prompt/encode.js";
import type { AudioFraming } from "./prompt/interleave.js";
import { OmniTokenizer } from "./prompt/tokenizer.js";
import { type Events, Generation } from "./reply/generation.js";
import { checkOptions, type GenerateOptions } from "./reply/options.js";
import { Reply, WholeUtterance } from "./reply/reply.js";
import { Scheduler, type SchedulerOptions } from "./reply/scheduler.js";
import { UsageMeter } from "./reply/usage.js";
import { SpeechDecoder } from "./speech/decoder.js";
import { AudioHeads } from "./speech/heads.js";
import { semanticEndId } from "./speech/state.js";
import { VisionEncoder } from "./vision/encoder.js";
import { Weights } from "./weights.js";

export interface OmniLoadOptions extends LlmOptions, SchedulerOptions {
  /** Where to run; a device opened for this model, and disposed with it, when left out. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: OmniLoadProgress) => void) | undefined;
}

/** How far loading is, in bytes of the checkpoint. */
export interface OmniLoadProgress {
  readonly module: string;
  readonly loaded: number;
  readonly total: number;
}

interface Modules {
  readonly llm: Llm;
  readonly vision: VisionEncoder;
  readonly audioEncoder: AudioEncoder;
  readonly speechDecoder: SpeechDecoder;
  readonly tokenizer: OmniTokenizer;
  readonly audioHeads: AudioHeads;
  readonly embedding: OmniEmbedding;
}

/**
 * LongCat-Flash-Omni: hears, sees, reads, and answers in text and speech. Every module can be used alone.
 *
 * Replies that are generated at the same time share the language model's steps, and each is what it would be alone.
 */
export class OmniModel implements AsyncDisposable {
  readonly llm: Llm;
  readonly vision: VisionEncoder;
  readonly audioEncoder: AudioEncoder;
  readonly speechDecoder: SpeechDecoder;
  readonly tokenizer: OmniTokenizer;
  readonly audioHeads: AudioHeads;
  readonly embedding: OmniEmbedding;
  readonly #scheduler: Scheduler;
  #disposed = false;

  private constructor(
    readonly device: Device,
    readonly checkpoint: Checkpoint,
    /** Made by `caracal synth`: what it says means nothing. */
    readonly synthetic: boolean,
    modules: Modules,
    options: SchedulerOptions,
    private readonly free: () => void,
  ) {
    this.llm = modules.llm;
    this.vision = modules.vision;
    this.audioEncoder = modules.audioEncoder;
    this.speechDecoder = modules.speechDecoder;
    this.tokenizer = modules.tokenizer;
    this.audioHeads = modules.audioHeads;
    this.embedding = modules.embedding;
    this.#scheduler = new Scheduler(modules.llm, modules.embedding, modules.audioHeads, options);
  }

  /**
   * Loads a model directory as it is published. Everything is validated before memory is spent; matrices are packed
   * once, so weights stand in memory once.
   *
   * @throws CHECKPOINT_INVALID (one error with all that is missing or misshapen), OUT_OF_MEMORY, IO_ERROR, ABORTED;
   *   what was loaded is freed
   */
  static async load(directory: string, options: OmniLoadOptions = {}): Promise<OmniModel> {
    const { signal } = options;
    const checkpoint = await openCheckpoint(directory, { signal });
    const tokenizer = await OmniTokenizer.load(directory, { signal });
    const config = (await readConfig(`${directory}/config.json`)) as { _note?: unknown };
    const synthetic = typeof config._note === "string" && config._note.includes("caracal synth");
    throwIfAborted(signal, "loading the model");
    const device = options.device ?? (await Device.open());
    const loader = new Loader(device, checkpoint, options);
    const free = () => {
      loader.free();
      if (!options.device) device.dispose();
    };
    try {
      const modules = await loader.load(tokenizer);
      return new OmniModel(device, checkpoint, synthetic, modules, options, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  /** How samples become audio tokens. */
  get framing(): AudioFraming {
    const { fbank, splice } = this.checkpoint.audio.features;
    const samples = (milliseconds: number) => Math.round((fbank.freq * milliseconds) / 1000);
    return {
      sampleRate: fbank.freq,
      windowSamples: samples(fbank.frame_length),
      hopSamples: samples(fbank.frame_shift),
      stride: splice.stride,
    };
  }

  /**
   * Answers a conversation. The first `next` begins; leaving the iteration ends the reply. Errors come from `next`:
   * INVALID_ARGUMENT, MEDIA_INVALID, IO_ERROR, MISSING_TOOL, OUT_OF_MEMORY (the KV cache), ABORTED. The model can be
   * used again after any of them.
   */
  generate(messages: readonly Message[], options: GenerateOptions = {}): Generation {
    const prepare = (events: Events, signal: AbortSignal) => this.#prepare(messages, options, events, signal);
    return new Generation(prepare, options.signal, () => this.#scheduler.wake());
  }

  /** Ends all replies and frees the model, and its device if that was opened for it. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#scheduler.failAll(disposedError());
    this.free();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  async #prepare(
    messages: readonly Message[],
    options: GenerateOptions,
    events: Events,
    signal: AbortSignal,
  ): Promise<Reply> {
    if (this.#disposed) throw disposedError();
    const { speech, maxTokens, ...sampling } = checkOptions(options);
    const usage = new UsageMeter();
    const { limits, template } = options;
    const onStage = (stage: Parameters<UsageMeter["add"]>[0], done: number, total: number) =>
      events.push({ type: "stage", stage, done, total });
    const prompt = await preparePrompt(messages, this, { speech, signal, usage, onStage, limits, template });
    if (this.#disposed) {
      prompt.dispose();
      throw disposedError();
    }
    const reply = new Reply(events, prompt, this.llm.cache.sequence(), {
      tokenizer: this.tokenizer,
      speech: speech ? { stream: this.#speechStream(), sampleRate: this.speechDecoder.sampleRate } : null,
      sampling,
      maxTokens,
      maxPositions: this.llm.config.max_position_embeddings,
      books: this.embedding.books,
      usage,
    });
    this.#scheduler.add(reply);
    return reply;
  }

  #speechStream() {
    const streams = this.speechDecoder.config.decoder_type === "24k";
    return streams ? this.speechDecoder.stream() : new WholeUtterance((frames) => this.speechDecoder.decode(frames));
  }
}

const disposedError = () => new CaracalError("DISPOSED", "the model was disposed: load it again");

/** Loads the modules one after another, and can free whatever it has loaded. */
class Loader {
  readonly #loaded: Disposable[] = [];
  readonly #total: number;
  #done = 0;

  constructor(
    private readonly device: Device,
    private readonly checkpoint: Checkpoint,
    private readonly options: OmniLoadOptions,
  ) {
    const { llm, vision, audio, speech, codec } = checkpoint;
    const maps = [llm.tensors, vision.encoder, vision.projector, audio.encoder, audio.projector];
    const all = [...maps, speech.embeddings, speech.heads, codec.tensors].flatMap((map) => [...map.values()]);
    this.#total = all.reduce((bytes, entry) => bytes + entry.byteLength, 0);
  }

  async load(tokenizer: OmniTokenizer): Promise<Modules> {
    const { llm, vision, audio, speech, codec } = this.checkpoint;
    const activations: Activations = this.options.activations ?? "f32";
    const speechDecoder = await this.#module("speech decoder", { "": codec.tensors }, (weights) =>
      SpeechDecoder.load(weights, codec.config),
    );
    const audioParts = { audio_encoder: audio.encoder, audio_projector: audio.projector };
    const { features, cmvn } = audio;
    const audioEncoder = await this.#module("audio encoder", audioParts, (weights) =>
      AudioEncoder.load(weights, audio.config, { activations, features, cmvn }),
    );
    this.#loaded.push({ [Symbol.dispose]: () => audioEncoder.features?.dispose() });
    const visionParts = { vision_encoder: vision.encoder, vision_projector: vision.projector };
    const visionEncoder = await this.#module("vision encoder", visionParts, (weights) =>
      VisionEncoder.load(weights, vision.config, { activations }),
    );
    const audioHeads = await this.#module("speech heads", { "": speech.heads }, (weights) =>
      AudioHeads.load(weights, { books: speech.config.books, allowed: this.#codes() }),
    );
    const languageModel = await this.#module("language model", { "": llm.tensors }, (weights) =>
      Llm.load(weights, llm.config, this.options),
    );
    this.#loaded.push(languageModel);
    const embedding = await this.#module("speech embeddings", { "": speech.embeddings }, (weights) =>
      OmniEmbedding.load(weights, languageModel.textTable, {
        books: speech.config.books,
        audioPadId: tokenizer.specialId("<|audio_pad|>"),
        imagePadId: tokenizer.specialId("<|image_pad|>"),
        activations,
      }),
    );
    return { speechDecoder, audioEncoder, vision: visionEncoder, audioHeads, llm: languageModel, embedding, tokenizer };
  }

  free(): void {
    for (const module of this.#loaded.splice(0).reverse()) module[Symbol.dispose]();
  }

  async #module<T>(
    module: string,
    parts: Record<string, Checkpoint["llm"]["tensors"]>,
    load: (weights: Weights) => Promise<T>,
  ): Promise<T> {
    const { signal, onProgress } = this.options;
    const before = this.#done;
    const entries = Object.fromEntries(Object.entries(parts).map(([part, map]) => [part, [...map.values()]]));
    const weights = Weights.of(this.device, entries, {
      signal,
      onProgress: ({ loaded }) => onProgress?.({ module, loaded: before + loaded, total: this.#total }),
    });
    this.#loaded.push(weights);
    const result = await load(weights);
    this.#done += Object.values(entries)
      .flat()
      .reduce((bytes, entry) => bytes + entry.byteLength, 0);
    onProgress?.({ module, loaded: this.#done, total: this.#total });
    return result;
  }

  /** The ids that name a code of the speech decoder; the semantic book may also end the speech. */
  #codes() {
    const { codec, speech } = this.checkpoint;
    const first = reservedSpeechIds;
    return Array.from({ length: speech.config.books }, (_, book): [number, number][] => {
      if (book > 0) return [[first, first + codec.config.codec_codebook_size ** 2]];
      return [
        [semanticEndId, semanticEndId + 1],
        [first, first + codec.config.semantic_token_nums],
      ];
    });
  }
}
