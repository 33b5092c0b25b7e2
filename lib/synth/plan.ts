import * as layouts from "../checkpoint/layout.js";
import { type Preset, speechOf } from "./presets.js";
import { type Distribution, largestQuantile, maxF8e4m3, type RandomTensor } from "./random.js";
import { firstMerge, specialTokens } from "./tokenizer.js";

/** The tensors of every file of a checkpoint. `llm` covers all shards. */
export interface Plan {
  readonly llm: readonly RandomTensor[];
  /** The tensors of each `.pt` file by its path inside the checkpoint. */
  readonly archives: ReadonlyMap<string, readonly PlainTensor[]>;
}

type PlainTensor = RandomTensor<"bf16" | "f32">;

/** The dtype of the language model's matrices, but for the embedding, the router and the head. */
export type MatrixDType = "bf16" | "f8e4m3";

/**
 * Chooses the distribution of every random weight of a checkpoint. Matrices preserve the scale of their input (standard
 * deviation 1/√inputs) and norms are near 1, so activations keep a sane range at any depth. `textIds` is the size of
 * the tokenizer.
 */
export function planTensors(preset: Preset, textIds: number, matrices: MatrixDType = "bf16"): Plan {
  const { llm, vision, audio, codec } = preset;
  const width = llm.hidden_size;
  const speech = speechOf(preset);
  const archive = (path: string, layout: layouts.Layout, rules: readonly Rule[] = []): [string, PlainTensor[]] => {
    return [path, plan(layout, [...rules, ...commonRules], path)];
  };
  const bf16 = plan(layouts.llmLayout(llm), [...llmRules(preset, textIds), ...commonRules], "");
  const llmTensors = matrices === "bf16" ? bf16 : quantised(bf16, layouts.llmLayout(llm));
  const embedding = { ...bf16.find(({ name }) => name === embedTokens)!, name: "word_embeddings.weight" };
  const archives = new Map([
    ["language_model_embedding.pt", [embedding]],
    archive("vision/vision_model.pt", layouts.visionEncoderLayout(vision), visionRules),
    archive("vision/vision_projector.pt", layouts.visionProjectorLayout(vision, width)),
    archive("audio/audio_encoder.pt", layouts.audioEncoderLayout(audio), audioRules),
    archive("audio/audio_projector.pt", layouts.audioProjectorLayout(audio, width)),
    archive("audio/audio_embeddings.pt", layouts.speechEmbeddingsLayout(speech, width), speechRules(preset)),
    archive("audio/audio_output_layers.pt", layouts.speechHeadsLayout(speech, width), speechRules(preset)),
    archive(`audio_codec/${codec.ckpt_path}`, layouts.codecDecoderLayout(codec), codecRules(preset)),
  ]);
  return { llm: llmTensors, archives };
}

const embedTokens = "model.embed_tokens.weight";

/** The first rule whose pattern matches a name applies. `fan` is the number of inputs that one output sums. */
type Rule = readonly [RegExp, (fan: number, shape: readonly number[]) => Distribution];

function plan(layout: layouts.Layout, rules: readonly Rule[], path: string): PlainTensor[] {
  return [...layout]
    .filter(([, { scales }]) => scales === undefined)
    .map(([name, { shape, dtypes }]) => {
      const fan = shape.slice(1).reduce((product, size) => product * size, 1);
      const values = rules.find(([pattern]) => pattern.test(name))![1](fan, shape);
      const isF32 = /\.router\./.test(name) || !dtypes.includes("bf16");
      return { name, key: path + name, shape, dtype: isF32 ? "f32" : "bf16", values };
    });
}

/** The same weights as f8e4m3, whose scales make the largest value of each block the largest f8e4m3. */
function quantised(tensors: readonly PlainTensor[], layout: layouts.Layout): RandomTensor[] {
  const scales = new Map([...layout].flatMap(([name, { scales }]) => (scales === undefined ? [] : [[scales, name]])));
  return tensors.flatMap((tensor): RandomTensor[] => {
    const name = scales.get(tensor.name);
    if (name === undefined) return [tensor];
    const { shape } = layout.get(name)!;
    const std = maxF8e4m3 / largestQuantile;
    const values = { mean: tensor.values.std / std, std: 0 };
    return [
      { ...tensor, dtype: "f8e4m3", values: { mean: 0, std } },
      { name, key: name, shape, dtype: "f32", values },
    ];
  });
}

