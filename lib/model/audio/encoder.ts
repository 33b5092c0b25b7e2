import type { AudioConfig, AudioFeatureConfig } from "../../checkpoint/config.js";
import type { Cmvn } from "../../checkpoint/kaldi.js";
import { CaracalError } from "../../errors.js";
import type { Activations } from "../../ops/call.js";
import * as ops from "../../ops/index.js";
import type { Device } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Affine, Norm, Tap, Weights } from "../weights.js";
import { type AudioFeatureStream, AudioFeatures } from "./features.js";

interface FsmnLayer {
  readonly memoryNorm: Norm;
  readonly memory: Tensor<Activations>;
  readonly rightOrder: number;
  readonly norm: Norm;
  readonly up: Affine;
  readonly down: Affine;
}

export interface AudioEncoderOptions {
  /** The dtype between the operations. */
  readonly activations?: Activations | undefined;
  /** The front end; without it the encoder takes features only. */
  readonly features?: AudioFeatureConfig | undefined;
  readonly cmvn?: Cmvn | undefined;
}

/** The streaming FSMN audio encoder and its projector: one token per step of features, 80 ms as published. */
export class AudioEncoder {
  private constructor(
    readonly device: Device,
    readonly config: AudioConfig,
    readonly activations: Activations,
    readonly features: AudioFeatures | undefined,
    private readonly pre: readonly [Affine, Affine],
    private readonly layers: readonly FsmnLayer[],
    private readonly post: readonly Affine[],
    private readonly ctc: Affine | undefined,
    private readonly projector: readonly [Affine, Affine],
  ) {}

  /**
   * @param weights with the parts `audio_encoder` and `audio_projector`, each under the published names; it owns what
   *   is loaded here
   * @throws `CHECKPOINT_INVALID`, `ABORTED`, `UNSUPPORTED` (an activation or features that this library lacks)
   */
  static async load(weights: Weights, config: AudioConfig, options: AudioEncoderOptions = {}): Promise<AudioEncoder> {
    const { activations = "f32", features, cmvn } = options;
    if (config.activation === "relu2")
      throw new CaracalError("UNSUPPORTED", "the audio encoder's activation must be relu or relu6, got relu2");
    const encoder = weights.part("audio_encoder");
    const pre = [encoder.linear("ffn.0"), encoder.linear("ffn.2")] as const;
    const layers: FsmnLayer[] = [];
    for (let i = 0; i < config.nlayer; i++) {
      layers.push(loadLayer(encoder.part(`fsmn_layers.${i}`), config));
      await weights.settle();
    }
    const post = Array.from({ length: config.ndnn }, (_, i) => encoder.linear(`dnn.${2 * i}`));
    const ctc = encoder.has("output.weight") ? encoder.linear("output") : undefined;
    const projection = weights.part("audio_projector");
    const projector = [projection.linear("0"), projection.linear("2")] as const;
    await weights.settle();
    const frontEnd = features && new AudioFeatures(weights.device, features, cmvn); // last: an abort would leave it
    return new AudioEncoder(weights.device, config, activations, frontEnd, pre, layers, post, ctc, projector);
  }

