import type { CodecConfig } from "../../checkpoint/config.js";
import { CaracalError } from "../../errors.js";
import * as ops from "../../ops/index.js";
import { type Device, disposeAll } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Affine, Norm, Tap, Weights } from "../weights.js";

/** The codes of one frame: the semantic one, then the acoustic ones. */
export type SpeechFrame = readonly number[];

/** A convolution with all that it takes beside its input. */
interface Conv extends ops.Conv1dGeometry {
  readonly weight: ops.ConvWeight;
}

interface Lstm extends Omit<ops.LstmParameters, "h" | "c"> {
  readonly norm: Norm;
}

type LstmState = Pick<ops.LstmParameters, "h" | "c">;

interface ResidualUnit {
  readonly snake: Tensor<"f32">;
  readonly conv: Conv;
  readonly pointwise: Affine;
}

interface Block {
  readonly snake: Tensor<"f32">;
  readonly up: ops.ConvTranspose1dGeometry & { readonly weight: ops.ConvWeight };
  readonly units: readonly ResidualUnit[];
}

interface Layers {
  readonly semanticTable: Tensor<"f32">;
  /** The halves of each acoustic code, already projected, `[books, n, codec_dimension / 2]`. */
  readonly tableA: Tensor<"f32">;
  readonly tableB: Tensor<"f32">;
  readonly lstms: readonly Lstm[];
  readonly first: Conv;
  readonly blocks: readonly Block[];
  readonly snake: Tensor<"f32">;
  readonly last: Conv;
}

/** What a stream remembers. */
interface DecoderState {
  readonly lstms: readonly LstmState[];
  readonly convs: ReadonlyMap<Conv, ops.Conv1dStream>;
}

/** Runs a convolution, on a whole sequence or on the next rows of a stream. */
type Convolve = (x: Tensor<"f32">, conv: Conv) => Tensor<"f32">;

const dilations = [1, 3, 9];

/**
 * The decoder of LongCat-Audio-Codec: frames of codes to a waveform, in f32. The 24 kHz one is causal but for a
 * look-ahead of three frames, and can stream; the 16 kHz one decodes whole utterances.
 */
export class SpeechDecoder {
  /** Hz. */
  readonly sampleRate: number;
  readonly samplesPerFrame: number;

  private constructor(
    readonly device: Device,
    readonly config: CodecConfig,
    private readonly layers: Layers,
  ) {
    this.sampleRate = config.decoder_type === "24k" ? 24000 : 16000;
    this.samplesPerFrame = config.codec_dec_ratios.reduce((product, ratio) => product * ratio, 1);
  }

  /**
   * @param weights under the published names; it owns what is loaded here
   * @throws `CHECKPOINT_INVALID`, `ABORTED`
   */
  static async load(weights: Weights, config: CodecConfig): Promise<SpeechDecoder> {
    const { decoder_type, codec_dec_ratios: ratios } = config;
    const causal = decoder_type === "24k";
    const decoder = weights.part("decoder");
    const lstms = [1, 2].map((n) => loadLstm(decoder.part("mem_layers.0"), n));
    const first = loadConv(decoder, "model.0", { padding: "symmetric" });
    await weights.settle();
    const blocks: Block[] = [];
    for (const [i, stride] of ratios.entries()) {
      blocks.push(loadBlock(decoder.part(`model.${i + 1}.block`), stride, causal));
      await weights.settle();
    }
    const end = ratios.length + 1;
    // The causal decoder has a padding module, without parameters, before its last convolution.
    const last = `model.${end + (causal ? 2 : 1)}`;
    const layers: Layers = {
      semanticTable: weights.plain("semantic_dequantizer.dequant.weight"),
      tableA: weights.derive(() => acousticTable(weights, config, "a")),
      tableB: weights.derive(() => acousticTable(weights, config, "b")),
      lstms,
      first,
      blocks,
      snake: loadSnake(decoder.part("model"), end),
      last: loadConv(decoder, last, { padding: causal ? "causal" : "symmetric", activation: "tanh" }),
    };
    await weights.settle();
    return new SpeechDecoder(weights.device, config, layers);
  }

  /**
   * Decodes a whole utterance. Temporaries take some megabytes per frame at the published size: `stream` decodes long
   * ones piece by piece.
   * @returns `samplesPerFrame` samples per frame, in [−1, 1], at `sampleRate`
   * @throws `INVALID_ARGUMENT` (a frame of the wrong length), `INDEX_OUT_OF_RANGE` (a code outside its book)
   */
  async decode(frames: readonly SpeechFrame[], { tap }: { tap?: Tap } = {}): Promise<Float32Array> {
    if (frames.length === 0) return new Float32Array(0);
    using wave = this.device.scope(() => {
      const latents = this.#latents(frames);
      tap?.("latents", latents);
      const hidden = this.#remember(latents, newLstmStates(this.device, this.#latentSize));
      tap?.("glstm", hidden);
      const convolve: Convolve = (x, { weight, ...options }) => ops.conv1d(x, weight, options);
      return this.#synthesise(convolve(hidden, this.layers.first), convolve, tap);
    });
    return wave.toFloat32Array();
  }

