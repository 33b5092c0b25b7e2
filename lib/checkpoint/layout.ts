import { atOnce, type Steps } from "../turns.js";
import type { AudioConfig, CodecConfig, LlmConfig, VisionConfig } from "./config.js";
import type { EntryDType } from "./entry.js";

/** The tensor that a module's file must contain under one name. */
export interface ExpectedTensor {
  readonly shape: readonly number[];
  readonly dtypes: readonly EntryDType[];
  /** True for a part of the published file that is not needed to run the model and so may be absent. */
  readonly optional?: boolean;
  /** For scales, the name of their weight: they are expected exactly if that weight is `f8e4m3`. */
  readonly scales?: string;
}

/** The tensors of a module by their published names. */
export type Layout = ReadonlyMap<string, ExpectedTensor>;

/** FP8 checkpoints contain one scale per block of this many rows and columns. */
export const fp8Block = 128;

/** The SwiGLU's inner width in the ViT. */
export const visionInnerSize = (config: VisionConfig) => Math.floor((config.intermediate_size * 2) / 3);

const weights = ["bf16", "f32"] as const;

class Builder {
  readonly tensors = new Map<string, ExpectedTensor>();
  readonly #dtypes: readonly EntryDType[];

  constructor(dtypes: readonly EntryDType[] = weights) {
    this.#dtypes = dtypes;
  }

