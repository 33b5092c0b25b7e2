import { isRecord } from "../options.js";
import { Fields } from "./fields.js";
import { readText } from "./formats/file.js";
import { parseJson } from "./formats/json.js";
import { parseYaml } from "./formats/yaml.js";
import { checkFp8, type MlxQuantization, mlxQuantization } from "./quantization.js";

// Field names are those of the published files. Defaults are those of the published configuration classes.

/** `config.json`: the LongCat-Flash language model. */
export interface LlmConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  /** Logical layers, each with two attentions, two dense FFNs and one MoE. */
  readonly num_layers: number;
  readonly num_attention_heads: number;
  readonly q_lora_rank: number;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  readonly mla_scale_q_lora: boolean;
  readonly mla_scale_kv_lora: boolean;
  readonly ffn_hidden_size: number;
  readonly expert_ffn_hidden_size: number;
  readonly n_routed_experts: number;
  readonly zero_expert_num: number;
  readonly moe_topk: number;
  readonly routed_scaling_factor: number;
  readonly norm_topk_prob: boolean;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly max_position_embeddings: number;
  readonly bos_token_id: number;
  readonly eos_token_id: number;
  readonly pad_token_id: number;
  /** Epsilon of the two norms inside the attention. Published files omit it; the published code uses 1e-6. */
  readonly lora_norm_eps?: number;
  /** True if `routed_scaling_factor` also applies to zero experts. Published files omit it; the report says yes. */
  readonly scale_zero_experts?: boolean;
  /** Only in directories that mlx-lm quantised, or `quantizeCheckpoint` in its format. */
  readonly quantization?: MlxQuantization;
}

/** `vision/config.json`: the ViT, its projector and the preprocessing of images. Token limits count ViT patches. */
export interface VisionConfig {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** The SwiGLU's inner width is `floor(intermediate_size · 2 / 3)`. */
  readonly intermediate_size: number;
  readonly num_channels: 3;
  readonly patch_size: number;
  readonly temporal_patch_size: number;
  readonly spatial_merge_size: number;
  readonly patch_embedding_bias: boolean;
  readonly qkv_bias: boolean;
  readonly qk_normalization: boolean;
  readonly rope_theta: number;
  readonly layer_norm_eps: number;
  readonly adaptor_dim: number;
  readonly image_mean: readonly number[];
  readonly image_std: readonly number[];
  readonly min_tokens: number;
  readonly max_tokens: number;
  /** Sides are resized to multiples of `patch_size · spatial_merge_size · resize_factor`. */
  readonly resize_factor: number;
  readonly min_tokens_video: number;
  readonly max_tokens_video: number;
  readonly min_tokens_video_vit: number;
  readonly max_tokens_video_vit: number;
}

/** `audio/config.json`: the FSMN audio encoder. */
export interface AudioConfig {
  readonly input_size: number;
  readonly hidden_size: number;
  readonly proj_size: number;
  /** Outputs of the CTC head, which is only used in training. */
  readonly vocab_size: number;
  readonly nlayer: number;
  readonly ndnn: number;
  /** The last `num_right_layers` layers also look `right_order` steps ahead. */
  readonly num_right_layers: number;
  readonly left_order: number;
  readonly right_order: number;
  /** The dilation of the memory on both sides: the published code does not read `right_stride`. */
  readonly left_stride: number;
  readonly activation: "relu" | "relu2" | "relu6";
}

/** `audio/preprocessor_config.json`: how samples become encoder input. Lengths are in ms, frequencies in Hz. */
export interface AudioFeatureConfig {
  readonly fbank: {
    readonly freq: number;
    readonly frame_length: number;
    readonly frame_shift: number;
    readonly preemphasis: number;
    readonly num_mel_bins: number;
    readonly low_freq: number;
    /** If negative, an offset from the Nyquist frequency. */
    readonly high_freq: number;
  };
  readonly delta: { readonly delta_order: number; readonly window_size: number };
  readonly splice: { readonly left: number; readonly right: number; readonly stride: number };
}

/** The `codec_config` of `audio_codec/config.yaml`: the speech decoder. */
export interface CodecConfig {
  readonly decoder_type: "24k" | "16k";
  readonly codec_dimension: number;
  readonly semantic_dim: number;
  readonly decoder_dim: number;
  readonly codec_dec_ratios: readonly number[];
  /** The number of acoustic books, without the one semantic book. */
  readonly codec_codebooks: number;
  /** An acoustic code names a pair of entries, so a book has the square of this number of codes. */
  readonly codec_codebook_size: number;
  readonly codec_codebook_search_dim: number;
  readonly semantic_token_nums: number;
  /** The path of the decoder's `.pt`, as the configuration states it. */
  readonly ckpt_path?: string;
}

