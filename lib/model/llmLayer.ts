import type { LlmConfig } from "../checkpoint/config.js";
import { mlaCacheWrite, mlaDecode, mlaPrefill, rope } from "../ops/attention.js";
import type { Activations } from "../ops/call.js";
import { add } from "../ops/elementwise.js";
import { linear, swiglu } from "../ops/linear.js";
import { moe, router } from "../ops/moe.js";
import { rmsNorm } from "../ops/norm.js";
import type { Tensor } from "../tensor/tensor.js";
import type { CacheTensors, KvCache } from "./kvCache.js";
import type { AttentionWeights, LayerWeights, MoeWeights } from "./llmWeights.js";
import type { Tap } from "./weights.js";

/** What every layer of one pass shares. */
export interface LlmPass {
  readonly config: LlmConfig;
  /** Of the two norms inside the attention. */
  readonly loraNormEps: number;
  readonly scaleZeroExperts: boolean;
  readonly cache: KvCache;
  readonly rows: CacheTensors;
  /** `decode`: one row per sequence, scored against the compressed cache itself. */
  readonly mode: "prefill" | "decode";
  /** Sees `layer<i>.` + `attn<j>`, `moe.input`, `router.ids`, `router.weights`, `moe.output`, `output`. */
  readonly tap?: Tap | undefined;
}

type Rows = Tensor<Activations>;
/** What stays inside the attention is f32: its roundings would add up, and the matrix kernels widen anyway. */
const wide = { outDtype: "f32" } as const;

/**
 * One logical layer, a shortcut-connected mixture of experts: two blocks of attention and dense network, and a branch
 * of experts that reads what the first dense network reads and joins only at the layer's end, so it runs beside.
 *
 * @param x [T, hidden size]
 * @param index of the layer; its two attentions use the cache's modules 2·index and 2·index + 1
 */
export function llmLayer(x: Rows, weights: LayerWeights, index: number, pass: LlmPass): Rows {
  const { tap } = pass;
  const eps = pass.config.rms_norm_eps;
  const [first, second] = weights.blocks;

  const attended0 = attention(rmsNorm(x, first.inputNorm, { eps }), first.attention, 2 * index, pass);
  tap?.(`layer${index}.attn0`, linear(attended0, first.attention.o));
  const h1 = linear(attended0, first.attention.o, { residual: x, outDtype: x.dtype });
  const u = rmsNorm(h1, first.postAttentionNorm, { eps });
  const branch = u.device.fork(() => experts(u, weights.moe, index, pass));
  const h2 = linear(swiglu(u, first.ffn.gate, first.ffn.up), first.ffn.down, { residual: h1 });

  const attended1 = attention(rmsNorm(h2, second.inputNorm, { eps }), second.attention, 2 * index + 1, pass);
  tap?.(`layer${index}.attn1`, linear(attended1, second.attention.o));
  const h3 = linear(attended1, second.attention.o, { residual: h2, outDtype: x.dtype });
  const v = rmsNorm(h3, second.postAttentionNorm, { eps });
  const h4 = linear(swiglu(v, second.ffn.gate, second.ffn.up), second.ffn.down, { residual: h3 });

  const output = add(h4, branch);
  tap?.(`layer${index}.output`, output);
  return output;
}

/** Latent attention up to, but without, its output projection: f32 [T, heads · v_head_dim]. Writes the cache. */
function attention(x: Rows, w: AttentionWeights, module: number, pass: LlmPass): Rows {
  const { config, rows, loraNormEps: eps } = pass;
  const { hidden_size, num_attention_heads: heads, kv_lora_rank, q_lora_rank, rope_theta: theta } = config;
  const [nopeDim, ropeDim, vDim] = [config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim];
  const cache = pass.cache.modules[module]!;

  const compressed = rmsNorm(linear(x, w.qA, wide), w.qANorm, { eps });
  const q = linear(compressed, w.qB).reshape([x.shape[0]!, heads, nopeDim + ropeDim]);
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
  // Scores are linear in the compressed query, so its published scaling may stand in the scale of the scores.
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
  const { config, tap } = pass;
  const routing = router(u, w.classifier, w.correctionBias, {
    topK: config.moe_topk,
    experts: config.n_routed_experts,
    zeroExperts: config.zero_expert_num,
    scale: config.routed_scaling_factor,
    renormalize: config.norm_topk_prob,
    scaleZeroExperts: pass.scaleZeroExperts,
  });
  const output = moe(u, w.experts, routing);
  tap?.(`layer${index}.moe.input`, u);
  tap?.(`layer${index}.router.ids`, routing.ids);
  tap?.(`layer${index}.router.weights`, routing.weights);
  tap?.(`layer${index}.moe.output`, output);
  return output;
}
