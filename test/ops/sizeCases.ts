// Every operation as a function of its sizes.
import type { operationFields } from "../../lib/native/operations.js";
import * as ops from "../../lib/ops/index.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import type { Make } from "./sizeTensors.js";

export type Sizes<Name extends string> = Readonly<Record<Name, number>>;
export interface Case<Name extends string> {
  readonly operation: keyof typeof operationFields;
  readonly sizes: Sizes<Name>;
  /** Sizes that are summed over: without them, results of f32 are 0. */
  readonly summed?: readonly NoInfer<Name>[];
  readonly run: (make: Make, sizes: Sizes<NoInfer<Name>>) => readonly Tensor[] | Tensor;
}
const of = <Name extends string>(c: Case<Name>): Case<string> => c as unknown as Case<string>;

const mla = (make: Make, { t, h, n, p, v, r, blocks, size, m, b }: Sizes<string>) => ({
  q: make.ones([t!, h!, n! + p!]),
  wKvB: make.matrix(h! * (n! + v!), r!),
  cache: make.ones([blocks!, size!, r! + p!]),
  blockTable: make.ids(b!, m!),
  seqLens: make.ids(b!),
  heads: h!,
  nopeDim: n!,
  ropeDim: p!,
  vDim: v!,
});
const mlaSizes = { t: 1, h: 2, n: 8, p: 8, v: 8, r: 8, blocks: 2, size: 4, m: 2, b: 1 };