/** The `_note` in the configurations of a checkpoint whose weights are random. */
export const syntheticNote = "random weights, made by `caracal synth`";

/**
 * Validates a `config.json`.
 * @throws {CaracalError} `CHECKPOINT_INVALID` that lists every wrong, missing or inconsistent field of `file`
 */
export function parseLlmConfig(source: unknown, file: string): LlmConfig {
  const f = new Fields(source);
  const config: LlmConfig = {
    vocab_size: f.integer("vocab_size"),
    hidden_size: f.integer("hidden_size"),
    num_layers: f.integer("num_layers", { max: 1024 }),
    num_attention_heads: f.integer("num_attention_heads"),
    q_lora_rank: f.integer("q_lora_rank"),
    kv_lora_rank: f.integer("kv_lora_rank"),
    qk_nope_head_dim: f.integer("qk_nope_head_dim"),
    qk_rope_head_dim: f.integer("qk_rope_head_dim"),
    v_head_dim: f.integer("v_head_dim"),
    mla_scale_q_lora: f.boolean("mla_scale_q_lora", true),
    mla_scale_kv_lora: f.boolean("mla_scale_kv_lora", true),
    ffn_hidden_size: f.integer("ffn_hidden_size"),
    expert_ffn_hidden_size: f.integer("expert_ffn_hidden_size"),
    n_routed_experts: f.integer("n_routed_experts", { max: 4096 }),
    zero_expert_num: f.integer("zero_expert_num", { min: 0, max: 4096 }),
    moe_topk: f.integer("moe_topk"),
    routed_scaling_factor: f.number("routed_scaling_factor"),
    norm_topk_prob: f.boolean("norm_topk_prob", false),
    rms_norm_eps: f.number("rms_norm_eps", { default: 1e-5, min: 1e-12, max: 1 }),
    rope_theta: ropeTheta(f),
    max_position_embeddings: f.integer("max_position_embeddings", { default: 131072 }),
    bos_token_id: f.integer("bos_token_id", { default: 1, min: 0 }),
    eos_token_id: f.integer("eos_token_id", { default: 2, min: 0 }),
    pad_token_id: f.integer("pad_token_id", { default: 3, min: 0 }),
    ...(f.has("lora_norm_eps") && { lora_norm_eps: f.number("lora_norm_eps", { min: 1e-12, max: 1 }) }),
    ...(f.has("scale_zero_experts") && { scale_zero_experts: f.boolean("scale_zero_experts", true) }),
    ...(f.has("quantization") && { quantization: mlxQuantization(f.section("quantization")) }),
  };
  f.fixed("attention_method", "MLA");
  f.fixed("zero_expert_type", "identity");
  f.fixed("hidden_act", "silu");
  for (const name of ["attention_bias", "router_bias", "tie_word_embeddings"]) f.fixed(name, false);
  if (f.has("rope_scaling"))
    f.check([], false, "rope_scaling is set; expected null: position scaling is not supported");
  // mlx-lm repeats `quantization` there.
  if (f.has("quantization_config") && !f.has("quantization")) checkFp8(f.section("quantization_config"));
  checkExperts(f, config);
  const rope = config.qk_rope_head_dim;
  f.check(
    [rope],
    rope % 2 === 0,
    `qk_rope_head_dim ${rope} is odd; expected an even number, because RoPE rotates pairs`,
  );
  for (const name of ["bos_token_id", "eos_token_id", "pad_token_id"] as const) {
    const [id, vocab] = [config[name], config.vocab_size];
    f.check([id, vocab], id < vocab, `${name} ${id} is outside the vocabulary of ${vocab}`);
  }
  f.finish(file);
  return config;
}

/** The base of RoPE's frequencies: `rope_theta`, which newer files put in `rope_parameters`. */
function ropeTheta(f: Fields): number {
  const range = { default: 1e7, min: 1 };
  if (!f.has("rope_parameters")) return f.number("rope_theta", range);
  const rope = f.section("rope_parameters");
  rope.fixed("rope_type", "default");
  rope.only(["rope_type", "rope_theta"], "position scaling is not supported");
  if (!rope.has("rope_theta")) return f.number("rope_theta", range);
  const theta = rope.number("rope_theta", range);
  const outer = f.number("rope_theta", { ...range, default: theta });
  f.check([theta, outer], theta === outer, `rope_theta ${outer} differs from rope_parameters.rope_theta ${theta}`);
  return theta;
}

const maxExperts = 1 << 18;

