import type { Cmvn } from "../../checkpoint/cmvn.js";
import { type AudioConfig, type AudioFeatureConfig, parseAudioConfig } from "../../checkpoint/config.js";
import type { Checkpoint } from "../../checkpoint/directory.js";
import { openAudio } from "../../checkpoint/parts.js";
import { CaracalError } from "../../errors.js";
import { type Activations, activationsRule } from "../../ops/call.js";
import * as ops from "../../ops/index.js";
import {
  aFunction,
  checkedFloats,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  optional,
  wholeNumber,
} from "../../options.js";
import { checkTensor } from "../../tensor/check.js";
import type { Device, Tensor } from "../../tensor/tensor.js";
import type { Rows, Tap, Vector } from "../types.js";
import {
  type Affine,
  loadModule,
  type Norm,
  type OpenModuleOptions,
  openModuleOptions,
  type Weights,
  weightsRule,
} from "../weights.js";
import { type AudioFeatureStream, AudioFeatures } from "./features.js";

interface FsmnLayer {
  readonly memoryNorm: Norm;
  readonly memory: Vector;
  readonly rightOrder: number;
  readonly norm: Norm;
  readonly up: Affine;
  readonly down: Affine;
}

interface AudioWeights {
  readonly pre: readonly [Affine, Affine];
  readonly layers: readonly FsmnLayer[];
  readonly post: readonly Affine[];
  readonly ctc: Affine | undefined;
  readonly projector: readonly [Affine, Affine];
}

/** Options of the audio encoder. */
export interface AudioEncoderOptions {
  /** The dtype between the operations. Default f32. */
  readonly activations?: Activations | undefined;
  /** The front end; without it, the encoder takes features only. */
  readonly features?: AudioFeatureConfig | undefined;
  /** The front end's normalisation; without it, features are not normalised. */
  readonly cmvn?: Cmvn | undefined;
}
const audioEncoderOptions = {
  activations: activationsRule,
  features: optional({ accepts: isObject, expected: "the configuration of a front end" }),
  cmvn: true,
} satisfies Record<keyof AudioEncoderOptions, OptionRule | true>;

/** Options of `AudioEncoder.open`, which reads the front end from the directory. */
export interface OpenAudioEncoderOptions extends OpenModuleOptions, Pick<AudioEncoderOptions, "activations"> {}
const openAudioEncoderOptions = { ...openModuleOptions, activations: activationsRule } satisfies Record<
  keyof OpenAudioEncoderOptions,
  OptionRule | true
>;

/** Options of `AudioEncoder.encode`. */
export interface AudioEncodeOptions {
  /**
   * Rows from this one on are padding, zeroed before every layer as in the published batches. Near the end the result
   * differs from encoding the shorter recording alone.
   */
  readonly length?: number | undefined;
  /** Sees `fsmn<i>.input`, `fsmn<i>.output` and `encoder`. */
  readonly tap?: Tap | undefined;
}
const encodeOptions = { length: optional(wholeNumber), tap: optional(aFunction) } satisfies Record<
  keyof AudioEncodeOptions,
  OptionRule
>;

/** The streaming FSMN audio encoder and its projector: one token per step of features, 80 ms as published. */
export class AudioEncoder implements Disposable {
  readonly config: AudioConfig;
  readonly activations: Activations;
  /** The front end, or undefined when loaded without one. */
  readonly features: AudioFeatures | undefined;
  readonly #source: Weights;
  readonly #weights: AudioWeights;

  private constructor(source: Weights, weights: AudioWeights, config: AudioConfig, options: AudioEncoderOptions) {
    const { activations = "f32", features, cmvn } = options;
    this.config = config;
    this.activations = activations;
    this.features = features && new AudioFeatures(source.device, features, cmvn);
    this.#source = source;
    this.#weights = weights;
  }

  /**
   * Loads the parts `audio_encoder` and `audio_projector` of `weights`, each under the published names. Disposing the
   * encoder disposes `weights`.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen or a field of the config is wrong,
   *   `UNSUPPORTED` for an activation or features that this library lacks, `ABORTED`, `INVALID_ARGUMENT` when an option is unknown
   */
  static async load(weights: Weights, config: AudioConfig, options: AudioEncoderOptions = {}): Promise<AudioEncoder> {
    checkOption("AudioEncoder.load", "weights", weights, weightsRule);
    checkOptions("AudioEncoder.load", options, audioEncoderOptions);
    const checked = parseAudioConfig(config, "AudioEncoder.load: config");
    if (checked.activation === "relu2")
      throw new CaracalError("UNSUPPORTED", "the audio encoder's activation must be relu or relu6, got relu2");
    const encoder = weights.part("audio_encoder");
    const pre = [encoder.linear("ffn.0"), encoder.linear("ffn.2")] as const;
    const layers: FsmnLayer[] = [];
    for (let i = 0; i < checked.nlayer; i++) {
      layers.push(loadLayer(encoder.part(`fsmn_layers.${i}`), checked));
      await weights.settle();
    }
    const post = Array.from({ length: checked.ndnn }, (_, i) => encoder.linear(`dnn.${2 * i}`));
    const ctc = encoder.has("output.weight") ? encoder.linear("output") : undefined;
    const projection = weights.part("audio_projector");
    const projector = [projection.linear("0"), projection.linear("2")] as const;
    await weights.settle();
    return new AudioEncoder(weights, { pre, layers, post, ctc, projector }, checked, options);
  }

