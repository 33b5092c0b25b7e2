import type { LlmConfig } from "../../lib/checkpoint/config.js";
import type { RandomGgufTensor } from "./blocks.js";
import type { GgmlType, GgufMetadata } from "./gguf.js";

/** The formats of weights that are compared. */
export type PeerWeights = Exclude<GgmlType, "f32">;

export interface GgufModel {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly RandomGgufTensor[];
}

/** The experts that the router picks for a token on average, without zero-computation experts, which llama.cpp lacks. */
export const picksOf = ({ moe_topk: topK, n_routed_experts: experts, zero_expert_num: zero }: LlmConfig): number =>
  (topK * experts) / (experts + zero);

/**
 * A model for llama.cpp that does the work of a LongCat model. llama.cpp has no LongCat, but `deepseek2` has the same latent
 * attention, and blocks with a dense network or with experts. A logical layer of LongCat (two attentions, two dense
 * networks, one mixture of experts) becomes two blocks: one with a dense network, and one with the experts and with shared
 * experts that together are as large as the second dense network. All blocks of the first kind come first.
 */
export function equalWorkModel(config: LlmConfig, type: PeerWeights): GgufModel {
  return {
    metadata: { ...hyperparameters(config, type), ...tokenizer(config.vocab_size) },
    tensors: tensorsOf(config, type),
  };
}

/** `general.file_type`, which is shown only. */
const fileTypes: Readonly<Record<PeerWeights, number>> = { q4_0: 2, q8_0: 7, q4_k: 15, bf16: 32 };

const sharedExperts = (c: LlmConfig) => c.ffn_hidden_size / c.expert_ffn_hidden_size;

function hyperparameters(c: LlmConfig, type: PeerWeights): GgufMetadata {
  const u32 = (values: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [`deepseek2.${key}`, { u32: value }]));
  return {
    "general.architecture": { string: "deepseek2" },
    "general.name": { string: "LongCat layers as deepseek2 blocks, random weights" },
    "general.file_type": { u32: fileTypes[type] },
    ...u32({
      block_count: 2 * c.num_layers,
      context_length: c.max_position_embeddings,
      embedding_length: c.hidden_size,
      feed_forward_length: c.ffn_hidden_size,
      vocab_size: c.vocab_size,
      "attention.head_count": c.num_attention_heads,
      "attention.head_count_kv": 1, // the heads share one latent
      "attention.key_length": c.kv_lora_rank + c.qk_rope_head_dim,
      "attention.value_length": c.kv_lora_rank,
      "attention.key_length_mla": c.qk_nope_head_dim + c.qk_rope_head_dim,
      "attention.value_length_mla": c.v_head_dim,
      "attention.q_lora_rank": c.q_lora_rank,
      "attention.kv_lora_rank": c.kv_lora_rank,
      "rope.dimension_count": c.qk_rope_head_dim,
      leading_dense_block_count: c.num_layers,
      expert_count: c.n_routed_experts,
      expert_used_count: Math.round(picksOf(c)),
      expert_feed_forward_length: c.expert_ffn_hidden_size,
      expert_shared_count: sharedExperts(c),
      expert_gating_func: 1, // softmax
    }),
    "deepseek2.attention.layer_norm_rms_epsilon": { f32: c.rms_norm_eps },
    "deepseek2.rope.freq_base": { f32: c.rope_theta },
    "deepseek2.expert_weights_scale": { f32: c.routed_scaling_factor },
    "deepseek2.expert_weights_norm": { bool: c.norm_topk_prob },
  };
}

