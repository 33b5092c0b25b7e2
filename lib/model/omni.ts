import {
  type OpenCheckpointOptions,
  type OptionalParts,
  openParts,
  type PartialCheckpoint,
} from "../checkpoint/directory.js";
import { openCheckpointOptions } from "../checkpoint/survey.js";
import { CaracalError, throwIfAborted } from "../errors.js";
import type { ReplyRequest } from "../live/host.js";
import type { LiveOptions } from "../live/options.js";
import { LiveSession } from "../live/session.js";
import { VoiceActivityDetector } from "../live/voiceActivity.js";
import { aFunction, checkOptions, type OptionRule, oneOf, optional } from "../options.js";
import { deviceRule } from "../tensor/check.js";
import { Device } from "../tensor/tensor.js";
import type { AudioEncoder } from "./audio/encoder.js";
import { type AudioFraming, audioFraming, defaultAudioFraming } from "./audio/framing.js";
import { type Llm, type LlmOptions, llmOptions } from "./language/llm.js";
import { Loader, type Modules, type OmniLoadProgress } from "./loader.js";
import { type OmniPackedCacheNote, type PackedCacheOptions, packedCacheOptions } from "./packed/cache.js";
import { type OmniMemory, warnOfMemory, withAdvice } from "./packed/memory.js";
import type { BlockKeys } from "./prompt/blockKeys.js";
import type { OmniEmbedding } from "./prompt/embedding.js";
import { encodePrompt, notLoaded } from "./prompt/encode.js";
import { MediaCache } from "./prompt/mediaCache.js";
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
import type { SpeechDecoder } from "./speech/decoder.js";
import type { AudioHeads } from "./speech/heads.js";
import type { Rows } from "./types.js";
import type { VisionEncoder } from "./vision/encoder.js";

/** Options of `OmniModel.load`. */
export interface OmniLoadOptions extends LlmOptions, SchedulerOptions, PackedCacheOptions, OpenCheckpointOptions {
  /**
   * Whether to load what images and videos need. Without it, `vision/` may be absent, and messages with images or videos
   * are refused. Default true.
   */
  readonly vision?: boolean | undefined;
  /**
   * Whether to load what sound in messages needs: the audio encoder. Without it, its files in `audio/` may be absent, and
   * messages with sound are refused. Default true.
   */
  readonly audio?: boolean | undefined;
  /**
   * Whether to load what spoken replies need: the embeddings and heads of speech, and the speech decoder. Without it, their
   * files in `audio/` and `audio_codec/` may be absent, and replies are text only. Default true.
   */
  readonly speech?: boolean | undefined;
  /**
   * The dtype of the matrices and convolutions of the speech decoder, which is published as f32, and of the audio encoder,
   * if it is not stored as bf16 already. `bf16` halves their memory. The speech of random weights of the published size
   * then differs by one percent, 40 dB below the signal. Default `stored`.
   */
  readonly speechDtype?: "stored" | "bf16" | undefined;
  /**
   * Whether to keep what was computed for a prompt, so that a prompt that begins alike, such as that of a conversation's
   * next turn, takes less: rows of the KV cache until the room is needed, and what the encoders made of images and sound,
   * in up to 256 MiB. No reply changes by a bit. Default true.
   */
  readonly prefixCache?: boolean | undefined;
  /** The device to run on. Default: a device opened for this model and disposed with it. */
  readonly device?: Device | undefined;
  /** Called while weights are loaded. */
  readonly onProgress?: ((progress: OmniLoadProgress) => void) | undefined;
}
const omniLoadOptions = {
  ...llmOptions,
  ...schedulerOptions,
  ...openCheckpointOptions,
  ...packedCacheOptions,
  vision: optional(oneOf(true, false)),
  audio: optional(oneOf(true, false)),
  speech: optional(oneOf(true, false)),
  speechDtype: optional(oneOf("stored", "bf16")),
  prefixCache: optional(oneOf(true, false)),
  device: optional(deviceRule),
  onProgress: optional(aFunction),
} satisfies Record<keyof OmniLoadOptions, OptionRule | true>;

/** The load of a model at one moment. */
export interface OmniStats extends QueueStats {
  /** Replies whose messages are being read and encoded. */
  readonly preparing: number;
}

/**
 * LongCat-Flash-Omni: takes speech, images, video and text, and answers in text and speech. Every module can be used
 * alone, and loaded alone by its own `open`; the getters of those that the model was loaded without throw
 * `INVALID_ARGUMENT`.
 *
 * Replies generated at the same time share the language model's steps, and each equals the reply generated alone.
 */