  /** Decodes frames as they come. @throws `UNSUPPORTED` for a 16 kHz decoder, which sees the whole utterance */
  stream(): SpeechDecoderStream {
    if (this.config.decoder_type === "24k") return new SpeechDecoderStream(this);
    throw new CaracalError(
      "UNSUPPORTED",
      `the ${this.config.decoder_type} speech decoder is not causal and cannot stream: decode whole utterances`,
    );
  }

  get #latentSize(): number {
    return this.config.semantic_dim + this.config.codec_dimension;
  }

  /** @internal */
  newState(): DecoderState {
    const { first, blocks, last } = this.layers;
    const convs = [first, ...blocks.flatMap(({ units }) => units.map(({ conv }) => conv)), last];
    return {
      lstms: newLstmStates(this.device, this.#latentSize),
      convs: new Map(convs.map((conv) => [conv, streamOf(conv)])),
    };
  }

  /** @internal The next samples of a stream, if any; without frames, its last. */
  advance(frames: readonly SpeechFrame[] | undefined, { lstms, convs }: DecoderState): Tensor<"f32"> | undefined {
    const last = frames === undefined;
    const convolve: Convolve = (x, conv) => convs.get(conv)!.push(x, { last });
    return this.device.scope(() => {
      const hidden = last ? this.device.zeros([0, this.#latentSize]) : this.#remember(this.#latents(frames), lstms);
      const rows = convolve(hidden, this.layers.first);
      return rows.shape[0] === 0 ? undefined : this.#synthesise(rows, convolve);
    });
  }

  #latents(frames: readonly SpeechFrame[]): Tensor<"f32"> {
    const { semanticTable, tableA, tableB } = this.layers;
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

  /** Before anything is queued: a fault on the device would spoil the state of a stream. */
  #check(frames: readonly SpeechFrame[]): void {
    const { codec_codebooks, codec_codebook_size, semantic_token_nums } = this.config;
    for (const frame of frames) {
      if (frame.length !== 1 + codec_codebooks)
        throw new CaracalError(
          "INVALID_ARGUMENT",
          `a speech frame has 1 semantic and ${codec_codebooks} acoustic codes, got [${frame}]`,
        );
      const sizes = frame.map((_, book) => (book === 0 ? semantic_token_nums : codec_codebook_size ** 2));
      const bad = frame.findIndex((code, book) => !(Number.isInteger(code) && code >= 0 && code < sizes[book]!));
      if (bad >= 0)
        throw new CaracalError("INDEX_OUT_OF_RANGE", `code ${frame[bad]} of book ${bad} is outside [0, ${sizes[bad]})`);
    }
  }

  /** The two LSTMs, each followed by its LayerNorm. */
  #remember(latents: Tensor<"f32">, states: readonly LstmState[]): Tensor<"f32"> {
    return this.layers.lstms.reduce((x, { norm, ...lstm }, i) => {
      return ops.layerNorm(ops.lstm(x, { ...lstm, ...states[i]! }), norm.weight, norm.bias);
    }, latents);
  }

  /** Rows of the first convolution to samples, `[n · samplesPerFrame]`. */
  #synthesise(rows: Tensor<"f32">, convolve: Convolve, tap?: Tap): Tensor<"f32"> {
    const { blocks, snake, last } = this.layers;
    let y = rows;
    blocks.forEach((block, i) => {
      tap?.(`block${i}.input`, y);
      const { weight, ...options } = block.up;
      y = ops.convTranspose1d(ops.snake(y, block.snake), weight, options);
      for (const unit of block.units) y = residual(y, unit, convolve);
      tap?.(`block${i}.output`, y);
    });
    const wave = convolve(ops.snake(y, snake), last);
    return wave.reshape([wave.size]);
  }
}

/**
 * Decodes frames as they come: the samples of a frame follow once three more frames have come, or at the end. Whatever
 * the pieces, together the samples are those of the whole.
 */
export class SpeechDecoderStream implements Disposable {
  #state: DecoderState;
  #started = false;

  /** @internal Made by `SpeechDecoder.stream`. */
  constructor(private readonly decoder: SpeechDecoder) {
    this.#state = decoder.newState();
  }