function checkExperts(f: Fields, config: LlmConfig): void {
  const { num_layers: layers, n_routed_experts: experts, zero_expert_num: zeros, moe_topk: topk } = config;
  f.check(
    [layers, experts],
    layers * experts <= maxExperts,
    `${layers} layers of ${experts} experts; expected at most ${maxExperts} in all`,
  );
  f.check(
    [experts, zeros, topk],
    topk <= experts + zeros,
    `moe_topk ${topk} exceeds the ${experts} + ${zeros} experts`,
  );
}

/** Validates a `vision/config.json`. @throws {CaracalError} like {@link parseLlmConfig} */
export function parseVisionConfig(source: unknown, file: string): VisionConfig {
  const f = new Fields(source);
  const min_tokens = f.integer("min_tokens", { default: 576 });
  const max_tokens = f.integer("max_tokens", { default: 16384 });
  const config: VisionConfig = {
    hidden_size: f.integer("hidden_size", { default: 1024 }),
    num_hidden_layers: f.integer("num_hidden_layers", { default: 24, max: 1024 }),
    num_attention_heads: f.integer("num_attention_heads", { default: 16 }),
    intermediate_size: f.integer("intermediate_size", { default: 4224, min: 2 }),
    num_channels: f.choice("num_channels", [3], 3),
    patch_size: f.integer("patch_size", { default: 14, max: 1024 }),
    temporal_patch_size: f.integer("temporal_patch_size", { default: 2, max: 64 }),
    spatial_merge_size: f.integer("spatial_merge_size", { default: 1, max: 64 }),
    patch_embedding_bias: f.boolean("patch_embedding_bias", true),
    qkv_bias: f.boolean("qkv_bias", false),
    qk_normalization: f.boolean("qk_normalization", true),
    rope_theta: f.number("rope_theta", { default: 10000, min: 1 }),
    layer_norm_eps: f.number("layer_norm_eps", { default: 1e-6, min: 1e-12, max: 1 }),
    adaptor_dim: f.integer("adaptor_dim", { default: 7168 }),
    image_mean: f.numbers("image_mean", { default: [0.485, 0.456, 0.406] }),
    image_std: f.numbers("image_std", { default: [0.229, 0.224, 0.225], min: 1e-6 }),
    min_tokens,
    max_tokens,
    // The published class has no defaults for these; the values are this library's choice.
    resize_factor: f.integer("resize_factor", { default: 8, max: 1024 }),
    min_tokens_video: f.integer("min_tokens_video", { default: 64 }),
    max_tokens_video: f.integer("max_tokens_video", { default: 16384 }),
    min_tokens_video_vit: f.integer("min_tokens_video_vit", { default: min_tokens }),
    max_tokens_video_vit: f.integer("max_tokens_video_vit", { default: max_tokens }),
  };
  f.fixed("resolution_mode", "native");
  f.fixed("pe_type", "rope2d");
  f.fixed("norm_type", "RMSNorm");
  f.fixed("hidden_act", "SwiGLU");
  f.fixed("use_pre_norm", false);
  f.fixed("relarge_ratio", 1);
  const { hidden_size: width, num_attention_heads: heads, image_mean: mean, image_std: std } = config;
  f.check([width, heads], width % (4 * heads) === 0, `hidden_size ${width} is not a multiple of 4 × ${heads} heads`);
  f.check([], mean.length === 3 && std.length === 3, "image_mean and image_std need 3 numbers each");
  f.check(
    [min_tokens, max_tokens],
    min_tokens <= max_tokens,
    `min_tokens ${min_tokens} exceeds max_tokens ${max_tokens}`,
  );
  f.finish(file);
  return config;
}

/** Validates an `audio/config.json`. @throws {CaracalError} like {@link parseLlmConfig} */
export function parseAudioConfig(source: unknown, file: string): AudioConfig {
  const f = new Fields(source);
  const config: AudioConfig = {
    input_size: f.integer("input_size", { default: 1200 }),
    hidden_size: f.integer("hidden_size", { default: 6144 }),
    proj_size: f.integer("proj_size", { default: 1536 }),
    vocab_size: f.integer("vocab_size", { default: 5252 }),
    nlayer: f.integer("nlayer", { default: 22, max: 1024 }),
    ndnn: f.integer("ndnn", { default: 2, min: 0, max: 1024 }),
    num_right_layers: f.integer("num_right_layers", { default: 6, min: 0 }),
    left_order: f.integer("left_order", { default: 10, min: 0, max: 4096 }),
    right_order: f.integer("right_order", { default: 1, min: 0, max: 4096 }),
    left_stride: f.integer("left_stride", { default: 1, max: 4096 }),
    activation: f.choice("activation", ["relu6", "relu", "relu2"], "relu6"),
  };
  const { nlayer, num_right_layers: right } = config;
  f.check([nlayer, right], right <= nlayer, `num_right_layers ${right} exceeds nlayer ${nlayer}`);
  f.finish(file);
  return config;
}

