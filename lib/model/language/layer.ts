import type { LlmConfig } from "../../checkpoint/config.js";
import { mlaCacheWrite, mlaDecode, mlaPrefill, rope } from "../../ops/attention.js";
import { add } from "../../ops/elementwise.js";
import { linear, swiglu } from "../../ops/linear.js";
import { moe, router } from "../../ops/moe.js";
import { rmsNorm } from "../../ops/norm.js";
import type { Rows, Tap } from "../types.js";
import type { CacheTensors } from "./cacheTensors.js";
import type { KvCache } from "./kvCache.js";
import type { AttentionWeights, FfnWeights, LayerWeights, MoeWeights } from "./weights.js";

/** The inputs that all layers of one pass share. */
export interface LlmPass {
  readonly config: LlmConfig;
  readonly cache: KvCache;
  readonly rows: CacheTensors;
  /** `decode`: `rows` have one row per sequence, which is scored directly against the compressed cache. */
  readonly mode: "prefill" | "decode";
  /** Sees `layer<i>.` + `attn<j>`, `moe.input`, `router.ids`, `router.weights`, `moe.output`, `output`. */
  readonly tap?: Tap | undefined;
  /** As for `linear`. */
  readonly int8Rows: boolean;
}

/** The published code's default for the norms inside the attention, which do not use `rms_norm_eps`. */
const defaultLoraNormEps = 1e-6;

/**
 * One logical layer with a shortcut-connected mixture of experts: two blocks of attention and dense network, and an
 * expert branch that reads the first dense network's input and joins at the layer's end, so both can run concurrently.
 *
 * @param x `[T, hidden size]`
 * @param index the layer's index; its two attentions use the cache modules 2·index and 2·index + 1
 * @returns `[T, hidden size]`
 */
export function llmLayer(x: Rows, weights: LayerWeights, index: number, pass: LlmPass): Rows {
  const { tap, int8Rows } = pass;
  const eps = pass.config.rms_norm_eps;
  const [first, second] = weights.blocks;

  const attended0 = attention(rmsNorm(x, first.inputNorm, { eps }), first.attention, 2 * index, pass);
  tap?.(`layer${index}.attn0`, linear(attended0, first.attention.o, { int8Rows }));
  const h1 = linear(attended0, first.attention.o, { residual: x, outDtype: x.dtype, int8Rows });
  const u = rmsNorm(h1, first.postAttentionNorm, { eps });
  const branch = u.device.fork(() => experts(u, weights.moe, index, pass));
  const h2 = feedForward(u, first.ffn, h1, pass);

  const attended1 = attention(rmsNorm(h2, second.inputNorm, { eps }), second.attention, 2 * index + 1, pass);
  tap?.(`layer${index}.attn1`, linear(attended1, second.attention.o, { int8Rows }));
  const h3 = linear(attended1, second.attention.o, { residual: h2, outDtype: x.dtype, int8Rows });
  const v = rmsNorm(h3, second.postAttentionNorm, { eps });
  const h4 = feedForward(v, second.ffn, h3, pass);

  const output = add(h4, branch);
  tap?.(`layer${index}.output`, output);
  return output;
}

/** A dense network, added to `residual`. */
function feedForward(x: Rows, w: FfnWeights, residual: Rows, { int8Rows }: LlmPass): Rows {
  return linear(swiglu(x, w.gate, w.up, { int8Rows }), w.down, { residual, int8Rows });
}

/** Latent attention without its output projection: f32 `[T, heads · v_head_dim]`. Writes the cache. */
function attention(x: Rows, w: AttentionWeights, module: number, pass: LlmPass): Rows<"f32"> {
  const { config, rows, int8Rows } = pass;
  // Values inside the attention stay f32: their rounding errors would add up, and the matrix kernels widen anyway.
  const wide = { outDtype: "f32", int8Rows } as const;
  const { hidden_size, num_attention_heads: heads, kv_lora_rank, q_lora_rank, rope_theta: theta } = config;
  const [nopeDim, ropeDim, vDim] = [config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim];
  const eps = config.lora_norm_eps ?? defaultLoraNormEps;
  const cache = pass.cache.modules[module]!;

  const compressed = rmsNorm(linear(x, w.qA, wide), w.qANorm, { eps });
  const q = linear(compressed, w.qB, { int8Rows }).reshape([x.shape[0], heads, nopeDim + ropeDim]);
  mlaCacheWrite({
    kv: linear(x, w.kvA, wide),
    normWeight: w.kvANorm,
    positions: rows.positions,
    slots: rows.slots,
    cache,
    eps,
    scale: config.mla_scale_kv_lora ? Math.sqrt(hidden_size / kv_lora_rank) : 1,
    theta,
  });
  // Scores are linear in the compressed query, so its published scaling is folded into the scale of the scores.
  const queryScale = config.mla_scale_q_lora ? Math.sqrt(hidden_size / q_lora_rank) : 1;
  const args = {
    q: rope(q, rows.positions, { theta, ropeDim }),
    wKvB: w.kvB,
    cache,
    blockTable: rows.blockTable,
    seqLens: rows.seqLens,
    heads,
    nopeDim,
    ropeDim,
    vDim,
    scale: queryScale / Math.sqrt(nopeDim + ropeDim),
  };
  return pass.mode === "decode" ? mlaDecode(args).o : mlaPrefill({ ...args, cuSeqlens: rows.cuSeqlens });
}

function experts(u: Rows, w: MoeWeights, index: number, pass: LlmPass): Rows {
  const { config, tap, int8Rows } = pass;
  const routing = router(u, w.classifier, w.correctionBias, {
    topK: config.moe_topk,
    experts: config.n_routed_experts,
    zeroExperts: config.zero_expert_num,
    scale: config.routed_scaling_factor,
    renormalize: config.norm_topk_prob,
    scaleZeroExperts: config.scale_zero_experts ?? true,
  });
  const output = moe(u, w.experts, routing, { int8Rows });
  tap?.(`layer${index}.moe.input`, u);
  tap?.(`layer${index}.router.ids`, routing.ids);
  tap?.(`layer${index}.router.weights`, routing.weights);
  tap?.(`layer${index}.moe.output`, output);
  return output;
}