  /**
   * Loads the encoder and its front end alone from a model directory: reads the encoder's and front end's files in
   * `audio/`, and needs no other file.
   * @throws {CaracalError} as `load`, and `IO_ERROR`
   */
  static async open(directory: string, options: OpenAudioEncoderOptions): Promise<AudioEncoder> {
    checkOptions("AudioEncoder.open", options, openAudioEncoderOptions);
    const { activations } = options;
    return AudioEncoder.fromCheckpoint(await openAudio(directory, options), options, { activations });
  }

  /** @internal Loads the encoder, with its front end, from an opened checkpoint. */
  static fromCheckpoint(
    { config, features, cmvn, encoder, projector }: Checkpoint["audio"],
    options: OpenModuleOptions,
    encoderOptions: Pick<AudioEncoderOptions, "activations">,
  ): Promise<AudioEncoder> {
    const parts = { audio_encoder: encoder.values(), audio_projector: projector.values() };
    return loadModule(parts, options, (weights) =>
      AudioEncoder.load(weights, config, { ...encoderOptions, features, cmvn }),
    );
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /**
   * Encodes one whole recording.
   *
   * @param features f32 or bf16 `[T, input_size]`
   * @returns `[T, D]` of the activations' dtype
   * @throws {CaracalError} `SHAPE_MISMATCH` for features of another width, `INVALID_ARGUMENT` for a bad length or an
   *   unknown option
   */
  encode(features: Tensor<Activations>, options: AudioEncodeOptions = {}): Rows {
    checkTensor("AudioEncoder.encode", "features", features);
    checkOptions("AudioEncoder.encode", options, encodeOptions);
    const { length, tap } = options;
    const mask = (x: Rows) => (length === undefined ? x : ops.maskRows(x, [length]));
    return this.device.scope(() => {
      let y = this.#before(features);
      this.#weights.layers.forEach((layer, i) => {
        y = mask(y);
        tap?.(`fsmn${i}.input`, y);
        y = this.#layer(ops.fsmnMemory(y, layer.memory, { ...this.#memory(layer), residual: y }), layer);
        tap?.(`fsmn${i}.output`, y);
      });
      const hidden = this.#after(mask(y));
      tap?.("encoder", hidden);
      return this.#project(hidden);
    });
  }

  /**
   * Encodes a whole recording from its samples, which it copies on the event loop, in 0.1 ms for each second of
   * sound. Push a long recording into `stream` in pieces.
   * @param samples mono, in [−1, 1], at `features.sampleRate`
   * @returns `[tokens, D]` of the activations' dtype
   * @throws {CaracalError} `UNSUPPORTED` when loaded without a front end, `INVALID_ARGUMENT` for what is no Float32Array
   */
  encodeSamples(samples: Float32Array): Rows {
    const features = this.#frontEnd();
    return this.device.scope(() => this.encode(features.extract(samples)));
  }

  /**
   * Encodes samples as they arrive.
   * @throws {CaracalError} `UNSUPPORTED` when loaded without a front end
   */
  stream(): AudioEncoderStream {
    return new AudioEncoderStream(this, this.#frontEnd());
  }

  /**
   * Logits of the CTC head over the encoder's own output, `[T, vocab_size]`. The language model does not use them.
   * @param hidden the rows that `encode` shows its tap as `encoder`
   * @throws {CaracalError} `UNSUPPORTED` when the checkpoint has no such head
   */
  ctcLogits(hidden: Tensor<Activations>): Rows {
    const { ctc } = this.#weights;
    checkTensor("AudioEncoder.ctcLogits", "hidden", hidden);
    if (!ctc) throw new CaracalError("UNSUPPORTED", "this checkpoint's audio encoder has no CTC head (`output`)");
    return ops.linear(hidden as Rows, ctc.weight, { bias: ctc.bias });
  }

  /** Frees the weights and the front end. */
  dispose(): void {
    this.features?.dispose();
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal One memory per layer, for a recording that arrives in pieces. */
  newMemories(): ops.FsmnMemoryStream<Activations>[] {
    return this.#weights.layers.map((layer) => {
      return new ops.FsmnMemoryStream(layer.memory, { ...this.#memory(layer), dtype: this.activations });
    });
  }

  /** @internal The next tokens of a stream, `[n, D]`; n may be 0. */
  advance(features: Rows, memories: ops.FsmnMemoryStream<Activations>[], last: boolean): Rows {
    const y = this.#weights.layers.reduce(
      (rows, layer, i) => this.#layer(memories[i]!.push(rows, rows, { last }), layer),
      this.#before(features),
    );
    return this.#project(this.#after(y));
  }

  #frontEnd(): AudioFeatures {
    if (this.features) return this.features;
    throw new CaracalError("UNSUPPORTED", "the audio encoder was loaded without `features`, it cannot take samples");
  }

  get #activation(): "relu" | "relu6" {
    return this.config.activation as "relu" | "relu6";
  }

  #before(features: Tensor<Activations>): Rows {
    const [first, second] = this.#weights.pre;
    const rows = features as Rows;
    const x = rows.dtype === this.activations ? rows : ops.cast(rows, this.activations);
    const inner = ops.linear(x, first.weight, { bias: first.bias, activation: this.#activation });
    return ops.linear(inner, second.weight, { bias: second.bias });
  }

  #memory({ rightOrder, memoryNorm: norm }: FsmnLayer): ops.FsmnParameters {
    const { left_order: leftOrder, left_stride: stride } = this.config;
    return { leftOrder, rightOrder, leftStride: stride, rightStride: stride, norm };
  }

  /** The feed-forward half of a layer. @param memory the output of the layer's memory */
  #layer(memory: Tensor<Activations>, { norm, up, down }: FsmnLayer): Rows {
    const o = memory as Rows;
    const n = ops.layerNorm(o, norm.weight, norm.bias);
    const inner = ops.linear(n, up.weight, { bias: up.bias, activation: this.#activation });
    return ops.linear(inner, down.weight, { bias: down.bias, residual: o });
  }

  #after(y: Rows): Rows {
    return this.#weights.post.reduce<Rows>(
      (x, { weight, bias }) => ops.linear(x, weight, { bias, activation: this.#activation }),
      y,
    );
  }

  #project(hidden: Rows): Rows {
    const [first, second] = this.#weights.projector;
    const inner = ops.linear(hidden, first.weight, { bias: first.bias, activation: "gelu" });
    return ops.linear(inner, second.weight, { bias: second.bias });
  }
}

