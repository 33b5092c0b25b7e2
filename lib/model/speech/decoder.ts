import { type CodecConfig, parseCodecConfig } from "../../checkpoint/config.js";
import type { Checkpoint } from "../../checkpoint/directory.js";
import { openCodec } from "../../checkpoint/parts.js";
import { CaracalError, shown } from "../../errors.js";
import * as ops from "../../ops/index.js";
import { aFunction, checkOption, checkOptions, type OptionRule, optional } from "../../options.js";
import type { Device, Tensor } from "../../tensor/tensor.js";
import type { Tap } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import type { SpeechFrame } from "./state.js";
import {
  checkedFrames,
  type DecoderState,
  type LstmState,
  newLstmStates,
  SpeechDecoderStream,
  StreamBatcher,
} from "./stream.js";
import { type Conv, loadSpeechWeights, type ResidualUnit, type SpeechWeights } from "./weights.js";

/** Options of `SpeechDecoder.decode`. */
export interface SpeechDecodeOptions {
  /** Sees `latents`, `glstm`, `block<i>.input` and `block<i>.output`. */
  readonly tap?: Tap | undefined;
}
const decodeOptions = { tap: optional(aFunction) } satisfies Record<keyof SpeechDecodeOptions, OptionRule>;

/** Runs a convolution on a whole sequence, or on the next rows of a stream. */
type Convolve = (x: Tensor<"f32">, conv: Conv) => Tensor<"f32">;

/**
 * The decoder of LongCat-Audio-Codec: frames of codes to a waveform, in f32. The 24 kHz decoder is causal except for a
 * look-ahead of three frames, and can stream; the 16 kHz decoder decodes whole utterances.
 */
export class SpeechDecoder implements Disposable {
  readonly config: CodecConfig;
  /** Hz. */
  readonly sampleRate: number;
  readonly samplesPerFrame: number;
  readonly #source: Weights;
  readonly #weights: SpeechWeights;
  readonly #streams: StreamBatcher;

