import type { LlmConfig } from "../../checkpoint/config.js";
import type { ExpertWeight } from "../../ops/moe.js";
import { cast } from "../../ops/rows.js";
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
  const embedding = weights.plain("model.embed_tokens.weight") as LlmWeights["embedding"];
  const layers: LayerWeights[] = [];
  for (let i = 0; i < config.num_layers; i++) {
    layers.push(await layerWeights(weights.part(`model.layers.${i}`), config));
    await weights.settle();
  }
  const norm = weights.plain("model.norm.weight");
  const head = weights.packed("lm_head.weight");
  await weights.settle();
  return { embedding, layers, norm, head };
}

async function layerWeights(layer: Weights, config: LlmConfig): Promise<LayerWeights> {
  const block = (j: number): BlockWeights => ({
    inputNorm: layer.plain(`input_layernorm.${j}.weight`),
    attention: attentionWeights(layer.part(`self_attn.${j}`)),
    postAttentionNorm: layer.plain(`post_attention_layernorm.${j}.weight`),
    ffn: {
      gate: layer.packed(`mlps.${j}.gate_proj.weight`),
      up: layer.packed(`mlps.${j}.up_proj.weight`),
      down: layer.packed(`mlps.${j}.down_proj.weight`),
    },
  });
  return { blocks: [block(0), block(1)], moe: await moeWeights(layer.part("mlp"), config.n_routed_experts) };
}

function attentionWeights(attention: Weights): AttentionWeights {
  return {
    qA: attention.packed("q_a_proj.weight"),
    qANorm: attention.plain("q_a_layernorm.weight"),
    qB: attention.packed("q_b_proj.weight"),
    kvA: attention.packed("kv_a_proj_with_mqa.weight"),
    kvANorm: attention.plain("kv_a_layernorm.weight"),
    kvB: attention.packed("kv_b_proj.weight"),
    o: attention.packed("o_proj.weight"),
  };
}

async function moeWeights(mlp: Weights, count: number): Promise<MoeWeights> {
  // Hundreds of experts are handed over at a stretch, so the event loop has its turn after each of their matrices.
  const experts = async (projection: string) => {
    const packed = mlp.packedExperts(Array.from({ length: count }, (_, e) => `experts.${e}.${projection}.weight`));
    await mlp.settle();
    return packed;
  };
  const bias = mlp.plain("router.e_score_correction_bias");
  return {
    classifier: mlp.packed("router.classifier.weight") as PackedWeight<"f32" | "bf16">,
    correctionBias: bias.dtype === "f32" ? (bias as Tensor<"f32">) : mlp.derive(() => cast(bias, "f32")),
    experts: { gate: await experts("gate_proj"), up: await experts("up_proj"), down: await experts("down_proj") },
  };
}
