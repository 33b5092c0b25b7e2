import { attention, mlaCacheWrite, mlaDecode, mlaPrefill, rope, vitAttention } from "../../ops/attention.js";
import {
  conv1d,
  convTranspose1d,
  fbank,
  fsmnMemory,
  lstm,
  packConv1d,
  packConvTranspose1d,
  snake,
} from "../../ops/audio.js";
import { add } from "../../ops/elementwise.js";
import { embedding } from "../../ops/embedding.js";
import { interpolateTokens, patchify, patchPositions } from "../../ops/image.js";
import { linear, packWeight, packWeights, swiglu } from "../../ops/linear.js";
import { combine, groupedGemm, groupedSwiglu, permutation, type Routing, router } from "../../ops/moe.js";
import { layerNorm, rmsNorm } from "../../ops/norm.js";
import { argmax, sample } from "../../ops/sampling.js";
import type { Device } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import { random } from "../case.js";
import { type CountedCase, countedCase } from "./case.js";

// Sizes of LongCat-Flash-Omni; activations and weights are bf16 unless a case says otherwise.
const hidden = 6144;
const ffnHidden = 12288;
const expertHidden = 2048;
const [experts, zeroExperts, topK] = [512, 256, 12];
const mla = { heads: 64, nopeDim: 128, ropeDim: 64, vDim: 128 };
const latent = 512;
const vit = { heads: 16, width: 1280 };
const audioHidden = 1536;
const vocabulary = 131072;

/** Every operation of the model that does more than copy, as one rank calls it. */
export const countedCases = (): CountedCase[] => [
  ...normCases(),
  ...linearCases(),
  ...moeCases(),
  ...attentionCases(),
  ...audioCases(),
  ...imageCases(),
  ...samplingCases(),
];

const bf16 = (device: Device, ...shape: number[]) => random(device, shape, "bf16", 0.5);
const packed = (device: Device, n: number, k: number, dtype: "bf16" | "f32" = "bf16") =>
  device.scope(() => packWeight(random(device, [n, k], dtype, 0.05)));
const i32 = (device: Device, values: ArrayLike<number>, ...shape: number[]) =>
  device.tensor(Int32Array.from(values), shape, "i32");
const range = (n: number) => Int32Array.from({ length: n }, (_, i) => i);

/** A case that moves bytes and computes next to nothing. */
function streaming<T>(
  op: string,
  size: string,
  bytes: number,
  prepare: (device: Device) => T,
  run: (operands: T) => Tensor,
): CountedCase {
  return countedCase({ op, size, unit: "fma", whole: { bytes }, prepare, run });
}

function normCases(): CountedCase[] {
  const rows = 512;
  const rowsOf = (device: Device, width: number) => ({
    x: bf16(device, rows, width),
    y: bf16(device, rows, width),
    w: bf16(device, width),
  });
  const size = (width: number) => `T=${rows} C=${width}`;
  const bytes = (width: number, tensors: number, vectors: number) => 2 * width * (tensors * rows + vectors);
  return [
    streaming(
      "rmsNorm",
      size(hidden),
      bytes(hidden, 2, 1),
      (device) => rowsOf(device, hidden),
      ({ x, w }) => rmsNorm(x, w),
    ),
    streaming(
      "layerNorm",
      size(audioHidden),
      bytes(audioHidden, 2, 2),
      (device) => ({ ...rowsOf(device, audioHidden), b: bf16(device, audioHidden) }),
      ({ x, w, b }) => layerNorm(x, w, b),
    ),
    streaming(
      "add",
      size(hidden),
      bytes(hidden, 3, 0),
      (device) => rowsOf(device, hidden),
      ({ x, y }) => add(x, y),
    ),
    streaming(
      "embedding",
      `T=${rows} of ${vocabulary}, C=${hidden}`,
      bytes(hidden, 2, 0) + 4 * rows,
      (device) => ({
        table: bf16(device, 4 * rows, hidden),
        ids: i32(
          device,
          range(rows).map((i) => 4 * i),
          rows,
        ),
      }),
      ({ table, ids }) => embedding(table, ids),
    ),
  ];
}

