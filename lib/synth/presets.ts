import type { AudioConfig, CodecConfig, LlmConfig, VisionConfig } from "../checkpoint/config.js";
import { reservedSpeechIds, type SpeechConfig } from "../checkpoint/layout.js";

/** The configurations of a model to write. Audio features are always the published ones: 80 bins × 15 frames. */
export interface Preset {
  readonly llm: LlmConfig;
  readonly vision: VisionConfig;
  readonly audio: AudioConfig;
  readonly codec: CodecConfig;
}

export const presetNames = ["tiny", "mini", "codec-full", "audio-full", "vision-full", "peer-layer", "full"] as const;
export type PresetName = (typeof presetNames)[number];

/**
 * A preset by name: `tiny` is for tests, `mini` for the demo, `full` has the published sizes, `X-full` has them for
 * one module only, with the others tiny, and `peer-layer` is for the comparison with llama.cpp.
 */
export function preset(name: PresetName): Preset {
  const base = name === "mini" ? mini : name === "full" ? full : tiny;
  switch (name) {
    case "codec-full":
      return { ...base, codec: full.codec };
    case "audio-full":
      return { ...base, llm: thin, audio: full.audio };
    case "vision-full":
      return { ...base, llm: thin, vision: full.vision };
    case "peer-layer":
      return { ...base, llm: peerLayer };
    default:
      return base;
  }
}

/** The speech ids of a preset: the reserved ones, then one per code of the largest book. */
export function speechOf({ codec }: Preset): SpeechConfig {
  const codes = Math.max(codec.semantic_token_nums, codec.codec_codebook_size ** 2);
  return { books: 1 + codec.codec_codebooks, vocab: reservedSpeechIds + codes };
}

const full: Preset = {
  llm: {
    vocab_size: 131072,
    hidden_size: 6144,
    num_layers: 28,
    num_attention_heads: 64,
    q_lora_rank: 1536,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    mla_scale_q_lora: true,
    mla_scale_kv_lora: true,
    ffn_hidden_size: 12288,
    expert_ffn_hidden_size: 2048,
    n_routed_experts: 512,
    zero_expert_num: 256,
    moe_topk: 12,
    routed_scaling_factor: 6,
    norm_topk_prob: false,
    rms_norm_eps: 1e-5,
    rope_theta: 1e7,
    max_position_embeddings: 131072,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 3,
  },
  vision: {
    hidden_size: 1280,
    num_hidden_layers: 32,
    num_attention_heads: 16,
    intermediate_size: 5184,
    num_channels: 3,
    patch_size: 14,
    temporal_patch_size: 2,
    spatial_merge_size: 1,
    patch_embedding_bias: true,
    qkv_bias: false,
    qk_normalization: true,
    rope_theta: 10000,
    layer_norm_eps: 1e-6,
    adaptor_dim: 7168,
    image_mean: [0.485, 0.456, 0.406],
    image_std: [0.229, 0.224, 0.225],
    min_tokens: 576,
    max_tokens: 5832,
    resize_factor: 8,
    min_tokens_video: 64,
    max_tokens_video: 16384,
    min_tokens_video_vit: 576,
    max_tokens_video_vit: 16384,
  },
  audio: {
    input_size: 1200,
    hidden_size: 6144,
    proj_size: 1536,
    vocab_size: 5252,
    nlayer: 22,
    ndnn: 2,
    num_right_layers: 6,
    left_order: 10,
    right_order: 1,
    left_stride: 1,
    activation: "relu6",
  },
  codec: {
    decoder_type: "24k",
    codec_dimension: 1024,
    semantic_dim: 1280,
    decoder_dim: 1536,
    codec_dec_ratios: [8, 6, 6, 5],
    codec_codebooks: 3,
    codec_codebook_size: 90,
    codec_codebook_search_dim: 8,
    semantic_token_nums: 8192,
    ckpt_path: "LongCatAudioCodec_decoder_24k_4codebooks.pt",
  },
};

const mini: Preset = {
  llm: {
    ...full.llm,
    vocab_size: 1152,
    hidden_size: 512,
    num_layers: 4,
    num_attention_heads: 16,
    q_lora_rank: 256,
    kv_lora_rank: 128,
    qk_nope_head_dim: 64,
    qk_rope_head_dim: 32,
    v_head_dim: 64,
    ffn_hidden_size: 1536,
    expert_ffn_hidden_size: 384,
    n_routed_experts: 32,
    zero_expert_num: 16,
    moe_topk: 6,
    max_position_embeddings: 32768,
  },
  vision: {
    ...full.vision,
    hidden_size: 256,
    num_hidden_layers: 6,
    num_attention_heads: 8,
    intermediate_size: 1056,
    adaptor_dim: 512,
    min_tokens: 64,
    max_tokens: 1024,
    resize_factor: 2,
    max_tokens_video: 4096,
    min_tokens_video_vit: 64,
    max_tokens_video_vit: 4096,
  },
  audio: { ...full.audio, hidden_size: 1024, proj_size: 256, vocab_size: 512, nlayer: 10, num_right_layers: 3 },
  codec: { ...full.codec, codec_dimension: 192, semantic_dim: 192, decoder_dim: 384 },
};

const tiny: Preset = {
  llm: {
    ...full.llm,
    vocab_size: 1024,
    hidden_size: 64,
    num_layers: 2,
    num_attention_heads: 4,
    q_lora_rank: 32,
    kv_lora_rank: 16,
    qk_nope_head_dim: 16,
    qk_rope_head_dim: 8,
    v_head_dim: 16,
    ffn_hidden_size: 128,
    expert_ffn_hidden_size: 32,
    n_routed_experts: 8,
    zero_expert_num: 4,
    moe_topk: 3,
    max_position_embeddings: 8192,
  },
  vision: {
    ...mini.vision,
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    intermediate_size: 96,
    adaptor_dim: 64,
    min_tokens: 16,
    max_tokens: 256,
    min_tokens_video: 16,
    max_tokens_video: 512,
    min_tokens_video_vit: 16,
    max_tokens_video_vit: 512,
  },
  audio: { ...full.audio, hidden_size: 96, proj_size: 48, vocab_size: 40, nlayer: 4, num_right_layers: 2 },
  codec: {
    ...full.codec,
    codec_dimension: 32,
    semantic_dim: 32,
    decoder_dim: 64,
    codec_codebook_size: 8,
    semantic_token_nums: 64,
  },
};

/** A tiny LLM of the published width, so that the projectors keep their published size. */
const thin: LlmConfig = { ...tiny.llm, hidden_size: full.llm.hidden_size, num_layers: 1 };

/**
 * One layer of the published sizes with the experts that llama.cpp has too: no zero-computation experts, and so few that
 * they fit into memory. The head, whose share in the whole model is small, has as few rows as the vocabulary may have.
 */
const peerLayer: LlmConfig = {
  ...full.llm,
  vocab_size: 1152,
  num_layers: 1,
  n_routed_experts: 24,
  zero_expert_num: 0,
  moe_topk: 8,
};
