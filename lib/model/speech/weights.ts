import type { CodecConfig } from "../../checkpoint/config.js";
import * as ops from "../../ops/index.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Norm, Weights } from "../weights.js";

/** A convolution with all its arguments except the input. */
export interface Conv extends ops.Conv1dGeometry {
  readonly weight: ops.Conv1dWeight;
}

/** One LSTM layer and the LayerNorm that follows it. */
export interface Lstm extends Omit<ops.LstmParameters, "h" | "c"> {
  readonly norm: Norm;
}

export interface ResidualUnit {
  readonly snake: Tensor<"f32">;
  readonly conv: Conv;
  readonly pointwise: Conv;
}

/** One upsampling block. */
export interface Block {
  readonly snake: Tensor<"f32">;
  readonly up: ops.ConvTranspose1dGeometry & { readonly weight: ops.ConvTranspose1dWeight };
  readonly units: readonly ResidualUnit[];
}

export interface SpeechWeights {
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

const dilations = [1, 3, 9];

/**
 * Packs the speech decoder's weights, block by block.
 * @throws {CaracalError} `ABORTED`, `CHECKPOINT_INVALID` as for `Weights`
 */
export async function loadSpeechWeights(weights: Weights, config: CodecConfig): Promise<SpeechWeights> {
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
  const loaded: SpeechWeights = {
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
  return loaded;
}

function loadLstm(w: Weights, n: number): Lstm {
  const lstm = w.part(`lstm_list${n}.0`);
  const hidden = lstm.shape("weight_hh_l0")[1]!;
  // The kernel takes a packed matrix only for multiples of 16.
  const matrix = (name: string) => (hidden % 16 === 0 ? lstm.packed(name) : lstm.plain(name));
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
  // Causal: the kernel is one stride wide, without overlap. Otherwise it is two strides wide, and both ends are cut.
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
    pointwise: loadConv(w, `${pointwise}`, {}),
  };
}

/** The α of a Snake activation, stored as `[1, C, 1]`. */
function loadSnake(w: Weights, index: number): Tensor<"f32"> {
  const name = `${index}.alpha`;
  return w.plain(name, [w.shape(name)[1]!]);
}

/** One half of every acoustic code, looked up in its codebook and projected, for all codes of all books. */
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