function linearCases(): CountedCase[] {
  const gemm = (op: "linear" | "swiglu", m: number, n: number, partM: number, partN: number): CountedCase => {
    const matrices = op === "swiglu" ? 2 : 1;
    const work = (rows: number, columns: number) => ({
      bytes: 2 * (matrices * columns * hidden + rows * (hidden + columns)),
      macs: matrices * rows * columns * hidden,
    });
    const part = { size: `M=${partM} N=${partN}`, ...work(partM, partN) };
    return countedCase({
      op,
      size: `M=${m} K=${hidden} N=${n}`,
      unit: "tensor",
      whole: work(m, n),
      ...(partM < m || partN < n ? { part } : {}),
      prepare: (device) => ({
        x: bf16(device, partM, hidden),
        gate: packed(device, partN, hidden),
        up: packed(device, partN, hidden),
      }),
      run: ({ x, gate, up }) => (op === "linear" ? linear(x, gate) : swiglu(x, gate, up)),
    });
  };
  return [
    gemm("linear", 1, ffnHidden, 1, 1024),
    gemm("linear", 16, ffnHidden, 16, 1024),
    gemm("linear", 4096, ffnHidden, 256, 1024),
    gemm("swiglu", 16, ffnHidden, 16, 1024),
    gemm("swiglu", 4096, ffnHidden, 256, 1024),
  ];
}

function moeCases(): CountedCase[] {
  const all = experts + zeroExperts;
  const routed = (tokens: number): CountedCase =>
    countedCase({
      op: "router",
      size: `T=${tokens} ${hidden}→${experts}+${zeroExperts} top-${topK}, f32 classifier`,
      unit: "fma",
      whole: {
        bytes: 4 * all * hidden + 2 * tokens * hidden + 4 * tokens * (2 * topK + 1),
        macs: tokens * all * hidden,
      },
      prepare: (device) => ({
        x: bf16(device, tokens, hidden),
        classifier: packed(device, all, hidden, "f32"),
        bias: random(device, [all], "f32", 1e-3),
      }),
      run: ({ x, classifier, bias }) => router(x, classifier, bias, { topK, experts, zeroExperts, scale: 6 }).weights,
    });

  const tokens = 4096;
  const picks = (device: Device, count: number): Routing => ({
    // Two of three picks are FFN experts, as on average.
    ids: i32(
      device,
      range(count * topK).map((i) => (i * 389) % all),
      count,
      topK,
    ),
    weights: random(device, [count, topK], "f32"),
    zeroWeight: random(device, [count], "f32"),
    experts,
    zeroExperts,
  });
  const combined = 256;
  const rowsOf = (count: number) => (count * topK * experts) / all;
  const combineBytes = (count: number) => 2 * hidden * (rowsOf(count) + 2 * count) + 4 * count * (2 * topK + 1);

  /** Of the rank's experts two are counted, with at most 128 rows each. */
  const grouped = (gemm: "groupedSwiglu" | "groupedGemm", rows: number, local: number): CountedCase => {
    const [k, n, matrices] =
      gemm === "groupedSwiglu" ? ([hidden, expertHidden, 2] as const) : ([expertHidden, hidden, 1] as const);
    const work = (groups: number, each: number) => ({
      bytes: 2 * groups * (matrices * n * k + each * (k + n)),
      macs: groups * each * matrices * n * k,
    });
    const [counted, each] = [2, Math.min(rows, 128)];
    return countedCase({
      op: gemm,
      size: `${local} experts × ${rows} rows, ${k}→${n}`,
      unit: "tensor",
      whole: work(local, rows),
      part: { size: `${counted} × ${each}`, ...work(counted, each) },
      prepare(device) {
        const matrix = () =>
          device.scope(() => packWeights(Array.from({ length: counted }, () => random(device, [n, k], "bf16", 0.05))));
        const offsets = i32(
          device,
          range(counted + 1).map((e) => e * each),
          counted + 1,
        );
        return { x: bf16(device, counted * each, k), gate: matrix(), up: matrix(), offsets };
      },
      run: ({ x, gate, up, offsets }) =>
        gemm === "groupedSwiglu" ? groupedSwiglu(x, gate, up, offsets) : groupedGemm(x, gate, offsets),
    });
  };

  return [
    routed(1),
    routed(64),
    streaming(
      "permutation",
      `T=${tokens} top-${topK} of ${experts}+${zeroExperts}`,
      4 * (3 * tokens * topK + experts + 1),
      (device) => picks(device, tokens),
      (routing) => permutation(routing).slotOf,
    ),
    countedCase({
      op: "combine",
      size: `T=${tokens} top-${topK} C=${hidden}`,
      unit: "fma",
      whole: { bytes: combineBytes(tokens) },
      part: { size: `T=${combined}`, bytes: combineBytes(combined) },
      prepare(device) {
        const routing = picks(device, combined);
        const slots = device.scope(() => permutation(routing).slotOf);
        return { y: bf16(device, rowsOf(combined), hidden), x: bf16(device, combined, hidden), routing, slots };
      },
      run: ({ y, x, routing, slots }) => combine(y, x, routing, { slotOf: slots }),
    }),
    // EP 32: 16 experts on a rank; decode, and CP 2 prefill.
    grouped("groupedSwiglu", 8, 16),
    grouped("groupedSwiglu", 2048, 16),
    grouped("groupedGemm", 8, 16),
    grouped("groupedGemm", 2048, 16),
  ];
}

