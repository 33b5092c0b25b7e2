import type { LlmConfig } from "../../checkpoint/config.js";
import { packWeight } from "../../ops/linear.js";
import type { ExpertWeight } from "../../ops/moe.js";
import { cast, concatRows, transpose } from "../../ops/rows.js";
import type { PackedWeight } from "../../tensor/packedWeight.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Matrix, PackedMatrix, Vector } from "../types.js";
import type { Weights } from "../weights.js";

export interface AttentionWeights {
  readonly qA: PackedMatrix;
  readonly qANorm: Vector;
  readonly qB: PackedMatrix;
  readonly kvA: PackedMatrix;
  readonly kvANorm: Vector;
  readonly kvB: PackedMatrix;
  readonly o: PackedMatrix;
}

export interface FfnWeights<M = PackedMatrix> {
  readonly gate: M;
  readonly up: M;
  readonly down: M;
}

export interface MoeWeights {
  readonly classifier: PackedWeight<"f32" | "bf16">;
  /** f32; affects which experts are picked, not their weights. */
  readonly correctionBias: Tensor<"f32">;
  readonly experts: FfnWeights<ExpertWeight>;
}

/** One attention and one dense feed-forward network, with the norms before them. */
export interface BlockWeights {
  readonly inputNorm: Vector;
  readonly attention: AttentionWeights;
  readonly postAttentionNorm: Vector;
  readonly ffn: FfnWeights;
}

export interface LayerWeights {
  readonly blocks: readonly [BlockWeights, BlockWeights];
  readonly moe: MoeWeights;
}

export interface LlmWeights {
  readonly embedding: Tensor<"f32" | "bf16", Matrix>;
  readonly layers: readonly LayerWeights[];
  readonly norm: Vector;
  readonly head: PackedMatrix;
}

/**
 * Packs the language model's weights, layer by layer.
 * @throws {CaracalError} `ABORTED`, `CHECKPOINT_INVALID` as for `Weights`
 */
export async function loadLlmWeights(weights: Weights, config: LlmConfig): Promise<LlmWeights> {
  const table = [config.vocab_size, config.hidden_size] as const;
  const embedding = weights.matrix("model.embed_tokens.weight", table);
  const layers: LayerWeights[] = [];
  for (let i = 0; i < config.num_layers; i++) {
    layers.push(await layerWeights(weights.part(`model.layers.${i}`), config));
    await weights.settle();
  }
  const norm = weights.plain("model.norm.weight");
  const head = weights.packed("lm_head.weight", table);
  await weights.settle();
  return { embedding, layers, norm, head };
}

async function layerWeights(layer: Weights, config: LlmConfig): Promise<LayerWeights> {
  const { hidden_size: width, ffn_hidden_size: inner } = config;
  const block = (j: number): BlockWeights => ({
    inputNorm: layer.plain(`input_layernorm.${j}.weight`),
    attention: attentionWeights(layer.part(`self_attn.${j}`), config),
    postAttentionNorm: layer.plain(`post_attention_layernorm.${j}.weight`),
    ffn: ffnWeights(layer.part(`mlps.${j}`), width, inner),
  });
  return { blocks: [block(0), block(1)], moe: await moeWeights(layer.part("mlp"), config) };
}

/** The two matrices that `swiglu` takes are converted to bf16 if they are quantised in different ways. */
function ffnWeights(ffn: Weights, width: number, inner: number): FfnWeights {
  const [gate, up] = ["gate_proj.weight", "up_proj.weight"] as const;
  const shape = [inner, width] as const;
  const pack = (name: string) =>
    ffn.isAlike(gate, up, shape) ? ffn.packed(name, shape) : ffn.packedFloat(name, shape);
  return { gate: pack(gate), up: pack(up), down: ffn.packed("down_proj.weight", [width, inner]) };
}

function attentionWeights(attention: Weights, config: LlmConfig): AttentionWeights {
  const { hidden_size: width, num_attention_heads: heads, q_lora_rank, kv_lora_rank } = config;
  const { qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: v } = config;
  return {
    qA: attention.packed("q_a_proj.weight", [q_lora_rank, width]),
    qANorm: attention.plain("q_a_layernorm.weight"),
    qB: attention.packed("q_b_proj.weight", [heads * (nope + rope), q_lora_rank]),
    kvA: attention.packed("kv_a_proj_with_mqa.weight", [kv_lora_rank + rope, width]),
    kvANorm: attention.plain("kv_a_layernorm.weight"),
    kvB: keyValueWeights(attention, config),
    o: attention.packed("o_proj.weight", [width, heads * v]),
  };
}

/** `kv_b_proj`, whose rows are those of `embed_q` and `unembed_out` in turns, head by head, if MLX has split it. */
function keyValueWeights(attention: Weights, config: LlmConfig): PackedMatrix {
  const { num_attention_heads: heads, kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim: v } = config;
  if (!attention.has("embed_q.weight")) return attention.packedFloat("kv_b_proj.weight", [heads * (nope + v), rank]);
  return attention.derive(() => {
    const keys = attention.matrices("embed_q.weight", [heads, rank, nope]).map((matrix) => transpose(matrix));
    const values = attention.matrices("unembed_out.weight", [heads, v, rank]);
    return packWeight(concatRows(keys.flatMap((key, head) => [key, values[head]!])) as LlmWeights["embedding"]);
  });
}

async function moeWeights(mlp: Weights, config: LlmConfig): Promise<MoeWeights> {
  const { hidden_size: width, expert_ffn_hidden_size: inner, n_routed_experts: count, zero_expert_num: zeros } = config;
  const stackOf = (projection: string) => `switch_mlp.${projection}.weight`; // of MLX
  const nameOf = (projection: string, e: number) => `experts.${e}.${projection}.weight`;
  const [gate, up, shape] = ["gate_proj", "up_proj", [inner, width]] as const;
  const isStacked = mlp.has(stackOf(gate));
  const isAlike = isStacked
    ? mlp.isAlike(stackOf(gate), stackOf(up), [count, ...shape])
    : mlp.isAlike(nameOf(gate, 0), nameOf(up, 0), shape);
  // Hundreds of experts are handed over at a stretch, so the event loop has its turn after each of their matrices.
  const experts = async (projection: string, matrix: Matrix, isFloat = !isAlike) => {
    const names = Array.from({ length: count }, (_, e) => nameOf(projection, e));
    const packed = isStacked
      ? mlp.packedStack(stackOf(projection), [count, ...matrix], isFloat)
      : mlp.packedExperts(names, matrix, isFloat);
    await mlp.settle();
    return packed;
  };
  const bias = mlp.plain("router.e_score_correction_bias");
  const classifier = mlp.packedFloat("router.classifier.weight", [count + zeros, width]);
  return {
    classifier: classifier as PackedWeight<"f32" | "bf16">,
    correctionBias: bias.dtype === "f32" ? (bias as Tensor<"f32">) : mlp.derive(() => cast(bias, "f32")),
    experts: {
      gate: await experts(gate, shape),
      up: await experts(up, shape),
      down: await experts("down_proj", [width, inner], false),
    },
  };
}