  add(name: string, ...shape: number[]): void {
    this.tensors.set(name, { shape, dtypes: this.#dtypes });
  }

  optional(name: string, ...shape: number[]): void {
    this.tensors.set(name, { shape, dtypes: this.#dtypes, optional: true });
  }

  /** A weight `[out, in]` and, unless `bias` is false, its bias `[out]`. */
  linear(name: string, out: number, input: number, { bias = true, optional = false } = {}): void {
    const add = optional ? this.optional.bind(this) : this.add.bind(this);
    add(`${name}.weight`, out, input);
    if (bias) add(`${name}.bias`, out);
  }

  /** A linear weight `[out, in]` that may be FP8 with scales. */
  quantizable(name: string, out: number, input: number): void {
    this.tensors.set(`${name}.weight`, { shape: [out, input], dtypes: [...this.#dtypes, "f8e4m3"] });
    const shape = [Math.ceil(out / fp8Block), Math.ceil(input / fp8Block)];
    this.tensors.set(`${name}.weight_scale_inv`, { shape, dtypes: ["f32"], scales: `${name}.weight` });
  }

  /** The weight and bias of a LayerNorm. */
  layerNorm(name: string, size: number): void {
    this.add(`${name}.weight`, size);
    this.add(`${name}.bias`, size);
  }

  /** A convolution with old-style weight norm: `weight_g` holds the norms over all dimensions but the first. */
  conv(name: string, shape: readonly [number, number, number], bias: number): void {
    this.add(`${name}.bias`, bias);
    this.add(`${name}.weight_g`, shape[0], 1, 1);
    this.add(`${name}.weight_v`, ...shape);
  }
}

/** `model-*.safetensors`: the language model. Expert and attention weights may be FP8. */
export const llmLayout = (c: LlmConfig): Layout => atOnce(llmLayoutSteps(c));

/** Like {@link llmLayout}, in steps, since a large model has a hundred thousand tensors. */
export function* llmLayoutSteps(c: LlmConfig): Steps<Layout> {
  const b = new Builder();
  const D = c.hidden_size;
  b.add("model.embed_tokens.weight", c.vocab_size, D);
  for (let i = 0; i < c.num_layers; i++) {
    const layer = `model.layers.${i}`;
    for (const j of [0, 1]) {
      b.add(`${layer}.input_layernorm.${j}.weight`, D);
      b.add(`${layer}.post_attention_layernorm.${j}.weight`, D);
      addAttention(b, `${layer}.self_attn.${j}`, c);
      addFfn(b, `${layer}.mlps.${j}`, D, c.ffn_hidden_size);
    }
    b.add(`${layer}.mlp.router.classifier.weight`, c.n_routed_experts + c.zero_expert_num, D);
    b.add(`${layer}.mlp.router.e_score_correction_bias`, c.n_routed_experts + c.zero_expert_num);
    for (let e = 0; e < c.n_routed_experts; e++) {
      addFfn(b, `${layer}.mlp.experts.${e}`, D, c.expert_ffn_hidden_size);
      yield;
    }
  }
  b.add("model.norm.weight", D);
  b.add("lm_head.weight", c.vocab_size, D);
  return b.tensors;
}

function addAttention(b: Builder, name: string, c: LlmConfig): void {
  const heads = c.num_attention_heads;
  b.quantizable(`${name}.q_a_proj`, c.q_lora_rank, c.hidden_size);
  b.add(`${name}.q_a_layernorm.weight`, c.q_lora_rank);
  b.quantizable(`${name}.q_b_proj`, heads * (c.qk_nope_head_dim + c.qk_rope_head_dim), c.q_lora_rank);
  b.quantizable(`${name}.kv_a_proj_with_mqa`, c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size);
  b.add(`${name}.kv_a_layernorm.weight`, c.kv_lora_rank);
  b.quantizable(`${name}.kv_b_proj`, heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  b.quantizable(`${name}.o_proj`, c.hidden_size, heads * c.v_head_dim);
}

function addFfn(b: Builder, name: string, hidden: number, inner: number): void {
  b.quantizable(`${name}.gate_proj`, inner, hidden);
  b.quantizable(`${name}.up_proj`, inner, hidden);
  b.quantizable(`${name}.down_proj`, hidden, inner);
}

/** `language_model_embedding.pt`: a copy of the LLM's `embed_tokens`, for running the encoders elsewhere. */
export function textEmbeddingLayout(c: LlmConfig): Layout {
  const b = new Builder();
  b.add("word_embeddings.weight", c.vocab_size, c.hidden_size);
  return b.tensors;
}

/** `vision/vision_model.pt`. */
export function visionEncoderLayout(c: VisionConfig): Layout {
  const b = new Builder();
  const C = c.hidden_size;
  const patch = "embeddings.patch_embedding";
  b.add(`${patch}.weight`, C, c.num_channels, c.temporal_patch_size, c.patch_size, c.patch_size);
  if (c.patch_embedding_bias) b.add(`${patch}.bias`, C);
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const layer = `encoder.layers.${i}`;
    b.add(`${layer}.norm1.weight`, C);
    b.linear(`${layer}.attn.qkv`, 3 * C, C, { bias: c.qkv_bias });
    if (c.qk_normalization) {
      b.add(`${layer}.attn.q_norm.weight`, C);
      b.add(`${layer}.attn.k_norm.weight`, C);
    }
    b.linear(`${layer}.attn.proj`, C, C);
    b.add(`${layer}.ls1`, C);
    b.add(`${layer}.norm2.weight`, C);
    const inner = visionInnerSize(c);
    b.linear(`${layer}.mlp.fc1`, inner, C);
    b.linear(`${layer}.mlp.fc3`, inner, C);
    b.add(`${layer}.mlp.norm.weight`, inner);
    b.linear(`${layer}.mlp.fc2`, C, inner);
    b.add(`${layer}.ls2`, C);
  }
  return b.tensors;
}

/** `vision/vision_projector.pt`: maps two horizontally adjacent patches to one row of the LLM's width. */
export function visionProjectorLayout(c: VisionConfig, outputSize: number): Layout {
  const b = new Builder();
  b.layerNorm("p0.0", 2 * c.hidden_size);
  b.linear("p0.1", c.adaptor_dim, 2 * c.hidden_size);
  b.linear("p0.3", c.adaptor_dim, c.adaptor_dim);
  b.linear("proj", outputSize, c.adaptor_dim);
  return b.tensors;
}

/** `audio/audio_encoder.pt`. Its CTC head `output` is only used in training. */
export function audioEncoderLayout(c: AudioConfig): Layout {
  const b = new Builder();
  b.linear("ffn.0", c.hidden_size, c.input_size);
  b.linear("ffn.2", c.proj_size, c.hidden_size, { bias: false });
  for (let i = 0; i < c.nlayer; i++) {
    const layer = `fsmn_layers.${i}`;
    const rightOrder = i < c.nlayer - c.num_right_layers ? 0 : c.right_order;
    b.layerNorm(`${layer}.memory_ln`, c.proj_size);
    b.add(`${layer}.memory.weight`, c.proj_size, 1, c.left_order + rightOrder + 1);
    b.layerNorm(`${layer}.ffn.0`, c.proj_size);
    b.linear(`${layer}.ffn.1`, c.hidden_size, c.proj_size);
    b.linear(`${layer}.ffn.3`, c.proj_size, c.hidden_size);
  }
  for (let i = 0; i < c.ndnn; i++) b.linear(`dnn.${2 * i}`, c.hidden_size, i === 0 ? c.proj_size : c.hidden_size);
  b.linear("output", c.vocab_size, audioEncoderOutputSize(c), { optional: true });
  return b.tensors;
}

export const audioEncoderOutputSize = (c: AudioConfig) => (c.ndnn === 0 ? c.proj_size : c.hidden_size);

/** `audio/audio_projector.pt`: maps encoder output to the LLM's width. */
export function audioProjectorLayout(c: AudioConfig, outputSize: number): Layout {
  const b = new Builder();
  b.linear("0", outputSize, audioEncoderOutputSize(c));
  b.linear("2", outputSize, outputSize);
  return b.tensors;
}

/** Ids below this one are reserved in every book (2 ends speech, 3 is padding). Code `c` has id `c + 32`. */
export const reservedSpeechIds = 32;

/** The tables and heads with which the LLM reads and writes speech codes. */
export interface SpeechConfig {
  /** Books per frame, including the semantic one. */
  readonly books: number;
  /** Ids per book: reserved ids, then codes. */
  readonly vocab: number;
}

/** `audio/audio_embeddings.pt`: one input table per book. */
export function speechEmbeddingsLayout({ books, vocab }: SpeechConfig, hiddenSize: number): Layout {
  const b = new Builder();
  for (let k = 0; k < books; k++) b.add(`audio_embeddings.${k}.weight`, vocab, hiddenSize);
  return b.tensors;
}

/** `audio/audio_output_layers.pt`: one head per book, and the tables that feed each book's id to the next head. */
export function speechHeadsLayout({ books, vocab }: SpeechConfig, hiddenSize: number): Layout {
  const b = new Builder();
  for (let k = 0; k < books; k++) b.add(`audio_output_layers.${k}.weight`, vocab, hiddenSize);
  for (let k = 0; k < books - 1; k++) b.add(`embedding.${k}.weight`, vocab, hiddenSize);
  return b.tensors;
}

/** The speech decoder's `.pt`. The quantizers' `in_proj` are only used by the codec's encoder. */
export function codecDecoderLayout(c: CodecConfig): Layout {
  const b = new Builder(["f32"]);
  const latent = c.semantic_dim + c.codec_dimension;
  for (const n of [1, 2]) {
    const lstm = `decoder.mem_layers.0.lstm_list${n}.0`;
    for (const part of ["ih", "hh"]) b.add(`${lstm}.weight_${part}_l0`, 4 * latent, latent);
    for (const part of ["ih", "hh"]) b.add(`${lstm}.bias_${part}_l0`, 4 * latent);
    b.layerNorm(`decoder.mem_layers.0.ln${n}`, latent);
  }
  b.conv("decoder.model.0", [c.decoder_dim, latent, 7], c.decoder_dim);
  for (let i = 0; i < c.codec_dec_ratios.length; i++) addUpsampling(b, c, i);
  const last = c.decoder_dim / 2 ** c.codec_dec_ratios.length;
  const snake = c.codec_dec_ratios.length + 1;
  b.add(`decoder.model.${snake}.alpha`, 1, last, 1);
  // In the causal decoder, a padding module without parameters precedes each causal convolution.
  b.conv(`decoder.model.${snake + (c.decoder_type === "24k" ? 2 : 1)}`, [1, last, 7], 1);
  for (let q = 0; q < c.codec_codebooks; q++) addBook(b, `acoustic_quantizer.quantizers.${q}`, c);
  b.add("semantic_dequantizer.dequant.weight", c.semantic_token_nums, c.semantic_dim);
  return b.tensors;
}

function addUpsampling(b: Builder, c: CodecConfig, i: number): void {
  const causal = c.decoder_type === "24k";
  const block = `decoder.model.${i + 1}.block`;
  const input = c.decoder_dim / 2 ** i;
  const output = input / 2;
  const stride = c.codec_dec_ratios[i]!;
  b.add(`${block}.0.alpha`, 1, input, 1);
  b.conv(`${block}.1`, [input, output, causal ? stride : 2 * stride], output);
  const [conv, snake, last] = causal ? [2, 3, 4] : [1, 2, 3];
  for (const unit of [2, 3, 4]) {
    b.add(`${block}.${unit}.block.0.alpha`, 1, output, 1);
    b.conv(`${block}.${unit}.block.${conv}`, [output, output, 7], output);
    b.add(`${block}.${unit}.block.${snake}.alpha`, 1, output, 1);
    b.conv(`${block}.${unit}.block.${last}`, [output, output, 1], output);
  }
}

function addBook(b: Builder, name: string, c: CodecConfig): void {
  const search = c.codec_codebook_search_dim;
  for (const half of ["a", "b"]) {
    b.optional(`${name}.in_proj_${half}.bias`, search);
    b.optional(`${name}.in_proj_${half}.weight_g`, search, 1, 1);
    b.optional(`${name}.in_proj_${half}.weight_v`, search, c.codec_dimension, 1);
    b.conv(`${name}.out_proj_${half}`, [c.codec_dimension / 2, search, 1], c.codec_dimension / 2);
    b.add(`${name}.codebook_${half}.weight`, c.codec_codebook_size, search);
  }
}
