import { type Checkpoint, type OpenCheckpointOptions, openCheckpoint } from "../checkpoint/directory.js";
import { openCheckpointOptions } from "../checkpoint/survey.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import { aFunction, checkOptions, type OptionRule, optional } from "../options.js";
import { deviceRule } from "../tensor/check.js";
import { Device } from "../tensor/tensor.js";
import { AudioEncoder } from "./audio/encoder.js";
import { type AudioFraming, audioFraming } from "./audio/framing.js";
import { Llm, type LlmOptions, llmOptions } from "./language/llm.js";
import { OmniEmbedding, padIds } from "./prompt/embedding.js";
import { encodePrompt } from "./prompt/encode.js";
import type { Message } from "./prompt/messages.js";
import type { PromptProgress } from "./prompt/progress.js";
import { OmniTokenizer } from "./prompt/tokenizer.js";
import type { Events } from "./reply/events.js";
import { Generation } from "./reply/generation.js";
import { checkGenerateOptions, type GenerateOptions } from "./reply/options.js";
import type { QueueStats } from "./reply/queue.js";
import { Reply, WholeUtterance } from "./reply/reply.js";
import { Scheduler, type SchedulerOptions, schedulerOptions } from "./reply/scheduler.js";
import { UsageMeter } from "./reply/usage.js";
import { SpeechDecoder } from "./speech/decoder.js";
import { AudioHeads } from "./speech/heads.js";
import { VisionEncoder } from "./vision/encoder.js";
import { loadModule, type OpenModuleOptions } from "./weights.js";

/** Options of `OmniModel.load`. */
export interface OmniLoadOptions extends LlmOptions, SchedulerOptions, OpenCheckpointOptions {
  /** The device to run on. Default: a device opened for this model and disposed with it. */
  readonly device?: Device | undefined;
  /** Called while weights are loaded. */
  readonly onProgress?: ((progress: OmniLoadProgress) => void) | undefined;
}
const omniLoadOptions = {
  ...llmOptions,
  ...schedulerOptions,
  ...openCheckpointOptions,
  device: optional(deviceRule),
  onProgress: optional(aFunction),
} satisfies Record<keyof OmniLoadOptions, OptionRule | true>;

/** The load of a model at one moment. */
export interface OmniStats extends QueueStats {
  /** Replies whose messages are being read and encoded. */
  readonly preparing: number;
}

/** Loading progress, in bytes of the checkpoint. */
export interface OmniLoadProgress {
  readonly module: string;
  readonly loaded: number;
  readonly total: number;
}

type Modules = Pick<
  OmniModel,
  "llm" | "vision" | "audioEncoder" | "speechDecoder" | "tokenizer" | "audioHeads" | "embedding"
>;

/**
 * LongCat-Flash-Omni: takes speech, images, video and text, and answers in text and speech. Every module can be used
 * alone, and loaded alone by its own `open`.
 *
 * Replies generated at the same time share the language model's steps, and each equals the reply generated alone.
 */
export class OmniModel implements AsyncDisposable {
  readonly device: Device;
  readonly checkpoint: Checkpoint;
  readonly llm: Llm;
  readonly vision: VisionEncoder;
  readonly audioEncoder: AudioEncoder;
  readonly speechDecoder: SpeechDecoder;
  readonly tokenizer: OmniTokenizer;
  readonly audioHeads: AudioHeads;
  readonly embedding: OmniEmbedding;
  readonly #scheduler: Scheduler;
  readonly #free: () => void;
  /** The replies that have not ended, also those whose speech alone is unfinished. */
  readonly #replies = new Set<Reply>();
  #preparing = 0;
  #disposed = false;

  private constructor(
    device: Device,
    checkpoint: Checkpoint,
    modules: Modules,
    options: SchedulerOptions,
    free: () => void,
  ) {
    this.device = device;
    this.checkpoint = checkpoint;
    this.llm = modules.llm;
    this.vision = modules.vision;
    this.audioEncoder = modules.audioEncoder;
    this.speechDecoder = modules.speechDecoder;
    this.tokenizer = modules.tokenizer;
    this.audioHeads = modules.audioHeads;
    this.embedding = modules.embedding;
    this.#scheduler = new Scheduler(modules.llm, modules.embedding, modules.audioHeads, options);
    this.#free = free;
  }