export class OmniModel implements AsyncDisposable {
  readonly device: Device;
  /** The model directory, without the parts that were not loaded. */
  readonly checkpoint: PartialCheckpoint;
  readonly llm: Llm;
  readonly tokenizer: OmniTokenizer;
  readonly embedding: OmniEmbedding;
  /** What became of the packed weights: nothing where a module did not look for any, as on a GPU. */
  readonly packedCache: readonly OmniPackedCacheNote[];
  /** What the weights take, and a warning if that is more than the memory. */
  readonly memory: OmniMemory;
  readonly #modules: Modules;
  readonly #scheduler: Scheduler;
  readonly #media: MediaCache | null;
  readonly #free: () => void;
  /** The replies that have not ended, also those whose speech alone is unfinished. */
  readonly #replies = new Set<Reply>();
  readonly #sessions = new Set<LiveSession>();
  #voice: Promise<VoiceActivityDetector> | undefined;
  #preparing = 0;
  #disposed = false;

  private constructor(
    device: Device,
    checkpoint: PartialCheckpoint,
    modules: Modules,
    { prefixCache, ...options }: SchedulerOptions & { readonly prefixCache: boolean },
    loader: Loader,
    free: () => void,
  ) {
    this.device = device;
    this.checkpoint = checkpoint;
    this.llm = modules.llm;
    this.tokenizer = modules.tokenizer;
    this.embedding = modules.embedding;
    this.packedCache = loader.packedCache;
    this.memory = loader.memory;
    this.#modules = modules;
    this.#scheduler = new Scheduler(modules.llm, modules.embedding, modules.audioHeads, options);
    this.#media = prefixCache ? new MediaCache() : null;
    this.#free = free;
  }