  private constructor(source: Weights, weights: SpeechWeights, config: CodecConfig) {
    this.config = config;
    this.sampleRate = config.decoder_type === "24k" ? 24000 : 16000;
    this.samplesPerFrame = config.codec_dec_ratios.reduce((product, ratio) => product * ratio, 1);
    this.#source = source;
    this.#weights = weights;
    this.#streams = new StreamBatcher({
      newState: () => this.#newState(),
      check: (frames) => this.#check(frames),
      advance: (states, frames) => this.#advance(states, frames),
    });
  }

  /**
   * Loads the decoder's tensors under their published names. Disposing the decoder disposes `weights`.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen or a field of the config is wrong,
   *   `ABORTED`
   */
  static async load(weights: Weights, config: CodecConfig): Promise<SpeechDecoder> {
    checkOption("SpeechDecoder.load", "weights", weights, weightsRule);
    const checked = parseCodecConfig(config, "SpeechDecoder.load: config");
    return new SpeechDecoder(weights, await loadSpeechWeights(weights, checked), checked);
  }

  /**
   * Loads the decoder alone from a model directory: reads `audio_codec/config.yaml` and the `.pt` file it names, and
   * needs no other file.
   * @throws {CaracalError} as `load`, `IO_ERROR`, and `INVALID_ARGUMENT` when an option is unknown
   */
  static async open(directory: string, options: OpenModuleOptions): Promise<SpeechDecoder> {
    checkOptions("SpeechDecoder.open", options, openModuleOptions);
    return SpeechDecoder.fromCheckpoint(await openCodec(directory, options), options);
  }

  /** @internal Loads the decoder from an opened checkpoint. */
  static fromCheckpoint({ config, tensors }: Checkpoint["codec"], options: OpenModuleOptions): Promise<SpeechDecoder> {
    return loadModule({ "": tensors.values() }, options, (weights) => SpeechDecoder.load(weights, config));
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /**
   * Decodes a whole utterance. Temporaries take some megabytes per frame at the published size; `stream` decodes long
   * utterances piece by piece.
   * @returns `samplesPerFrame` samples per frame, in [−1, 1], at `sampleRate`
   * @throws {CaracalError} `INVALID_ARGUMENT` for a frame of the wrong length, no list of frames, or an unknown option,
   *   `INDEX_OUT_OF_RANGE` for a code outside its book
   */
  async decode(frames: readonly SpeechFrame[], options: SpeechDecodeOptions = {}): Promise<Float32Array> {
    checkOptions("SpeechDecoder.decode", options, decodeOptions);
    const list = checkedFrames("SpeechDecoder.decode", frames);
    const { tap } = options;
    this.#check(list);
    if (list.length === 0) return new Float32Array(0);
    using wave = this.device.scope(() => {
      const latents = this.#latents(list);
      tap?.("latents", latents);
      const hidden = this.#remember(latents, [{ lstms: newLstmStates(this.device, this.#latentSize) }]);
      tap?.("glstm", hidden);
      const convolve: Convolve = (x, { weight, ...geometry }) => ops.conv1d(x, weight, geometry);
      return this.#synthesise(convolve(hidden, this.#weights.first), convolve, tap);
    });
    return wave.toFloat32Array();
  }

  /**
   * Decodes frames as they arrive. What streams push in the same turn of the event loop is computed together.
   * @throws {CaracalError} `UNSUPPORTED` for a 16 kHz decoder, which needs the whole utterance
   */
  stream(): SpeechDecoderStream {
    if (this.config.decoder_type === "24k") return new SpeechDecoderStream(this.#streams);
    throw new CaracalError(
      "UNSUPPORTED",
      `the ${this.config.decoder_type} speech decoder is not causal and cannot stream: decode whole utterances`,
    );
  }

  /** Frees the weights. */
  dispose(): void {
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get #latentSize(): number {
    return this.config.semantic_dim + this.config.codec_dimension;
  }

  #newState(): DecoderState {
    const { first, blocks, last } = this.#weights;
    const convs = [first, ...blocks.flatMap(({ units }) => units.map(({ conv }) => conv)), last];
    return {
      lstms: newLstmStates(this.device, this.#latentSize),
      convs: convs.map(({ weight, ...geometry }) => new ops.Conv1dStream(weight, geometry)),
    };
  }

  /** The next samples of streams, as many of each; without frames, their last ones. */
  #advance(states: readonly DecoderState[], frames: readonly SpeechFrame[] | undefined): Tensor<"f32"> | undefined {
    const last = frames === undefined;
    let used = 0;
    // Convolutions with a state are run in the order in which #newState lists them.
    const convolve: Convolve = (x) => {
      const index = used++;
      return ops.Conv1dStream.pushAll(
        states.map(({ convs }) => convs[index]!),
        x,
        { last },
      );
    };
    return this.device.scope(() => {
      const hidden = last ? this.device.zeros([0, this.#latentSize]) : this.#remember(this.#latents(frames), states);
      const rows = convolve(hidden, this.#weights.first);
      return rows.shape[0] === 0 ? undefined : this.#synthesise(rows, convolve);
    });
  }

  #latents(frames: readonly SpeechFrame[]): Tensor<"f32"> {
    const { semanticTable, tableA, tableB } = this.#weights;
    const books = this.config.codec_codebooks;
    const semantic = Int32Array.from(frames, (frame) => frame[0]!);
    const acoustic = Int32Array.from(frames.flatMap((frame) => frame.slice(1)));
    return ops.codecEmbedding({
      semantic: this.device.tensor(semantic, [frames.length], "i32"),
      acoustic: this.device.tensor(acoustic, [frames.length, books], "i32"),
      semanticTable,
      tableA,
      tableB,
    });
  }

  /** Checks codes before anything is queued, because a fault on the device would corrupt the state of a stream. */
  #check(frames: readonly SpeechFrame[]): void {
    const { codec_codebooks, codec_codebook_size, semantic_token_nums } = this.config;
    for (const frame of frames) {
      if (frame.length !== 1 + codec_codebooks)
        throw new CaracalError(
          "INVALID_ARGUMENT",
          `a speech frame has 1 semantic and ${codec_codebooks} acoustic codes, got ${shown(frame)}`,
        );
      const sizes = frame.map((_, book) => (book === 0 ? semantic_token_nums : codec_codebook_size ** 2));
      const bad = frame.findIndex((code, book) => !(Number.isInteger(code) && code >= 0 && code < sizes[book]!));
      if (bad >= 0)
        throw new CaracalError(
          "INDEX_OUT_OF_RANGE",
          `code ${shown(frame[bad])} of book ${bad} is outside [0, ${sizes[bad]})`,
        );
    }
  }

  /** The two LSTMs, each followed by its LayerNorm. */
  #remember(latents: Tensor<"f32">, states: readonly { readonly lstms: readonly LstmState[] }[]): Tensor<"f32"> {
    return this.#weights.lstms.reduce((x, { norm, ...lstm }, i) => {
      const [h, c] = [states.map(({ lstms }) => lstms[i]!.h), states.map(({ lstms }) => lstms[i]!.c)];
      return ops.layerNorm(ops.lstm(x, { ...lstm, h, c }), norm.weight, norm.bias);
    }, latents);
  }

  /** Rows of the first convolution to samples, `[n · samplesPerFrame]`. */
  #synthesise(rows: Tensor<"f32">, convolve: Convolve, tap?: Tap): Tensor<"f32"> {
    const { blocks, snake, last } = this.#weights;
    let y = rows;
    blocks.forEach((block, i) => {
      tap?.(`block${i}.input`, y);
      const { weight, ...geometry } = block.up;
      y = ops.convTranspose1d(ops.snake(y, block.snake), weight, geometry);
      for (const unit of block.units) y = residual(y, unit, convolve);
      tap?.(`block${i}.output`, y);
    });
    const wave = convolve(ops.snake(y, snake), last);
    return wave.reshape([wave.size]);
  }
}

function residual(x: Tensor<"f32">, { snake, conv, pointwise: { weight, ...rest } }: ResidualUnit, convolve: Convolve) {
  const inner = convolve(ops.snake(x, snake), conv);
  // Not `linear`: the sums of a convolution are more accurate.
  return ops.conv1d(inner, weight, { ...rest, residual: x });
}