/** A tokenizer of bytes and numbered words: llama.cpp loads no model without one. */
function tokenizer(vocabulary: number): GgufMetadata {
  const special = ["<unk>", "<s>", "</s>"];
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = Array.from({ length: vocabulary - special.length - bytes.length }, (_, i) => `\u2581t${i}`);
  const [unknown, control, normal, byte] = [2, 3, 1, 6]; // kinds of tokens
  return {
    "tokenizer.ggml.model": { string: "llama" },
    "tokenizer.ggml.pre": { string: "default" },
    "tokenizer.ggml.tokens": { strings: [...special, ...bytes, ...words] },
    "tokenizer.ggml.scores": { f32s: Float32Array.from({ length: vocabulary }, (_, i) => -i) },
    "tokenizer.ggml.token_type": {
      i32s: Int32Array.of(unknown, control, control, ...bytes.map(() => byte), ...words.map(() => normal)),
    },
    "tokenizer.ggml.unknown_token_id": { u32: 0 },
    "tokenizer.ggml.bos_token_id": { u32: 1 },
    "tokenizer.ggml.eos_token_id": { u32: 2 },
    "tokenizer.ggml.add_bos_token": { bool: false },
  };
}

/** A matrix in the given type; one whose rows are no whole blocks of it, in q8_0. Like Caracal's, it keeps an input's scale. */
function matrix(type: GgmlType, name: string, shape: readonly number[], std = shape[0]! ** -0.5): RandomGgufTensor {
  return { name: `${name}.weight`, shape, type: type === "q4_k" && shape[0]! % 256 !== 0 ? "q8_0" : type, std };
}

const norm = (name: string, size: number): RandomGgufTensor => ({ name: `${name}.weight`, shape: [size], type: "f32" });

function tensorsOf(c: LlmConfig, type: PeerWeights): RandomGgufTensor[] {
  return [
    matrix(type, "token_embd", [c.hidden_size, c.vocab_size], 1),
    norm("output_norm", c.hidden_size),
    matrix(type, "output", [c.hidden_size, c.vocab_size]),
    ...Array.from({ length: 2 * c.num_layers }, (_, i) => [
      ...attention(c, type, `blk.${i}`),
      ...(i < c.num_layers
        ? network(type, `blk.${i}.ffn`, "", c.hidden_size, c.ffn_hidden_size)
        : experts(c, type, `blk.${i}.ffn`)),
    ]).flat(),
  ];
}

function attention(c: LlmConfig, type: PeerWeights, block: string): RandomGgufTensor[] {
  const heads = c.num_attention_heads;
  return [
    norm(`${block}.attn_norm`, c.hidden_size),
    norm(`${block}.attn_q_a_norm`, c.q_lora_rank),
    norm(`${block}.attn_kv_a_norm`, c.kv_lora_rank),
    matrix(type, `${block}.attn_q_a`, [c.hidden_size, c.q_lora_rank]),
    matrix(type, `${block}.attn_q_b`, [c.q_lora_rank, heads * (c.qk_nope_head_dim + c.qk_rope_head_dim)]),
    matrix(type, `${block}.attn_kv_a_mqa`, [c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim]),
    // The two halves of `kv_b_proj`, of which the keys' is transposed, so that it can be absorbed into the query.
    matrix(type, `${block}.attn_k_b`, [c.qk_nope_head_dim, c.kv_lora_rank, heads], c.kv_lora_rank ** -0.5),
    matrix(type, `${block}.attn_v_b`, [c.kv_lora_rank, c.v_head_dim, heads]),
    matrix(type, `${block}.attn_output`, [heads * c.v_head_dim, c.hidden_size]),
    norm(`${block}.ffn_norm`, c.hidden_size),
  ];
}

/** A SwiGLU, or with `count` one per expert. */
function network(
  type: PeerWeights,
  name: string,
  suffix: string,
  hidden: number,
  inner: number,
  ...count: number[]
): RandomGgufTensor[] {
  return [
    matrix(type, `${name}_gate${suffix}`, [hidden, inner, ...count]),
    matrix(type, `${name}_up${suffix}`, [hidden, inner, ...count]),
    matrix(type, `${name}_down${suffix}`, [inner, hidden, ...count]),
  ];
}

function experts(c: LlmConfig, type: PeerWeights, name: string): RandomGgufTensor[] {
  return [
    matrix("f32", `${name}_gate_inp`, [c.hidden_size, c.n_routed_experts]),
    ...network(type, name, "_exps", c.hidden_size, c.expert_ffn_hidden_size, c.n_routed_experts),
    ...network(type, name, "_shexp", c.hidden_size, c.ffn_hidden_size),
  ];
}