  /**
   * Loads a model directory in its published layout. All that is loaded is validated before memory is spent. Matrices
   * are packed once, so the weights occupy memory once. With `{ vision: false, audio: false, speech: false }` it is a
   * model of text alone.
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
      vision = true,
      audio = true,
      speech = true,
      speechDtype,
      prefillChunk,
      maxBatch,
      unreadSeconds,
      prefixCache = true,
      packedCache,
      onPackedCache,
      device: givenDevice,
      ...llm
    } = options;
    const checkpoint = await openParts(directory, { vision, audio, speech }, { signal, strict, onWarning });
    const tokenizer = await OmniTokenizer.open(directory, { signal });
    throwIfAborted(signal, "loading the model");
    const device = givenDevice ?? (await Device.open());
    const loader = new Loader(checkpoint, { device, speechDtype, signal, onProgress, packedCache, onPackedCache });
    const free = () => {
      loader.free();
      if (!givenDevice) device.dispose();
    };
    try {
      const modules = await loader.load(tokenizer, llm);
      warnOfMemory(loader.memory, onWarning);
      const scheduling = { prefillChunk, maxBatch, unreadSeconds };
      return new OmniModel(device, checkpoint, modules, { ...scheduling, prefixCache }, loader, free);
    } catch (error) {
      const { memory } = loader;
      free();
      throw withAdvice(error, memory);
    }
  }

  /** Whether `caracal synth` made the weights: its output then means nothing. */
  get synthetic(): boolean {
    return this.checkpoint.synthetic;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when the model was loaded with `vision: false` */
  get vision(): VisionEncoder {
    return loaded(this.#modules.vision, "vision", "vision");
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when the model was loaded with `audio: false` */
  get audioEncoder(): AudioEncoder {
    return loaded(this.#modules.audioEncoder, "audioEncoder", "audio");
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when the model was loaded with `speech: false` */
  get audioHeads(): AudioHeads {
    return loaded(this.#modules.audioHeads, "audioHeads", "speech");
  }

  /** Whether the model was loaded with speech. */
  get canSpeak(): boolean {
    return this.#modules.speechDecoder !== null;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when the model was loaded with `speech: false` */
  get speechDecoder(): SpeechDecoder {
    return loaded(this.#modules.speechDecoder, "speechDecoder", "speech");
  }

  /** How samples become audio tokens. */
  get framing(): AudioFraming {
    const { audio } = this.checkpoint;
    return audio ? audioFraming(audio.features) : defaultAudioFraming;
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

  /**
   * Opens a conversation in real time, which shares the model's steps with all others. The model must have been loaded with
   * audio; with vision, it can look; with speech, it can speak.
   * @throws {CaracalError} `INVALID_ARGUMENT` for an option that is unknown, missing or out of range, or a model that
   *   lacks a part; `DISPOSED`
   */
  live(options: LiveOptions = {}): LiveSession {
    if (this.#disposed) throw disposedError();
    const { audioEncoder, tokenizer, embedding, llm } = this;
    const { vision, speechDecoder } = this.#modules;
    const session = new LiveSession(
      {
        encoders: { tokenizer, embedding, audioEncoder, vision, maxTokens: llm.cache.tokens },
        sampleRate: this.framing.sampleRate,
        frameSeconds: speechDecoder ? speechDecoder.samplesPerFrame / speechDecoder.sampleRate : undefined,
        voice: () => this.#voiceActivity(),
        encode: (message, signal) => this.#encode(message, signal),
        sequence: () => llm.cache.sequence(),
        append: (sequence, rows, signal) => this.#scheduler.append(sequence, rows, signal),
        reply: (request) => this.#start({ ...request, usage: new UsageMeter(), keys: null }),
        wake: () => this.#scheduler.wake(),
      },
      options,
    );
    this.#sessions.add(session);
    session.ended.addEventListener("abort", () => this.#sessions.delete(session), { once: true });
    return session;
  }

  /** The replies in progress, and the use of the KV cache. */
  stats(): OmniStats {
    return { preparing: this.#preparing, ...this.#scheduler.stats() };
  }

  /** Whether the model was disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Ends all replies and frees the model, and its device if it was opened for the model. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const work of [...this.#sessions, ...this.#replies]) work.fail(disposedError());
    this.#voice?.then(
      (detector) => detector.dispose(),
      () => {}, // it was not opened
    );
    this.#media?.dispose();
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
    const canSpeak = this.#modules.speechDecoder !== null;
    const checked = checkGenerateOptions({
      ...options,
      speech: options.speech === undefined ? canSpeak : options.speech,
    });
    const { speech } = checked;
    if (speech && !canSpeak) throw notLoaded("generate: speech", "speech");
    const usage = new UsageMeter();
    const progress: PromptProgress = {
      stage: (stage, done, total) => events.push({ type: "stage", stage, done, total }),
      add: (stage, milliseconds, tokens, audioSeconds) => usage.add(stage, milliseconds, tokens, audioSeconds),
    };
    const { limits, template } = options;
    this.#preparing++;
    const encoders = { ...this.#modules, framing: this.framing, media: this.#media };
    const encoding = encodePrompt(messages, encoders, { speech, signal, progress, limits, template });
    const { embeddings: prompt, keys } = await encoding
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
    return this.#start({ events, prompt, sequence: this.llm.cache.sequence(), options: checked, usage, keys });
  }

  /** Starts a reply whose prompt follows what its sequence holds. It takes both. */
  #start(request: ReplyRequest & { usage: UsageMeter; keys: BlockKeys | null }): Reply {
    const { events, prompt, sequence, options, usage, keys, onLastRow } = request;
    const { speech, maxTokens, stops, logProbabilities, ...sampling } = options;
    usage.promptTokens = sequence.length + prompt.shape[0];
    const reply = new Reply(events, prompt, sequence, {
      tokenizer: this.tokenizer,
      speech: speech ? { stream: this.#speechStream(), sampleRate: this.speechDecoder.sampleRate } : null,
      sampling,
      maxTokens,
      stops,
      logProbabilities,
      maxPositions: this.llm.config.max_position_embeddings,
      books: this.embedding.books,
      usage,
      keys,
      onLastRow,
    });
    this.#replies.add(reply);
    reply.ended.addEventListener("abort", () => this.#replies.delete(reply), { once: true });
    this.#scheduler.add(reply);
    return reply;
  }

  /** The rows of a message in a live conversation. */
  async #encode(message: Message, signal: AbortSignal): Promise<Rows> {
    const encoders = { ...this.#modules, framing: this.framing, media: this.#media };
    const options = { speech: null, signal, progress: { stage() {}, add() {} } };
    return (await encodePrompt([message], encoders, options)).embeddings;
  }

  #voiceActivity(): Promise<VoiceActivityDetector> {
    this.#voice ??= VoiceActivityDetector.open({ device: this.device });
    return this.#voice;
  }

  #speechStream() {
    const canStream = this.speechDecoder.config.decoder_type === "24k";
    return canStream ? this.speechDecoder.stream() : new WholeUtterance((frames) => this.speechDecoder.decode(frames));
  }
}

function loaded<T>(module: T | null, what: string, option: keyof OptionalParts): T {
  if (module === null) throw notLoaded(what, option);
  return module;
}

const disposedError = () => new CaracalError("DISPOSED", "the model was disposed: load it again");