  /**
   * Loads a model directory in its published layout. The whole directory is validated before memory is spent. Matrices
   * are packed once, so the weights occupy memory once.
   *
   * @throws {CaracalError} `CHECKPOINT_INVALID` (one error that lists everything missing or misshapen), `OUT_OF_MEMORY`,
   *   `IO_ERROR`, `ABORTED`, `INVALID_ARGUMENT` when the directory is no path, or an option is unknown or out of
   *   range; everything loaded so far is freed
   */
  static async load(directory: string, options: OmniLoadOptions = {}): Promise<OmniModel> {
    checkOptions("OmniModel.load", options, omniLoadOptions);
    const {
      signal,
      strict,
      onWarning,
      onProgress,
      prefillChunk,
      maxBatch,
      unreadSeconds,
      device: givenDevice,
      ...llm
    } = options;
    const checkpoint = await openCheckpoint(directory, { signal, strict, onWarning });
    const tokenizer = await OmniTokenizer.open(directory, { signal });
    throwIfAborted(signal, "loading the model");
    const device = givenDevice ?? (await Device.open());
    const loader = new Loader(checkpoint, { device, signal, onProgress });
    const free = () => {
      loader.free();
      if (!givenDevice) device.dispose();
    };
    try {
      const modules = await loader.load(tokenizer, llm);
      return new OmniModel(device, checkpoint, modules, { prefillChunk, maxBatch, unreadSeconds }, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  /** Whether `caracal synth` made the weights: its output then means nothing. */
  get synthetic(): boolean {
    return this.checkpoint.synthetic;
  }

  /** How samples become audio tokens. */
  get framing(): AudioFraming {
    return audioFraming(this.checkpoint.audio.features);
  }

  /**
   * Answers a conversation. The first `next` starts the reply; leaving the iteration ends it. The model remains usable
   * after any error.
   *
   * The last event is `end`. It says why the reply ended, by `stop` (the model ended it, or the stop string `stopString`)
   * or `length` (`maxTokens`, or the model's positions); it holds the whole text, what was used and how long it took
   * (`ReplyUsage`), and the spoken reply in the form that the next turn's messages take: push
   * `{ role: "assistant", content: [event.speech] }`, or the text if `speech` is null.
   *
   * Replies that do not fit in the KV cache together take turns: the youngest waits, and may have to be computed again,
   * which changes none of its bits (`ReplyUsage` says how often and how long).
   *
   * @throws {CaracalError} from `next`: `INVALID_ARGUMENT`, `MEDIA_INVALID`, `IO_ERROR`, `MISSING_TOOL`,
   *   `OUT_OF_MEMORY` when the reply alone is longer than the KV cache, `ABORTED`, `DISPOSED`
   */
  generate(messages: readonly Message[], options: GenerateOptions = {}): Generation {
    return new Generation(options, {
      prepare: (given, events, signal) => this.#prepare(messages, given, events, signal),
      onTake: () => this.#scheduler.wake(),
    });
  }

  /** The replies in progress, and the use of the KV cache. */
  stats(): OmniStats {
    return { preparing: this.#preparing, ...this.#scheduler.stats() };
  }

  /** Ends all replies and frees the model, and its device if it was opened for the model. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const reply of this.#replies) reply.fail(disposedError());
    this.#free();
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
    const { speech, maxTokens, stops, logProbabilities, ...sampling } = checkGenerateOptions(options);
    const usage = new UsageMeter();
    const progress: PromptProgress = {
      stage: (stage, done, total) => events.push({ type: "stage", stage, done, total }),
      add: (stage, milliseconds, tokens, audioSeconds) => usage.add(stage, milliseconds, tokens, audioSeconds),
    };
    const { limits, template } = options;
    this.#preparing++;
    const encoding = encodePrompt(messages, this, { speech, signal, progress, limits, template });
    const prompt = await encoding
      .finally(() => this.#preparing--)
      .catch((error) => {
        // Whatever the encoding was doing, it met a tensor or device that the disposal of the model freed.
        const isDisposed = this.#disposed && error instanceof CaracalError && error.code === "DISPOSED";
        throw isDisposed ? disposedError() : error;
      });
    if (this.#disposed) {
      prompt.dispose();
      throw disposedError();
    }
    usage.promptTokens = prompt.shape[0];
    const reply = new Reply(events, prompt, this.llm.cache.sequence(), {
      tokenizer: this.tokenizer,
      speech: speech ? { stream: this.#speechStream(), sampleRate: this.speechDecoder.sampleRate } : null,
      sampling,
      maxTokens,
      stops,
      logProbabilities,
      maxPositions: this.llm.config.max_position_embeddings,
      books: this.embedding.books,
      usage,
    });
    this.#replies.add(reply);
    reply.ended.addEventListener("abort", () => this.#replies.delete(reply), { once: true });
    this.#scheduler.add(reply);
    return reply;
  }

  #speechStream() {
    const canStream = this.speechDecoder.config.decoder_type === "24k";
    return canStream ? this.speechDecoder.stream() : new WholeUtterance((frames) => this.speechDecoder.decode(frames));
  }
}

const disposedError = () => new CaracalError("DISPOSED", "the model was disposed: load it again");

type LoaderOptions = Pick<OmniLoadOptions, "signal" | "onProgress"> & { readonly device: Device };

/** Loads the modules one after another, and can free all modules loaded so far. */
class Loader {
  readonly #checkpoint: Checkpoint;
  readonly #options: LoaderOptions;
  readonly #loaded: Disposable[] = [];
  readonly #total: number;
  #done = 0;

  constructor(checkpoint: Checkpoint, options: LoaderOptions) {
    this.#checkpoint = checkpoint;
    this.#options = options;
    const { llm, vision, audio, speech, codec } = checkpoint;
    const maps = [llm.tensors, vision.encoder, vision.projector, audio.encoder, audio.projector];
    const all = [...maps, speech.embeddings, speech.heads, codec.tensors].flatMap((map) => [...map.values()]);
    this.#total = all.reduce((bytes, entry) => bytes + entry.byteLength, 0);
  }

  async load(tokenizer: OmniTokenizer, llmOptions: LlmOptions): Promise<Modules> {
    const { vision, audio, speech, codec, llm } = this.#checkpoint;
    const { activations = "f32" } = llmOptions;
    const { books } = speech.config;
    const heads = { config: speech.config, heads: speech.heads, codec: codec.config };
    const modules = {
      tokenizer,
      speechDecoder: await this.#module("speech decoder", (o) => SpeechDecoder.fromCheckpoint(codec, o)),
      audioEncoder: await this.#module("audio encoder", (o) => AudioEncoder.fromCheckpoint(audio, o, { activations })),
      vision: await this.#module("vision encoder", (o) => VisionEncoder.fromCheckpoint(vision, o, { activations })),
      audioHeads: await this.#module("speech heads", (o) => AudioHeads.fromCheckpoint(heads, o)),
      llm: await this.#module("language model", (o) => Llm.fromCheckpoint(llm, o, llmOptions)),
    };
    const embedding = await this.#module("speech embeddings", (o) =>
      loadModule({ "": speech.embeddings.values() }, o, (weights) =>
        OmniEmbedding.load(weights, modules.llm.textTable, { books, activations, ...padIds(tokenizer) }),
      ),
    );
    return { ...modules, embedding };
  }

  free(): void {
    for (const module of this.#loaded.splice(0).reverse()) module[Symbol.dispose]();
  }

  async #module<T extends Disposable>(name: string, load: (options: OpenModuleOptions) => Promise<T>): Promise<T> {
    const { device, signal, onProgress } = this.#options;
    const doneBefore = this.#done;
    let size = 0;
    const report = (loaded: number) => onProgress?.({ module: name, loaded: doneBefore + loaded, total: this.#total });
    const module = await load({
      device,
      signal,
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