export const cases = [
  of({ operation: "activation", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.activation(m.ones([t, c]), "gelu") }),
  of({ operation: "add", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.add(m.ones([t, c]), m.ones([t, c])) }),
  of({ operation: "mul", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.mul(m.ones([t, c]), m.ones([c])) }),
  of({ operation: "clamp", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.clamp(m.ones([t, c]), { low: 0 }) }),
  of({ operation: "magnitude", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.magnitude(m.ones([t, 2 * c])) }),
  of({ operation: "cast", sizes: { t: 2, c: 8 }, run: (m, { t, c }) => ops.cast(m.ones([t, c]), "bf16") }),
  of({
    operation: "argmax",
    sizes: { b: 2, v: 8 },
    run: (m, { b, v }) => ops.argmax(m.ones([b, v])),
  }),
  of({
    operation: "sample",
    sizes: { b: 2, v: 8 },
    run: (m, { b, v }) => ops.sample(m.ones([b, v]), { seed: 1, step: 0, topK: 2, topP: 0.5 }),
  }),
  of({
    operation: "repetitionPenalty",
    sizes: { b: 2, v: 8, w: 3 },
    run: (m, { b, v, w }) => ops.repetitionPenalty(m.ones([b, v]), m.ids(b, w), 1.5),
  }),
  of({
    operation: "attention",
    sizes: { t: 3, h: 2, d: 8 },
    run: (m, { t, h, d }) =>
      ops.attention(m.ones([t, h, d]), m.ones([t, h, d]), m.ones([t, h, d]), { cuSeqlens: m.starts(t) }),
  }),
  of({
    operation: "vitAttention",
    sizes: { t: 3, h: 2, d: 8 },
    run: (m, { t, h, d }) =>
      ops.vitAttention(m.ones([t, 3 * h * d]), {
        heads: h,
        cuSeqlens: m.starts(t),
        positions: m.ids(t, 2),
        qNorm: m.ones([h * d]),
        kNorm: m.ones([h * d]),
      }),
  }),
  of({
    operation: "rope",
    sizes: { t: 3, h: 2, d: 8 },
    run: (m, { t, h, d }) => ops.rope(m.ones([t, h, d]), m.ids(t), { theta: 1e4 }),
  }),
  of({
    operation: "mlaCacheWrite",
    sizes: { t: 1, r: 8, p: 8, blocks: 2, size: 4 },
    run: (m, { t, r, p, blocks, size }) => {
      const cache: Tensor = m.ones([blocks, size, r + p]);
      ops.mlaCacheWrite({
        kv: m.ones([t, r + p]),
        normWeight: m.ones([r]),
        positions: m.ids(t),
        slots: m.ids(t),
        cache: cache as never,
        theta: 1e4,
      });
      return cache;
    },
  }),
  of({
    operation: "mlaDecode",
    sizes: { ...mlaSizes, b: 1 },
    run: (m, sizes) => {
      const { o, lse } = ops.mlaDecode({ ...mla(m, { ...sizes, t: sizes.b }) });
      return [o, ops.clamp(lse, { low: -9 })]; // of an empty sequence, it is -∞
    },
  }),
  of({
    operation: "mlaPrefill",
    sizes: mlaSizes,
    run: (m, sizes) =>
      ops.mlaPrefill({ ...mla(m, { ...sizes, t: 0 }), cuSeqlens: m.ids(sizes.b + 1), q: m.ones([0, sizes.h, 16]) }),
  }),
  of({
    operation: "cmvn",
    sizes: { t: 3, c: 8 },
    run: (m, { t, c }) => ops.cmvn(m.ones([t, c]), m.ones([c]), m.ones([c])),
  }),
  of({
    operation: "codecEmbedding",
    sizes: { t: 3, q: 2, v: 4, s: 8, n: 3, a: 8, b: 8 },
    run: (m, { t, q, v, s, n, a, b }) =>
      ops.codecEmbedding({
        semantic: m.ids(t),
        acoustic: m.ids(t, q),
        semanticTable: m.ones([v, s]),
        tableA: m.ones([q, n, a]),
        tableB: m.ones([q, n, b]),
      }),
  }),
  of({
    operation: "combine",
    sizes: { r: 4, t: 2, k: 2, d: 8 },
    run: (m, { r, t, k, d }) =>
      ops.combine(
        m.ones([r, d]),
        m.ones([t, d]),
        { weights: m.ones([t, k]), zeroWeight: m.ones([t]) },
        { slotOf: m.ids(t, k) },
      ),
  }),
  of({
    operation: "concatRows",
    sizes: { r: 3, s: 2, c: 8 },
    run: (m, { r, s, c }) => ops.concatRows([m.ones([r, c]), m.ones([s, c])]),
  }),
  of({
    operation: "copyRows",
    sizes: { r: 3, s: 2, c: 8 },
    run: (m, { r, s, c }) => {
      const to: Tensor = m.ones([r, c]);
      ops.copyRows(to, m.ones([s, c]));
      return to;
    },
  }),
  of({
    operation: "conv1d",
    sizes: { t: 3, cin: 8, cout: 8, k: 3 },
    run: (m, { t, cin, cout, k }) => ops.conv1d(m.ones([t, cin]), m.ones([cout, cin, k])),
  }),
  of({
    operation: "conv1d",
    sizes: { t: 3, c: 8, k: 3 },
    run: (m, { t, c, k }) => ops.conv1d(m.ones([t, c]), m.ones([c, 1, k]), { groups: c }),
  }),
  of({
    operation: "packConv1d",
    sizes: { t: 3, cin: 8, cout: 8, k: 3 },
    run: (m, { t, cin, cout, k }) => ops.conv1d(m.ones([t, cin]), ops.packConv1d(m.ones([cout, cin, k])) as never),
  }),
  of({
    operation: "convTranspose1d",
    sizes: { t: 3, cin: 8, cout: 8, k: 3 },
    summed: ["cin"],
    run: (m, { t, cin, cout, k }) => ops.convTranspose1d(m.ones([t, cin]), m.ones([cin, cout, k]), { stride: 2 }),
  }),
  of({
    operation: "packConvTranspose1d",
    sizes: { t: 3, cin: 8, cout: 8, k: 3 },
    summed: ["cin"],
    run: (m, { t, cin, cout, k }) =>
      ops.convTranspose1d(m.ones([t, cin]), ops.packConvTranspose1d(m.ones([cin, cout, k])) as never, { stride: 3 }),
  }),
  of({
    operation: "embedding",
    sizes: { v: 4, c: 8, n: 3 },
    run: (m, { v, c, n }) => ops.embedding(m.ones([v, c]), m.ids(n), { outDtype: "bf16" }),
  }),
  of({
    operation: "gatherRows",
    sizes: { r: 4, c: 8, n: 3 },
    run: (m, { r, c, n }) => ops.gatherRows(m.ones([r, c]), m.ids(n)),
  }),
  of({
    operation: "fbank",
    sizes: { n: 800 },
    run: (m, { n }) => ops.fbank(m.ones([n])),
  }),
  of({
    operation: "foldWeightNorm",
    sizes: { n: 3, c: 4, k: 2 },
    run: (m, { n, c, k }) => ops.foldWeightNorm(m.ones([n, c, k]), m.ones([n])),
  }),
  of({
    operation: "fsmnMemory",
    sizes: { t: 4, c: 8, left: 2 },
    run: (m, { t, c, left }) =>
      ops.fsmnMemory(m.ones([t, c]), m.ones([c, left + 1]), { leftOrder: left, norm: { weight: m.ones([c]) } }),
  }),
  of({
    operation: "groupedGemm",
    sizes: { e: 2, n: 8, k: 8, r: 4 },
    summed: ["k"],
    run: (m, { e, n, k, r }) => ops.groupedGemm(m.ones([r, k]), m.experts(e, n, k), m.ids(e + 1)),
  }),
  of({
    operation: "groupedSwiglu",
    sizes: { e: 2, n: 8, k: 8, r: 4, g: 3 },
    summed: ["k"],
    run: (m, { e, n, k, r, g }) => {
      const w = m.experts(e, n, k);
      return ops.groupedSwiglu(m.ones([r, k]), w, w, m.ids(e + 1), { gather: m.ids(g) });
    },
  }),
  of({
    operation: "interpolateTokens",
    sizes: { h: 2, w: 3, c: 8, to: 4 },
    run: (m, { h, w, c, to }) => ops.interpolateTokens(m.ones([h * w, c]), { from: [h, w], to: [to, to] }),
  }),
  of({
    operation: "layerNorm",
    sizes: { t: 3, c: 8 },
    run: (m, { t, c }) => ops.layerNorm(m.ones([t, c]), m.ones([c]), m.ones([c])),
  }),
  of({ operation: "rmsNorm", sizes: { t: 3, c: 8 }, run: (m, { t, c }) => ops.rmsNorm(m.ones([t, c]), m.ones([c])) }),
  of({
    operation: "addRmsNorm",
    sizes: { t: 3, c: 8 },
    run: (m, { t, c }) => {
      const { y, residual } = ops.addRmsNorm(m.ones([t, c]), m.ones([t, c]), m.ones([c]));
      return [y, residual];
    },
  }),
  ...(["plain", "packWeight", "f8"] as const).map((kind) =>
    of({
      operation: kind === "plain" ? "linear" : "packWeight",
      sizes: { t: 3, n: 8, k: 8 },
      summed: ["k"],
      run: (m, { t, n, k }) => {
        const w = kind === "plain" ? m.ones([n, k]) : kind === "f8" ? m.f8(n, k) : m.matrix(n, k);
        return ops.linear(m.ones([t, k]), w);
      },
    }),
  ),
  ...([4, 8] as const).map((bits) =>
    of({
      operation: "packWeight",
      sizes: { t: 3, n: 8, k: 64 },
      run: (m, { t, n, k }) => ops.linear(m.ones([t, k]), m.codes(n, k, bits)),
    }),
  ),
  of({
    operation: "packWeights",
    sizes: { e: 2, n: 8, k: 64, r: 4 },
    run: (m, { e, n, k, r }) => {
      const [codes, scale] = [m.bytes([e, n, k / 2]), m.ones([e, n, k / 32])];
      const w = ops.packWeights([codes], { bits: 4, scales: [scale] });
      return ops.groupedGemm(m.ones([r, k]), w as never, m.ids(e + 1));
    },
  }),
  of({
    operation: "packWeights",
    sizes: { e: 2, n: 8, k: 8, r: 4 },
    run: (m, { e, n, k, r }) => {
      const matrices = Array.from({ length: e }, () => m.ones([n, k], "f8e4m3") as Tensor<"f8e4m3">);
      const w = ops.packWeights(matrices, { scales: matrices.map(() => m.scale(n, k)) });
      return ops.groupedGemm(m.ones([r, k]), w as never, m.ids(e + 1));
    },
  }),
  of({
    operation: "quantizeAffine",
    sizes: { n: 2, k: 64 },
    run: (m, { n, k }) => {
      const { scale, bias } = ops.quantizeAffine(m.ones([n, k]), { bits: 4, group: 32 });
      return [scale, bias];
    },
  }),
  of({
    operation: "dequantizeAffine",
    sizes: { n: 2, b: 16, g: 1 },
    run: (m, { n, b, g }) => {
      const codes = m.device.zeros([n, b], "u8") as never;
      return ops.dequantizeAffine(codes, { bits: 4, scale: m.ones([n, g]), bias: m.ones([n, g]) });
    },
  }),
  of({
    operation: "quantizeFp8",
    sizes: { n: 3, k: 8 },
    run: (m, { n, k }) => Object.values(ops.quantizeFp8(m.ones([n, k]))),
  }),
  of({
    operation: "dequantizeFp8",
    sizes: { n: 3, k: 8 },
    run: (m, { n, k }) => ops.dequantizeFp8(m.ones([n, k], "f8e4m3"), { scale: m.scale(n, k) }),
  }),
  of({
    operation: "swiglu",
    sizes: { t: 3, n: 8, k: 8 },
    summed: ["k"],
    run: (m, { t, n, k }) => ops.swiglu(m.ones([t, k]), m.ones([n, k]), m.ones([n, k])),
  }),
  ...[false, true].map((packed) =>
    of({
      operation: "lstm",
      sizes: { t: 3, i: 8, h: 16 },
      run: (m, { t, i, h }) => {
        const state = { h: m.ones([h]) as Tensor<"f32">, c: m.ones([h]) as Tensor<"f32"> };
        const weights = packed
          ? { wIh: m.matrix(4 * h, i), wHh: m.matrix(4 * h, h) }
          : { wIh: m.ones([4 * h, i]), wHh: m.ones([4 * h, h]) };
        return [ops.lstm(m.ones([t, i]), { ...weights, ...state }) as Tensor, state.h, state.c];
      },
    }),
  ),
  of({
    operation: "maskRows",
    sizes: { b: 2, t: 3, c: 8 },
    run: (m, { b, t, c }) => ops.maskRows(m.ones([b, t, c]), new Array(b).fill(Math.min(1, t))),
  }),
  of({
    operation: "patchify",
    sizes: { h: 4, w: 4, patch: 2, temporal: 1 },
    run: (m, { h, w, patch, temporal }) =>
      ops.patchify(m.device.zeros([h, w, 3], "u8"), { patch, temporal, mean: [0, 0, 0], std: [1, 1, 1] }),
  }),
  of({
    operation: "permutation",
    sizes: { t: 3, k: 2, experts: 4, zeroExperts: 1 },
    run: (m, { t, k, experts, zeroExperts }) => {
      const { offsets, tokenOf, slotOf } = ops.permutation({ ids: m.ids(t, k), experts, zeroExperts });
      return [offsets, tokenOf, slotOf];
    },
  }),
  of({
    operation: "router",
    sizes: { t: 3, d: 8, topK: 2, experts: 4, zeroExperts: 1 },
    run: (m, { t, d, topK, experts, zeroExperts }) => {
      const options = { topK, experts, zeroExperts, scale: 2, renormalize: true };
      const { ids, weights, zeroWeight } = ops.router(
        m.ones([t, d]),
        m.ones([experts + zeroExperts, d]),
        m.ones([experts + zeroExperts]),
        options,
      );
      return [ids, weights, zeroWeight];
    },
  }),
  of({
    operation: "promptEmbedding",
    sizes: { v: 4, c: 8, t: 3, q: 2, vk: 4 },
    run: (m, { v, c, t, q, vk }) =>
      ops.promptEmbedding({
        textTable: m.ones([v, c]),
        codecTables: Array.from({ length: q }, () => m.ones([vk, c])),
        textIds: m.ids(t),
        codecIds: m.ids(t, q),
      }),
  }),
  of({
    operation: "resizeBicubic",
    sizes: { h: 4, w: 5, c: 3, toH: 2, toW: 7 },
    run: (m, { h, w, c, toH, toW }) => ops.resizeBicubic(m.device.zeros([h, w, c], "u8"), [toH, toW]),
  }),
  of({
    operation: "snake",
    sizes: { t: 3, c: 8 },
    run: (m, { t, c }) => ops.snake(m.ones([t, c]), m.ones([c])),
  }),
  of({
    operation: "splice",
    sizes: { t: 5, c: 8, left: 2, right: 1 },
    run: (m, { t, c, left, right }) => ops.splice(m.ones([t, c]), { left, right }),
  }),
  of({
    operation: "splitColumns",
    sizes: { t: 3, a: 4, b: 8 },
    run: (m, { t, a, b }) => ops.splitColumns(m.ones([t, a + b]), [a, b]),
  }),
  of({ operation: "transpose", sizes: { t: 3, c: 8 }, run: (m, { t, c }) => ops.transpose(m.ones([t, c])) }),
];
