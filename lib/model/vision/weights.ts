import type { VisionConfig } from "../../checkpoint/config.js";
import type { Vector } from "../types.js";
import type { Affine, Norm, Weights } from "../weights.js";

export interface VisionLayer {
  readonly norm1: Vector;
  readonly qkv: Affine;
  readonly qNorm: Vector;
  readonly kNorm: Vector;
  readonly proj: Affine;
  readonly ls1: Vector;
  readonly norm2: Vector;
  readonly gate: Affine;
  readonly up: Affine;
  readonly innerNorm: Vector;
  readonly down: Affine;
  readonly ls2: Vector;
}

interface Projector {
  readonly norm: Norm;
  readonly linears: readonly [Affine, Affine, Affine];
}

export interface VisionWeights {
  readonly patch: Affine;
  readonly layers: readonly VisionLayer[];
  readonly projector: Projector;
}

/**
 * Packs the weights of the ViT and its projector, layer by layer.
 * @throws {CaracalError} `ABORTED`, `CHECKPOINT_INVALID` as for `Weights`
 */
export async function loadVisionWeights(weights: Weights, config: VisionConfig): Promise<VisionWeights> {
  const encoder = weights.part("vision_encoder");
  const embedding = "embeddings.patch_embedding";
  const patchSize = config.num_channels * config.temporal_patch_size * config.patch_size ** 2;
  const patch: Affine = {
    weight: encoder.packed(`${embedding}.weight`, [config.hidden_size, patchSize]),
    bias: encoder.optional(`${embedding}.bias`),
  };
  const layers: VisionLayer[] = [];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    layers.push(loadLayer(encoder.part(`encoder.layers.${i}`)));
    await weights.settle();
  }
  const projector = loadProjector(weights.part("vision_projector"));
  await weights.settle();
  return { patch, layers, projector };
}

function loadLayer(w: Weights): VisionLayer {
  return {
    norm1: w.plain("norm1.weight"),
    qkv: w.linear("attn.qkv"),
    qNorm: w.plain("attn.q_norm.weight"),
    kNorm: w.plain("attn.k_norm.weight"),
    proj: w.linear("attn.proj"),
    ls1: w.plain("ls1"),
    norm2: w.plain("norm2.weight"),
    gate: w.linear("mlp.fc1"),
    up: w.linear("mlp.fc3"),
    innerNorm: w.plain("mlp.norm.weight"),
    down: w.linear("mlp.fc2"),
    ls2: w.plain("ls2"),
  };
}

function loadProjector(w: Weights): Projector {
  return {
    norm: w.norm("p0.0"),
    linears: [w.linear("p0.1"), w.linear("p0.3"), w.linear("proj")],
  };
}
