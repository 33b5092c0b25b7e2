import { type CodecConfig, parseCodecConfig } from "../../checkpoint/config.js";
import type { Checkpoint } from "../../checkpoint/directory.js";
import { openCodec } from "../../checkpoint/parts.js";
import { CaracalError, shown } from "../../errors.js";
import * as ops from "../../ops/index.js";
import { aFunction, checkedList, checkOption, checkOptions, type OptionRule, optional } from "../../options.js";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.js";
import type { Tap } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import { maxBooks } from "./heads.js";
import { maxFrames } from "./state.js";
import { type Conv, loadSpeechWeights, type ResidualUnit, type SpeechWeights } from "./weights.js";

/** The codes of one frame: one semantic code, then the acoustic codes. */
export type SpeechFrame = readonly number[];

/** Options of `SpeechDecoder.decode`. */
export interface SpeechDecodeOptions {
  /** Sees `latents`, `glstm`, `block<i>.input` and `block<i>.output`. */
  readonly tap?: Tap | undefined;
}
const decodeOptions = { tap: optional(aFunction) } satisfies Record<keyof SpeechDecodeOptions, OptionRule>;

type LstmState = Pick<ops.LstmParameters, "h" | "c">;

/** The state of a stream. */
interface DecoderState {
  readonly lstms: readonly LstmState[];
  readonly convs: ReadonlyMap<Conv, ops.Conv1dStream>;
}

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

  private constructor(source: Weights, weights: SpeechWeights, config: CodecConfig) {
    this.config = config;
    this.sampleRate = config.decoder_type === "24k" ? 24000 : 16000;
    this.samplesPerFrame = config.codec_dec_ratios.reduce((product, ratio) => product * ratio, 1);
    this.#source = source;
    this.#weights = weights;
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
    if (list.length === 0) return new Float32Array(0);
    using wave = this.device.scope(() => {
      const latents = this.#latents(list);
      tap?.("latents", latents);
      const hidden = this.#remember(latents, newLstmStates(this.device, this.#latentSize));
      tap?.("glstm", hidden);
      const convolve: Convolve = (x, { weight, ...geometry }) => ops.conv1d(x, weight, geometry);
      return this.#synthesise(convolve(hidden, this.#weights.first), convolve, tap);
    });
    return wave.toFloat32Array();
  }

  /**
   * Decodes frames as they arrive.
   * @throws {CaracalError} `UNSUPPORTED` for a 16 kHz decoder, which needs the whole utterance
   */
  stream(): SpeechDecoderStream {
    if (this.config.decoder_type === "24k") return new SpeechDecoderStream(this);
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

  /** @internal */
  newState(): DecoderState {
    const { first, blocks, last } = this.#weights;
    const convs = [first, ...blocks.flatMap(({ units }) => units.map(({ conv }) => conv)), last];
    return {
      lstms: newLstmStates(this.device, this.#latentSize),
      convs: new Map(convs.map((conv) => [conv, streamOf(conv)])),
    };
  }

  /** @internal The next samples of a stream, if any; without frames, its last samples. */
  advance(frames: readonly SpeechFrame[] | undefined, { lstms, convs }: DecoderState): Tensor<"f32"> | undefined {
    const last = frames === undefined;
    const convolve: Convolve = (x, conv) => convs.get(conv)!.push(x, { last });
    return this.device.scope(() => {
      const hidden = last ? this.device.zeros([0, this.#latentSize]) : this.#remember(this.#latents(frames), lstms);
      const rows = convolve(hidden, this.#weights.first);
      return rows.shape[0] === 0 ? undefined : this.#synthesise(rows, convolve);
    });
  }

  #latents(frames: readonly SpeechFrame[]): Tensor<"f32"> {
    const { semanticTable, tableA, tableB } = this.#weights;
    const books = this.config.codec_codebooks;
    this.#check(frames);
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
  #remember(latents: Tensor<"f32">, states: readonly LstmState[]): Tensor<"f32"> {
    return this.#weights.lstms.reduce((x, { norm, ...lstm }, i) => {
      return ops.layerNorm(ops.lstm(x, { ...lstm, ...states[i]! }), norm.weight, norm.bias);
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

/**
 * Decodes frames as they arrive: the samples of a frame follow once three more frames have arrived, or at the end.
 * However the utterance is split, the joined samples equal those of the whole.
 */
export class SpeechDecoderStream implements Disposable {
  readonly #decoder: SpeechDecoder;
  #state: DecoderState;
  #started = false;

  /** @internal Use `SpeechDecoder.stream`. */
  constructor(decoder: SpeechDecoder) {
    this.#decoder = decoder;
    this.#state = decoder.newState();
  }

  /**
   * @param frames any number of frames
   * @returns the samples that became final, in [−1, 1]; `undefined` when there are none
   * @throws {CaracalError} as `SpeechDecoder.decode`; the stream is then unchanged
   */
  async push(frames: readonly SpeechFrame[]): Promise<Float32Array | undefined> {
    const list = checkedFrames("SpeechDecoderStream.push", frames);
    return list.length > 0 ? this.#advance(list, this.#state) : undefined;
  }

  /** Ends the utterance and returns its remaining samples. Then restarts the stream. */
  async flush(): Promise<Float32Array | undefined> {
    if (!this.#started) return undefined;
    const ended = this.#state;
    // Made before the samples are queued: if it fails, there is no promise yet that nobody would handle.
    this.#state = this.#decoder.newState();
    this.#started = false;
    try {
      return await this.#advance(undefined, ended);
    } finally {
      disposeState(ended);
    }
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    disposeState(this.#state);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #advance(frames: readonly SpeechFrame[] | undefined, state: DecoderState): Promise<Float32Array | undefined> {
    using wave = this.#decoder.advance(frames, state);
    if (frames) this.#started = true;
    return wave?.toFloat32Array();
  }
}

function disposeState({ lstms, convs }: DecoderState): void {
  disposeAll(lstms);
  for (const conv of convs.values()) conv.dispose();
}

function residual(x: Tensor<"f32">, { snake, conv, pointwise: { weight, ...rest } }: ResidualUnit, convolve: Convolve) {
  const inner = convolve(ops.snake(x, snake), conv);
  // Not `linear`: the sums of a convolution are more accurate.
  return ops.conv1d(inner, weight, { ...rest, residual: x });
}

/** Returns a copy of the frames. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedFrames(where: string, frames: unknown): number[][] {
  const list = checkedList(where, "frames", frames, "a list of frames, each a list of codes", maxFrames);
  return list.map((frame, i) => checkedList(where, `frames[${i}]`, frame, "a list of codes", maxBooks));
}

function newLstmStates(device: Device, size: number): LstmState[] {
  return [0, 1].map(() => ({ h: device.zeros([size]), c: device.zeros([size]) }));
}

function streamOf({ weight, ...geometry }: Conv): ops.Conv1dStream {
  return new ops.Conv1dStream(weight, geometry);
}