function attentionCases(): CountedCase[] {
  const { heads, nopeDim, ropeDim, vDim } = mla;
  const tokens = 512;
  const qWidth = nopeDim + ropeDim;
  const width = latent + ropeDim;
  const blockSize = 64;
  const upWeights = heads * (nopeDim + vDim) * latent;
  const operands = (device: Device, sequences: number, queries: number, keys: number) => ({
    q: bf16(device, sequences * queries, heads, qWidth),
    wKvB: packed(device, heads * (nopeDim + vDim), latent),
    cache: bf16(device, (sequences * keys) / blockSize, blockSize, width),
    blockTable: i32(device, range((sequences * keys) / blockSize), sequences, keys / blockSize),
    seqLens: i32(device, new Int32Array(sequences).fill(keys), sequences),
  });

  const decode = (sequences: number, keys: number): CountedCase =>
    countedCase({
      op: "mlaDecode",
      size: `B=${sequences} context=${keys} ${heads} heads`,
      unit: "tensor",
      whole: {
        bytes: 2 * (sequences * keys * width + upWeights + sequences * heads * (qWidth + vDim)) + 4 * sequences * heads,
        macs: sequences * (heads * keys * (width + latent) + upWeights),
      },
      prepare: (device) => operands(device, sequences, 1, keys),
      run: (given) => mlaDecode({ ...given, ...mla }).o,
    });
  const prefill = (whole: number, counted: number): CountedCase => {
    const work = (t: number) => ({
      bytes: 2 * (t * width + upWeights + t * heads * (qWidth + vDim)),
      macs: t * upWeights + ((t * (t + 1)) / 2) * heads * (qWidth + vDim),
    });
    return countedCase({
      op: "mlaPrefill",
      size: `T=${whole} ${heads} heads, causal`,
      unit: "tensor",
      whole: work(whole),
      part: { size: `T=${counted}`, ...work(counted) },
      prepare: (device) => ({
        ...operands(device, 1, counted, counted),
        cuSeqlens: i32(device, [0, counted], 2),
      }),
      run: (given) => mlaPrefill({ ...given, ...mla }),
    });
  };
  const packedCase = (op: "attention" | "vitAttention", rows: number, count: number, dim: number): CountedCase => {
    const side = Math.sqrt(rows);
    return countedCase({
      op,
      size: `S=${rows} ${count}×${dim}`,
      unit: "tensor",
      whole: { bytes: 2 * 4 * rows * count * dim, macs: 2 * rows * rows * count * dim },
      prepare: (device) => ({
        qkv: bf16(device, rows, 3 * count * dim),
        heads: [0, 1, 2].map(() => bf16(device, rows, count, dim)),
        cuSeqlens: i32(device, [0, rows], 2),
        positions: i32(device, patchPositions([side, side], { mergeSize: 1 }), rows, 2),
        norm: bf16(device, count * dim),
      }),
      run: ({ qkv, heads: [q, k, v], cuSeqlens, positions, norm }) =>
        op === "attention"
          ? attention(q!, k!, v!, { cuSeqlens })
          : vitAttention(qkv, { heads: count, cuSeqlens, positions, qNorm: norm, kNorm: norm }),
    });
  };

  return [
    streaming(
      "rope",
      `T=${tokens} ${heads}×${qWidth}`,
      2 * 2 * tokens * heads * qWidth + 4 * tokens,
      (device) => ({ q: bf16(device, tokens, heads, qWidth), positions: i32(device, range(tokens), tokens) }),
      ({ q, positions }) => rope(q, positions, { theta: 1e7, ropeDim }),
    ),
    streaming(
      "mlaCacheWrite",
      `T=${tokens} ${latent}+${ropeDim}`,
      2 * (2 * tokens * width + latent) + 8 * tokens,
      (device) => ({
        kv: bf16(device, tokens, width),
        normWeight: bf16(device, latent),
        positions: i32(device, range(tokens), tokens),
        slots: i32(device, range(tokens), tokens),
        cache: bf16(device, tokens / blockSize, blockSize, width),
      }),
      (given) => {
        mlaCacheWrite({ ...given, theta: 1e7 });
        return given.cache.slice(0);
      },
    ),
    decode(1, 8192),
    decode(8, 1024),
    prefill(8192, 256),
    packedCase("vitAttention", 1024, vit.heads, vit.width / vit.heads),
    packedCase("attention", 1024, vit.heads, vit.width / vit.heads),
  ];
}

