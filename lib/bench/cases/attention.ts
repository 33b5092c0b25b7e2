import { attention, mlaDecode, mlaPrefill, vitAttention } from "../../ops/attention.js";
import type { Activations } from "../../ops/call.js";
import { packWeight } from "../../ops/linear.js";
import type { Device } from "../../tensor/device.js";
import { dtypeBytes } from "../../tensor/dtype.js";
import { type OpCase, opCase, random, values } from "../case.js";

const heads = 16;
const headDim = 80;
const width = heads * headDim;

/** The vision encoder's attention (16 heads of 80) and the LLM's latent attention (64 heads, latent 512 + 64). */
export function attentionCases(activations: Activations): OpCase[] {
  return [
    ...[256, 1024].map((s) => packedCase(activations, s)),
    vitCase(activations, 1024),
    prefillCase(activations, 256),
    decodeCase(activations, 1, 8192),
    decodeCase(activations, 8, 1024),
  ];
}

const attentionFlops = (s: number) => 4 * s * s * width;

function packedCase(activations: Activations, s: number): OpCase {
  const dims = [1, s, width];
  return opCase({
    op: "attention",
    size: `S=${s} ${heads}×${headDim} ${activations}`,
    flops: attentionFlops(s),
    matrix: activations === "bf16",
    bytes: 4 * dtypeBytes[activations] * s * width,
    prepare: (device) => ({
      q: random(device, [s, heads, headDim], activations),
      k: random(device, [s, heads, headDim], activations),
      v: random(device, [s, heads, headDim], activations),
      cuSeqlens: device.tensor([0, s], [2], "i32"),
    }),
    run({ q, k, v, cuSeqlens }) {
      return attention(q, k, v, { cuSeqlens });
    },
    peer: {
      copies: 1,
      model: () => ({
        node: {
          op: "MultiHeadAttention",
          domain: "com.microsoft",
          inputs: ["q", "k", "v"],
          outputs: ["y"],
          attributes: { num_heads: heads },
        },
        constants: {},
        inputs: {
          q: { dims, values: values(s * width, 1) },
          k: { dims, values: values(s * width, 2) },
          v: { dims, values: values(s * width, 3) },
        },
        outputs: { y: dims },
      }),
    },
  });
}

function vitCase(activations: Activations, s: number): OpCase {
  const side = Math.sqrt(s);
  const positions = Int32Array.from({ length: 2 * s }, (_, i) =>
    i % 2 ? (i >> 1) % side : Math.floor((i >> 1) / side),
  );
  return opCase({
    op: "vitAttention",
    size: `S=${s} ${heads}×${headDim} ${activations}, RoPE and QK norm fused`,
    flops: attentionFlops(s),
    matrix: activations === "bf16",
    bytes: 4 * dtypeBytes[activations] * s * width,
    prepare: (device) => ({
      qkv: random(device, [s, 3 * width], activations),
      cuSeqlens: device.tensor([0, s], [2], "i32"),
      positions: device.tensor(positions, [s, 2], "i32"),
      qNorm: random(device, [width], "f32"),
      kNorm: random(device, [width], "f32"),
    }),
    run({ qkv, ...options }) {
      return vitAttention(qkv, { heads, ...options });
    },
  });
}

const mla = { heads: 64, nopeDim: 128, ropeDim: 64, vDim: 128 };
const latent = 512;
const blockSize = 64;

function mlaOperands(device: Device, activations: Activations, sequences: number, queries: number, keys: number) {
  const blocks = Math.ceil(keys / blockSize);
  using w = random(device, [mla.heads * (mla.nopeDim + mla.vDim), latent], "bf16", 0.05);
  return {
    q: random(device, [sequences * queries, mla.heads, mla.nopeDim + mla.ropeDim], activations),
    wKvB: packWeight(w),
    cache: random(device, [sequences * blocks, blockSize, latent + mla.ropeDim], "bf16"),
    blockTable: device.tensor(
      Array.from({ length: sequences * blocks }, (_, i) => i),
      [sequences, blocks],
      "i32",
    ),
    seqLens: device.tensor(new Int32Array(sequences).fill(keys), [sequences], "i32"),
  };
}

function prefillCase(activations: Activations, tokens: number): OpCase {
  const projection = 2 * tokens * latent * mla.heads * (mla.nopeDim + mla.vDim);
  return opCase({
    op: "mlaPrefill",
    size: `T=${tokens} ${mla.heads} heads, causal`,
    flops: projection + tokens * tokens * mla.heads * (mla.nopeDim + mla.ropeDim + mla.vDim),
    matrix: activations === "bf16",
    bytes:
      2 * latent * mla.heads * (mla.nopeDim + mla.vDim) + dtypeBytes[activations] * tokens * mla.heads * (192 + 128),
    prepare: (device) => ({
      ...mlaOperands(device, activations, 1, tokens, tokens),
      cuSeqlens: device.tensor([0, tokens], [2], "i32"),
    }),
    run(operands) {
      return mlaPrefill({ ...operands, ...mla });
    },
  });
}

function decodeCase(activations: Activations, sequences: number, context: number): OpCase {
  const perSequence = 2 * mla.heads * context * (2 * latent + mla.ropeDim);
  return opCase({
    op: "mlaDecode",
    size: `B=${sequences} context=${context} ${mla.heads} heads, bf16 cache`,
    flops: sequences * (perSequence + 2 * mla.heads * latent * (mla.nopeDim + mla.vDim)),
    matrix: activations === "bf16",
    bytes: sequences * context * (latent + mla.ropeDim) * 2 + 2 * latent * mla.heads * (mla.nopeDim + mla.vDim),
    prepare: (device) => mlaOperands(device, activations, sequences, 1, context),
    run(operands) {
      return mlaDecode({ ...operands, ...mla }).o;
    },
  });
}
