import type { Activations } from "../../lib/ops/call.js";
import {
  attention,
  mlaCacheWrite,
  mlaDecode,
  mlaPrefill,
  patchPositions,
  rope,
  vitAttention,
} from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { type Case, counted, defineCase, integers, packed, random, range, unitOf, values, type Work } from "../case.js";
import type { PeerModel } from "../peers.js";
import { blockSize, latent, mla, vision } from "./longcat.js";

const { nopeDim, ropeDim, vDim } = mla;
const qDim = nopeDim + ropeDim;
/** A row of the cache: the compressed vector and the rotated key part. */
const cacheDim = latent + ropeDim;
const upWeights = mla.heads * (nopeDim + vDim) * latent;

/** The language model's latent attention and the vision encoder's attention. */
export function attentionCases(activations: Activations): Case[] {
  return [
    counted(ropeCase(activations, 512)),
    counted(cacheWriteCase(activations, 512)),
    counted(decodeCase(activations, 1, 8192)),
    counted(decodeCase(activations, 8, 1024)),
    prefillCase(activations, 256),
    counted(prefillCase(activations, 8192), { ...prefillCase(activations, 256), size: "T=256" }),
    counted(vitCase(activations, 1024)),
    counted(attentionCase(activations, 1024)),
    attentionCase(activations, 256),
  ];
}

function ropeCase(activations: Activations, tokens: number): Case {
  const { heads } = mla;
  return defineCase({
    op: "rope",
    size: `T=${tokens} ${heads}×${qDim}`,
    unit: "scalar",
    work: { bytes: dtypeBytes[activations] * 2 * tokens * heads * qDim + 4 * tokens },
    prepare: (device) => ({
      x: random(device, [tokens, heads, qDim], activations, 0.5),
      positions: integers(device, range(tokens), [tokens]),
    }),
    run: ({ x, positions }) => rope(x, positions, { theta: 1e7, ropeDim }),
  });
}

function cacheWriteCase(activations: Activations, tokens: number): Case {
  const bytes = dtypeBytes[activations];
  return defineCase({
    op: "mlaCacheWrite",
    size: `T=${tokens} ${latent}+${ropeDim}`,
    unit: "scalar",
    work: { bytes: bytes * (tokens * cacheDim + latent) + 2 * tokens * cacheDim + 8 * tokens },
    prepare: (device) => ({
      kv: random(device, [tokens, cacheDim], activations, 0.5),
      normWeight: random(device, [latent], activations, 0.5),
      positions: integers(device, range(tokens), [tokens]),
      slots: integers(device, range(tokens), [tokens]),
      cache: random(device, [tokens / blockSize, blockSize, cacheDim], "bf16", 0.5),
    }),
    run(operands) {
      mlaCacheWrite({ ...operands, theta: 1e7 });
      return operands.cache.slice(0);
    },
  });
}

/** Operands that prefill and decode share, of equally long sequences whose blocks follow one another. */
function mlaOperands(device: Device, activations: Activations, sequences: number, queries: number, keys: number) {
  const blocks = keys / blockSize;
  return {
    q: random(device, [sequences * queries, mla.heads, qDim], activations, 0.5),
    wKvB: packed(device, mla.heads * (nopeDim + vDim), latent, "bf16"),
    cache: random(device, [sequences * blocks, blockSize, cacheDim], "bf16", 0.5),
    blockTable: integers(device, range(sequences * blocks), [sequences, blocks]),
    seqLens: integers(device, new Int32Array(sequences).fill(keys), [sequences]),
  };
}

function decodeCase(activations: Activations, sequences: number, context: number): Case {
  const { heads } = mla;
  return defineCase({
    op: "mlaDecode",
    size: `B=${sequences} context=${context} ${heads} heads`,
    unit: unitOf(activations),
    work: {
      bytes:
        2 * (sequences * context * cacheDim + upWeights) +
        dtypeBytes[activations] * sequences * heads * (qDim + vDim) +
        4 * sequences * heads,
      flops: 2 * sequences * (heads * context * (cacheDim + latent) + upWeights),
    },
    prepare: (device) => mlaOperands(device, activations, sequences, 1, context),
    run: (operands) => mlaDecode({ ...operands, ...mla }).o,
  });
}

function prefillCase(activations: Activations, tokens: number): Case {
  const { heads } = mla;
  const scores = (tokens * (tokens + 1)) / 2;
  return defineCase({
    op: "mlaPrefill",
    size: `T=${tokens} ${heads} heads, causal`,
    unit: unitOf(activations),
    work: {
      bytes: 2 * (tokens * cacheDim + upWeights) + dtypeBytes[activations] * tokens * heads * (qDim + vDim),
      flops: 2 * (tokens * upWeights + scores * heads * (qDim + vDim)),
    },
    prepare: (device) => ({
      ...mlaOperands(device, activations, 1, tokens, tokens),
      cuSeqlens: integers(device, [0, tokens], [2]),
    }),
    run: (operands) => mlaPrefill({ ...operands, ...mla }),
  });
}

/** The work of attention among `rows` patches of one image. */
const visionWork = (activations: Activations, rows: number): Work => ({
  bytes: dtypeBytes[activations] * 4 * rows * vision.width,
  flops: 4 * rows * rows * vision.width,
});

const visionSize = (rows: number) => `S=${rows} ${vision.heads}×${vision.headDim}`;

/** RoPE and the normalisation of q and k are part of the operation. */
function vitCase(activations: Activations, rows: number): Case {
  const { heads, width } = vision;
  const side = Math.sqrt(rows);
  return defineCase({
    op: "vitAttention",
    size: visionSize(rows),
    unit: unitOf(activations),
    work: visionWork(activations, rows),
    prepare: (device) => ({
      qkv: random(device, [rows, 3 * width], activations, 0.5),
      cuSeqlens: integers(device, [0, rows], [2]),
      positions: integers(device, patchPositions([side, side]), [rows, 2]),
      norm: random(device, [width], activations, 0.5),
    }),
    run: ({ qkv, norm, ...options }) => vitAttention(qkv, { heads, qNorm: norm, kNorm: norm, ...options }),
  });
}

function attentionCase(activations: Activations, rows: number): Case {
  const { heads, headDim } = vision;
  const operand = (device: Device) => random(device, [rows, heads, headDim], activations, 0.5);
  return defineCase({
    op: "attention",
    size: visionSize(rows),
    unit: unitOf(activations),
    work: visionWork(activations, rows),
    prepare: (device) => ({
      q: operand(device),
      k: operand(device),
      v: operand(device),
      cuSeqlens: integers(device, [0, rows], [2]),
    }),
    run: ({ q, k, v, cuSeqlens }) => attention(q, k, v, { cuSeqlens }),
    peer: () => attentionPeer(rows),
  });
}

function attentionPeer(rows: number): PeerModel {
  const dims = [1, rows, vision.width];
  const operand = (seed: number) => ({ dims, values: values(rows * vision.width, seed) });
  return {
    node: {
      op: "MultiHeadAttention",
      domain: "com.microsoft",
      inputs: ["q", "k", "v"],
      outputs: ["y"],
      attributes: { num_heads: vision.heads },
    },
    constants: {},
    inputs: { q: operand(1), k: operand(2), v: operand(3) },
    outputs: { y: dims },
  };
}