/**
 * Encodes samples as they arrive. A token is returned once the samples it depends on have arrived (up to about 0.5 s
 * after it, as published), and is final: however the recording is split, the joined tokens equal those of the whole.
 */
export class AudioEncoderStream implements Disposable {
  readonly #encoder: AudioEncoder;
  readonly #frontEnd: AudioFeatures;
  #features: AudioFeatureStream;
  #memories: ops.FsmnMemoryStream<Activations>[];

  /** @internal Use `AudioEncoder.stream`. */
  constructor(encoder: AudioEncoder, frontEnd: AudioFeatures, from?: AudioEncoderStream) {
    this.#encoder = encoder;
    this.#frontEnd = frontEnd;
    this.#features = from ? from.#features.fork() : frontEnd.stream();
    this.#memories = from ? from.#memories.map((memory) => memory.fork()) : encoder.newMemories();
  }

  /**
   * @param samples mono, in [−1, 1], any number of samples
   * @returns the tokens that became final, `[n, D]`, or `undefined` when there are none
   */
  push(samples: Float32Array): Rows | undefined {
    return this.#advance(checkedFloats("AudioEncoderStream.push", "samples", samples), false);
  }

  /** Ends the recording and returns the remaining tokens, whose look-ahead reads zeros. Then restarts the stream. */
  flush(): Rows | undefined {
    const tokens = this.#advance(new Float32Array(0), true);
    this.dispose();
    this.#features = this.#frontEnd.stream();
    this.#memories = this.#encoder.newMemories();
    return tokens;
  }

  /**
   * A stream that has got the same samples; both then go on by themselves. `flush` of one gives the tokens of a recording
   * that ends here, while the other waits for more of it.
   */
  fork(): AudioEncoderStream {
    return new AudioEncoderStream(this.#encoder, this.#frontEnd, this);
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#features.dispose();
    for (const memory of this.#memories) memory.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #advance(samples: Float32Array, last: boolean): Rows | undefined {
    return this.#encoder.device.scope(() => {
      const features = this.#features.push(samples, { last });
      if (features.shape[0] === 0 && !last) return undefined;
      const tokens = this.#encoder.advance(features, this.#memories, last);
      return tokens.shape[0] === 0 ? undefined : tokens;
    });
  }
}

function loadLayer(w: Weights, { left_order }: AudioConfig): FsmnLayer {
  return {
    memoryNorm: w.norm("memory_ln"),
    memory: w.plain("memory.weight"),
    rightOrder: w.shape("memory.weight").at(-1)! - 1 - left_order,
    norm: w.norm("ffn.0"),
    up: w.linear("ffn.1"),
    down: w.linear("ffn.3"),
  };
}