  /**
   * Encodes one whole recording.
   *
   * @param features f32 or bf16 `[T, input_size]`
   * @param options `length`: rows from there on are padding, zeroed before every layer as in the published batches
   *   (which differs near the end from encoding the shorter recording alone)
   * @returns `[T, D]` of the activations' dtype
   * @throws `SHAPE_MISMATCH`, `INVALID_ARGUMENT`
   */
  encode(
    features: Tensor<Activations>,
    { length, tap }: { length?: number | undefined; tap?: Tap | undefined } = {},
  ): Tensor<Activations> {
    const mask = (x: Tensor<Activations>) => (length === undefined ? x : ops.maskRows(x, [length]));
    return this.device.scope(() => {
      let y = this.#before(features);
      this.layers.forEach((layer, i) => {
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
   * Encodes a whole recording from its samples.
   * @param samples mono, in [−1, 1], at `features.sampleRate`
   * @throws `UNSUPPORTED` when loaded without a front end
   */
  encodeSamples(samples: Float32Array): Tensor<Activations> {
    const features = this.#frontEnd();
    return this.device.scope(() => this.encode(features.extract(samples)));
  }

  /** Encodes samples as they arrive. @throws `UNSUPPORTED` when loaded without a front end */
  stream(): AudioEncoderStream {
    return new AudioEncoderStream(this, this.#frontEnd());
  }

  /**
   * Logits of the CTC head over the encoder's own output, `[T, vocab_size]`. The language model does not use them.
   * @param hidden what `encode` shows as `encoder`
   * @throws `UNSUPPORTED` when the checkpoint has no such head
   */
  ctcLogits(hidden: Tensor<Activations>): Tensor<Activations> {
    if (!this.ctc) throw new CaracalError("UNSUPPORTED", "this checkpoint's audio encoder has no CTC head (`output`)");
    return ops.linear(hidden, this.ctc.weight, { bias: this.ctc.bias });
  }

  /** @internal One per layer, for a recording that arrives in pieces. */
  newMemories(): ops.FsmnMemoryStream<Activations>[] {
    return this.layers.map((layer) => {
      return new ops.FsmnMemoryStream(layer.memory, { ...this.#memory(layer), dtype: this.activations });
    });
  }

  /** @internal The next tokens of a stream, `[n, D]`; n may be 0. */
  advance(features: Tensor<Activations>, memories: ops.FsmnMemoryStream<Activations>[], last: boolean) {
    const y = this.layers.reduce(
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

  #before(features: Tensor<Activations>): Tensor<Activations> {
    const [first, second] = this.pre;
    const x = features.dtype === this.activations ? features : ops.cast(features, this.activations);
    const inner = ops.linear(x, first.weight, { bias: first.bias, activation: this.#activation });
    return ops.linear(inner, second.weight, { bias: second.bias });
  }

  #memory({ rightOrder, memoryNorm: norm }: FsmnLayer): ops.FsmnParameters {
    const { left_order: leftOrder, left_stride: stride } = this.config;
    return { leftOrder, rightOrder, leftStride: stride, rightStride: stride, norm };
  }

  /** What a layer makes of its memory's output. */
  #layer(o: Tensor<Activations>, { norm, up, down }: FsmnLayer): Tensor<Activations> {
    const n = ops.layerNorm(o, norm.weight, norm.bias);
    const inner = ops.linear(n, up.weight, { bias: up.bias, activation: this.#activation });
    return ops.linear(inner, down.weight, { bias: down.bias, residual: o });
  }

  #after(y: Tensor<Activations>): Tensor<Activations> {
    return this.post.reduce(
      (x, { weight, bias }) => ops.linear(x, weight, { bias, activation: this.#activation }) as Tensor<Activations>,
      y,
    );
  }

  #project(hidden: Tensor<Activations>): Tensor<Activations> {
    const [first, second] = this.projector;
    const inner = ops.linear(hidden, first.weight, { bias: first.bias, activation: "gelu" });
    return ops.linear(inner, second.weight, { bias: second.bias });
  }
}

/**
 * Encodes samples as they arrive. A token comes out once the samples that it depends on (some 0.5 s after it, as
 * published) have arrived, and is final: whatever the pieces, together the tokens are those of the whole recording.
 */
export class AudioEncoderStream implements Disposable {
  #features: AudioFeatureStream;
  #memories: ops.FsmnMemoryStream<Activations>[];

  /** @internal Made by `AudioEncoder.stream`. */
  constructor(
    private readonly encoder: AudioEncoder,
    private readonly frontEnd: AudioFeatures,
  ) {
    this.#features = frontEnd.stream();
    this.#memories = encoder.newMemories();
  }

  /**
   * @param samples mono, in [−1, 1], any number of them
   * @returns the tokens that became final, `[n, D]`, or `undefined` when none did
   */
  push(samples: Float32Array): Tensor<Activations> | undefined {
    return this.#advance(samples, false);
  }

  /** Ends the recording: the remaining tokens, with nothing (zeros) where they look ahead. Then starts anew. */
  flush(): Tensor<Activations> | undefined {
    const tokens = this.#advance(new Float32Array(0), true);
    this.dispose();
    this.#features = this.frontEnd.stream();
    this.#memories = this.encoder.newMemories();
    return tokens;
  }

  dispose(): void {
    this.#features.dispose();
    for (const memory of this.#memories) memory.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #advance(samples: Float32Array, last: boolean): Tensor<Activations> | undefined {
    return this.encoder.device.scope(() => {
      const features = this.#features.push(samples, { last });
      if (features.shape[0] === 0 && !last) return undefined;
      const tokens = this.encoder.advance(features, this.#memories, last);
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