  /**
   * @param frames any number of frames
   * @returns the samples that are now known, in [−1, 1]; `undefined` when there are none
   * @throws as `SpeechDecoder.decode`; the stream is then as it was before
   */
  push(frames: readonly SpeechFrame[]): Promise<Float32Array | undefined> {
    return frames.length > 0 ? this.#advance(frames) : Promise.resolve(undefined);
  }

  /** Ends the utterance and gives what is left of it; then starts anew. */
  async flush(): Promise<Float32Array | undefined> {
    if (!this.#started) return undefined;
    const rest = this.#advance(undefined);
    this.dispose();
    this.#state = this.decoder.newState();
    this.#started = false;
    return rest;
  }

  dispose(): void {
    disposeAll(this.#state.lstms);
    for (const conv of this.#state.convs.values()) conv.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #advance(frames: readonly SpeechFrame[] | undefined): Promise<Float32Array | undefined> {
    using wave = this.decoder.advance(frames, this.#state);
    this.#started = true;
    return wave?.toFloat32Array();
  }
}

function residual(x: Tensor<"f32">, { snake, conv, pointwise }: ResidualUnit, convolve: Convolve): Tensor<"f32"> {
  const inner = convolve(ops.snake(x, snake), conv);
  return ops.linear(inner, pointwise.weight, { bias: pointwise.bias, residual: x });
}

function newLstmStates(device: Device, size: number): LstmState[] {
  return [0, 1].map(() => ({ h: device.zeros([size]), c: device.zeros([size]) }));
}

function streamOf({ weight, ...geometry }: Conv): ops.Conv1dStream {
  return new ops.Conv1dStream(weight, geometry);
}

function loadLstm(w: Weights, n: number): Lstm {
  const lstm = w.part(`lstm_list${n}.0`);
  const hidden = lstm.shape("weight_hh_l0")[1]!;
  const matrix = (name: string) => (hidden % 16 === 0 ? lstm.packed(name) : lstm.plain(name)); // as the kernel needs it
  return {
    wIh: matrix("weight_ih_l0") as ops.LstmParameters["wIh"],
    wHh: matrix("weight_hh_l0") as ops.LstmParameters["wHh"],
    bIh: lstm.plain("bias_ih_l0"),
    bHh: lstm.plain("bias_hh_l0"),
    norm: w.norm(`ln${n}`),
  };
}

function loadConv(w: Weights, name: string, geometry: ops.Conv1dGeometry): Conv {
  return { ...w.conv1d(name), ...geometry };
}

function loadBlock(w: Weights, stride: number, causal: boolean): Block {
  // Causal: kernel = stride, no overlap. Otherwise the kernel is two strides wide, and both ends are cut.
  const cut = causal ? {} : { padding: Math.ceil(stride / 2), outputPadding: stride % 2 };
  const up = { ...w.convTranspose1d("1"), stride, ...cut };
  const units = dilations.map((dilation, i) => loadUnit(w.part(`${2 + i}.block`), dilation, causal));
  return { snake: loadSnake(w, 0), up, units };
}

function loadUnit(w: Weights, dilation: number, causal: boolean): ResidualUnit {
  // The causal units have a padding module, without parameters, before their convolution.
  const [conv, after, pointwise] = causal ? [2, 3, 4] : [1, 2, 3];
  const padding = causal ? "causal" : "symmetric";
  return {
    snake: loadSnake(w, 0),
    conv: loadConv(w, `${conv}`, { dilation, padding, snake: loadSnake(w, after) }),
    pointwise: w.pointwise(`${pointwise}`),
  };
}

/** Stored `[1, C, 1]`. */
function loadSnake(w: Weights, index: number): Tensor<"f32"> {
  const name = `${index}.alpha`;
  return w.plain(name, [w.shape(name)[1]!]);
}

/** One half of every acoustic code, looked up in its codebook and projected, for all codes of all books at once. */
function acousticTable(weights: Weights, config: CodecConfig, half: "a" | "b"): Tensor<"f32"> {
  const { codec_codebooks: books, codec_codebook_size: size, codec_codebook_search_dim: search } = config;
  const width = config.codec_dimension / 2;
  const tables = Array.from({ length: books }, (_, book) => {
    const quantizer = weights.part(`acoustic_quantizer.quantizers.${book}`);
    const projection = quantizer.folded(`out_proj_${half}`).reshape([width, search]);
    const bias = quantizer.plain(`out_proj_${half}.bias`);
    return ops.linear(quantizer.plain<"f32">(`codebook_${half}.weight`), projection, { bias }) as Tensor<"f32">;
  });
  return ops.concatRows(tables).reshape([books, size, width]);
}