const around = (mean: number, std: number) => () => ({ mean, std });
const matrix = (gain: number) => (fan: number) => ({ mean: 0, std: gain / Math.sqrt(fan) });

const commonRules: readonly Rule[] = [
  [/bias/, around(0, 0.02)],
  // A weight with one dimension belongs to a norm.
  [/./, (fan, shape) => (shape.length === 1 ? { mean: 1, std: 0.1 } : matrix(1)(fan))],
];

function llmRules({ llm }: Preset, textIds: number): readonly Rule[] {
  // MLA scales its latents up. Without this factor, scores would be so large that attention selects a single token.
  const unscale = (rank: number, scaled: boolean) => (scaled ? Math.sqrt(rank / llm.hidden_size) : 1);
  const base = 1 / Math.sqrt(llm.hidden_size);
  const { eos, pause } = specialTokens;
  const row = (id: number, gain: number) => ({ from: id, to: id + 1, std: gain * base });
  const headRows = [
    { from: 0, to: firstMerge, std: 0.25 * base },
    row(eos, 1.6),
    row(pause, 2),
    { from: textIds, to: llm.vocab_size, std: 0 },
  ];
  return [
    [/embed_tokens/, around(0, 1)],
    // Makes answers consist of words, end now and then, and never contain ids that the tokenizer lacks.
    [/lm_head/, () => ({ mean: 0, std: base, rows: headRows })],
    [/e_score_correction_bias/, around(0, 0.05 / (llm.n_routed_experts + llm.zero_expert_num))],
    [/q_b_proj/, matrix(unscale(llm.q_lora_rank, llm.mla_scale_q_lora))],
    [/kv_b_proj/, matrix(unscale(llm.kv_lora_rank, llm.mla_scale_kv_lora))],
  ];
}

const visionRules: readonly Rule[] = [[/\.ls[12]$/, around(0.1, 0.01)]];

/** Each of the two dozen residual layers adds little, so that their sum keeps its range. */
const audioRules: readonly Rule[] = [[/(memory|ffn\.3)\.weight$/, matrix(0.5)]];

/** Makes semantic id 2 end speech after some seconds. Ids without a code are never chosen. */
function speechRules({ codec, llm }: Preset): readonly Rule[] {
  const base = 1 / Math.sqrt(llm.hidden_size);
  const first = layouts.reservedSpeechIds;
  const head =
    (codes: number, endGain: number) =>
    (_: number, [vocab = 0]: readonly number[]) => ({
      mean: 0,
      std: base,
      rows: [
        { from: 0, to: first, std: 0 },
        { from: specialTokens.eos, to: specialTokens.eos + 1, std: endGain * base },
        { from: first + codes, to: vocab, std: 0 },
      ],
    });
  return [
    [/audio_embeddings/, around(0, 0.5)],
    [/^embedding/, around(0, 1)],
    [/audio_output_layers\.0/, head(codec.semantic_token_nums, 2)],
    [/audio_output_layers/, head(codec.codec_codebook_size ** 2, 0)],
  ];
}

/** Keeps the waveform well inside ±1. Only `weight_g` sets the gain: it is the norm, `weight_v` just the direction. */
function codecRules({ codec }: Preset): readonly Rule[] {
  // The norm of a transposed convolution is per input channel, which contributes to half as many channels × stride.
  const upsampling = codec.codec_dec_ratios.map((stride, i): Rule => {
    return [new RegExp(`model\\.${i + 1}\\.block\\.1\\.weight_g$`), around(0.8 * Math.sqrt(stride / 2), 0.05)];
  });
  return [
    ...upsampling,
    [/alpha$/, around(1, 0.1)],
    [/(dequant|codebook_.)\.weight$/, around(0, 1)],
    [/out_proj_.\.weight_g$/, around(0.6, 0.05)],
    [/block\.\d\.block\.[34]\.weight_g$/, around(0.3, 0.03)],
    [/model\.[1-9]\d*\.weight_g$/, around(0.15, 0)],
    [/weight_g$/, around(1, 0.1)],
  ];
}