/** Validates an `audio/preprocessor_config.json`. @throws {CaracalError} like {@link parseLlmConfig} */
export function parseAudioFeatureConfig(source: unknown, file: string): AudioFeatureConfig {
  const f = new Fields(source);
  const [fbank, delta, splice] = [f.section("fbank"), f.section("delta"), f.section("splice")];
  const config: AudioFeatureConfig = {
    fbank: {
      freq: fbank.choice("freq", [16000, 8000], 16000),
      frame_length: fbank.number("frame_length", { default: 25, min: 1, max: 1000 }),
      frame_shift: fbank.number("frame_shift", { default: 10, min: 1, max: 1000 }),
      preemphasis: fbank.number("preemphasis", { default: 0.97, min: 0, max: 1 }),
      num_mel_bins: fbank.integer("num_mel_bins", { default: 80, max: 4096 }),
      low_freq: fbank.number("low_freq", { default: 40, min: 0 }),
      high_freq: fbank.number("high_freq", { default: -200 }),
    },
    delta: {
      delta_order: delta.integer("delta_order", { default: 0, min: 0, max: 8 }),
      window_size: delta.integer("window_size", { default: 2, max: 100 }),
    },
    splice: {
      left: splice.integer("left", { default: 7, min: 0, max: 4096 }),
      right: splice.integer("right", { default: 7, min: 0, max: 4096 }),
      stride: splice.integer("stride", { default: 8, max: 4096 }),
    },
  };
  if (fbank.has("padded_num_mel_bins")) fbank.fixed("padded_num_mel_bins", config.fbank.num_mel_bins);
  const { freq, low_freq: low, high_freq } = config.fbank;
  const high = high_freq < 0 ? freq / 2 + high_freq : high_freq;
  f.check(
    [low, high],
    low < high && high <= freq / 2,
    `the mel band ${low} to ${high} Hz is not within 0 to ${freq / 2} Hz`,
  );
  f.finish(file);
  return config;
}

/**
 * Validates an `audio_codec/config.yaml`, or only its `codec_config`.
 * @throws {CaracalError} like {@link parseLlmConfig}
 */
export function parseCodecConfig(source: unknown, file: string): CodecConfig {
  const f =
    isRecord(source) && "codec_config" in source ? new Fields(source).section("codec_config") : new Fields(source);
  const config: CodecConfig = {
    decoder_type: f.choice("decoder_type", ["24k", "16k"]),
    codec_dimension: f.integer("codec_dimension"),
    semantic_dim: f.integer("semantic_dim"),
    decoder_dim: f.integer("decoder_dim"),
    codec_dec_ratios: f.numbers("codec_dec_ratios", { min: 1, max: 4096 }),
    codec_codebooks: f.integer("codec_codebooks", { max: 64 }),
    codec_codebook_size: f.integer("codec_codebook_size", { max: 4096 }),
    codec_codebook_search_dim: f.integer("codec_codebook_search_dim"),
    semantic_token_nums: f.integer("semantic_token_nums"),
    ...(f.has("ckpt_path") && { ckpt_path: f.path("ckpt_path", ".pt") }),
  };
  const { codec_dimension: dim, decoder_dim: width, codec_dec_ratios: ratios } = config;
  f.check(
    ratios,
    ratios.length > 0 && ratios.length <= 16 && ratios.every(Number.isInteger),
    `codec_dec_ratios [${ratios}]; expected 1 to 16 whole numbers`,
  );
  f.check(
    [dim],
    dim % 2 === 0,
    `codec_dimension ${dim} is odd; expected an even number, because an acoustic code fills two halves`,
  );
  f.check([width], width % 2 ** ratios.length === 0, `decoder_dim ${width} cannot be halved ${ratios.length} times`);
  f.finish(file);
  return config;
}

/** The limit for YAML is low because parsing takes quadratic time; the published file has 300 bytes. */
const maxBytes = { json: 4 << 20, yaml: 4 << 10 };

/**
 * Reads a `.json`, `.yaml` or `.yml` file.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when it is missing or does not parse
 */
export async function readConfig(file: string): Promise<unknown> {
  if (file.endsWith(".json")) return await parseJson(await readText(file, maxBytes.json), file);
  return await parseYaml(await readText(file, maxBytes.yaml), file);
}