function audioCases(): CountedCase[] {
  const frames = 128;
  const conv = (channels: number, dilation: number, rows: number): CountedCase =>
    countedCase({
      op: "conv1d",
      size: `T=${rows} ${channels}→${channels} k=7 d=${dilation}`,
      unit: "tensor",
      whole: { bytes: 2 * (7 * channels * channels + 2 * rows * channels), macs: 7 * rows * channels * channels },
      prepare: (device) => ({
        x: bf16(device, rows, channels),
        w: device.scope(() => packConv1d(bf16(device, channels, channels, 7))),
      }),
      run: ({ x, w }) => conv1d(x, w, { dilation }),
    });
  const transposed = (from: number, to: number, stride: number, rows: number): CountedCase =>
    countedCase({
      op: "convTranspose1d",
      size: `T=${rows} ${from}→${to} k=s=${stride}`,
      unit: "tensor",
      whole: { bytes: 2 * (stride * from * to + rows * (from + stride * to)), macs: rows * stride * from * to },
      prepare: (device) => ({
        x: bf16(device, rows, from),
        w: device.scope(() => packConvTranspose1d(bf16(device, from, to, stride))),
      }),
      run: ({ x, w }) => convTranspose1d(x, w, { stride }),
    });
  const recurrent = (rows: number, size: number): CountedCase =>
    countedCase({
      op: "lstm",
      size: `T=${rows} ${size}→${size}`,
      unit: "tensor",
      whole: { bytes: 2 * (8 * size * size + 2 * rows * size), macs: 8 * rows * size * size },
      prepare: (device) => ({
        x: bf16(device, rows, size),
        wIh: packed(device, 4 * size, size),
        wHh: packed(device, 4 * size, size),
        bIh: random(device, [4 * size], "f32"),
        bHh: random(device, [4 * size], "f32"),
        h: device.zeros([size]),
        c: device.zeros([size]),
      }),
      run: ({ x, ...parameters }) => lstm(x, parameters),
    });
  const samples = 160_000;
  const wave = (samples - 400) / 160 + 1;
  return [
    streaming(
      "fsmnMemory",
      `T=${frames} C=${audioHidden} k=11, norm, residual`,
      2 * audioHidden * (2 * frames + 11 + 2),
      (device) => ({
        x: bf16(device, frames, audioHidden),
        w: bf16(device, audioHidden, 11),
        norm: { weight: bf16(device, audioHidden), bias: bf16(device, audioHidden) },
      }),
      ({ x, w, norm }) => fsmnMemory(x, w, { leftOrder: 10, norm, residual: x }),
    ),
    streaming(
      "snake",
      "T=1440 C=96",
      2 * 96 * (2 * 1440 + 1),
      (device) => ({ x: bf16(device, 1440, 96), alpha: bf16(device, 96) }),
      ({ x, alpha }) => snake(x, alpha),
    ),
    conv(768, 9, frames),
    conv(96, 9, 1440),
    transposed(1536, 768, 8, 16),
    recurrent(4, 2304),
    streaming(
      "fbank",
      "10 s at 16 kHz, f32",
      4 * (samples + 80 * Math.floor(wave)),
      (device) => ({ wave: random(device, [samples], "f32", 30000) }),
      (given) => fbank(given.wave),
    ),
  ];
}

function imageCases(): CountedCase[] {
  const side = 448;
  const patches = (side / 14) ** 2;
  return [
    streaming(
      "patchify",
      `${side}×${side}, patches of 14`,
      3 * side * side + 4 * patches * 3 * 2 * 14 * 14,
      (device) => ({ image: device.tensor(new Uint8Array(3 * side * side).fill(100), [side, side, 3], "u8") }),
      ({ image }) =>
        patchify(image, { patch: 14, temporal: 2, mergeSize: 2, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }),
    ),
    streaming(
      "interpolateTokens",
      `32×32→16×16 C=${vit.width}`,
      2 * vit.width * (32 * 32 + 16 * 16),
      (device) => ({ x: bf16(device, 32 * 32, vit.width) }),
      ({ x }) => interpolateTokens(x, { from: [32, 32], to: [16, 16] }),
    ),
  ];
}

function samplingCases(): CountedCase[] {
  const size = `B=4 V=${vocabulary}, f32`;
  const prepare = (device: Device) => ({ logits: random(device, [4, vocabulary], "f32", 20) });
  return [
    streaming("argmax", size, 4 * 4 * vocabulary, prepare, ({ logits }) => argmax(logits)),
    streaming("sample", `${size}, top-50, top-p 0.9`, 4 * 4 * vocabulary, prepare, ({ logits }) =>
      sample(logits, { temperature: 0.7, topK: 50, topP: 0.9, seed: 1, step: 1 }),
    ),
  ];
}
