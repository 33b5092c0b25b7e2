// Valid calls of the operations in native/ops/audio.
import { i32, rows, tensor, weight } from "./values.mjs";

/** A tensor that is written in place. */
const state = (r, dtype, shape) => ({ ...tensor(r, dtype, shape), storage: r.pick("own", "view") });

export function fbank(r) {
  const frameLength = r.pick(2, 25, 64, 400);
  const fftSize = 2 ** Math.ceil(Math.log2(Math.max(4, frameLength))) * r.pick(1, 2);
  const [samples, frameShift, melBins] = [r.int(0, 2000), r.pick(1, 10, 160), r.pick(1, 7, 80)];
  const shift = samples > 500 ? 160 : frameShift;
  const frames = samples < frameLength ? 0 : Math.floor((samples - frameLength) / shift) + 1;
  return {
    args: {
      wave: tensor(r, "f32", [samples]),
      sampleRate: r.pick(16000, 8000),
      lowHz: r.pick(0, 40),
      highHz: r.pick(-200, 0, 3800),
      preemphasis: r.pick(0, 0.97),
      frameLength,
      frameShift: shift,
      fftSize,
      melBins,
      removeDc: r.chance(0.5),
      window: r.pick("povey", "hann", "hamming"),
    },
    outputs: [["f32", [frames, melBins]]],
    run: (ops, { wave, ...options }) => ops.fbank(wave, options),
  };
}

export function cmvn(r) {
  const [dtype, t, c] = [rows(r), r.dim(), r.dim()];
  return {
    args: { x: tensor(r, dtype, [t, c]), mean: tensor(r, "f32", [c]), inverseStd: tensor(r, "f32", [c]) },
    outputs: [[dtype, [t, c]]],
    run: (ops, { x, mean, inverseStd }) => ops.cmvn(x, mean, inverseStd),
  };
}

export function splice(r) {
  const [dtype, t, c, left, right, stride] = [rows(r), r.dim(40), r.dim(20), r.int(0, 5), r.int(0, 3), r.int(1, 4)];
  const args = { x: tensor(r, dtype, [t, c]), left, right, stride };
  const width = c * (left + 1 + right);
  const run = (ops, { x, ...options }) => ops.splice(x, options);
  if (r.chance(0.6)) return { args, outputs: [[dtype, [Math.ceil(t / stride), width]]], run };
  const known = r.int(0, left + right);
  const count = r.int(0, Math.ceil((t + known) / stride));
  const stream = {
    state: state(r, dtype, [left + right, c]),
    known,
    rows: count,
    first: r.int(-known, t - 1 - (count - 1) * stride),
  };
  if (count === 0) stream.first = r.int(-5, 5);
  return { args: { ...args, ...stream }, outputs: [[dtype, [count, width]]] };
}

export function fsmnMemory(r) {
  const [dtype, t, c] = [rows(r), r.dim(50), r.dim(70, 1)];
  const [leftOrder, rightOrder, leftStride, rightStride] = [r.int(0, 6), r.int(0, 3), r.int(1, 3), r.int(1, 2)];
  const delay = rightOrder * rightStride;
  const taps = leftOrder + 1 + rightOrder;
  const norm = r.maybe(() => rows(r));
  const streaming = r.chance(0.4);
  const residual = r.maybe(() => tensor(r, dtype, [t, c]));
  const last = streaming && r.chance(0.3);
  return {
    args: {
      x: tensor(r, dtype, [t, c]),
      weight: tensor(r, rows(r), r.pick([c, taps], [c, 1, taps])),
      "norm.weight": norm && tensor(r, norm, [c]),
      "norm.bias": norm && r.maybe(() => tensor(r, norm, [c])),
      "norm.eps": norm && r.maybe(() => 1e-4),
      residual,
      state: streaming ? state(r, dtype, [leftOrder * leftStride + delay, c]) : undefined,
      pending: streaming && residual && delay > 0 ? state(r, dtype, [delay, c]) : undefined,
      leftOrder,
      rightOrder,
      leftStride,
      rightStride,
      last: last || undefined,
    },
    outputs: [[dtype, [t + (last ? delay : 0), c]]],
    run: (ops, { x, weight, "norm.weight": w, "norm.bias": b, "norm.eps": eps, ...rest }) =>
      ops.fsmnMemory(x, weight, { ...rest, norm: w === undefined ? undefined : { weight: w, bias: b, eps } }),
  };
}

export function snake(r) {
  const [dtype, shape] = [rows(r), r.shape(1, 3)];
  return {
    args: { x: tensor(r, dtype, shape), alpha: tensor(r, rows(r), [shape.at(-1)]) },
    outputs: [[dtype, shape]],
    run: (ops, { x, alpha }) => ops.snake(x, alpha),
  };
}

export function codecEmbedding(r) {
  const [dtype, frames, books, entries, ids] = [rows(r), r.dim(20), r.int(0, 4), r.int(1, 9), r.int(1, 30)];
  const [s, a, b] = [r.dim(20), r.dim(20), r.dim(20)];
  return {
    args: {
      semantic: i32(r, r.ints(frames, 0, ids - 1)),
      acoustic: i32(r, r.ints(frames * books, 0, entries * entries - 1), [frames, books]),
      semanticTable: tensor(r, dtype, [ids, s]),
      tableA: tensor(r, dtype, [books, entries, a]),
      tableB: tensor(r, dtype, [books, entries, b]),
    },
    outputs: [[dtype, [frames, s + a + b]]],
    run: (ops, args) => ops.codecEmbedding(args),
  };
}

const convWeight = (r, shape, groups, depthwise) => {
  const plain = tensor(r, rows(r), shape);
  return depthwise || r.chance(0.5) ? plain : { packed: "packConv1d", args: { w: plain, groups } };
};

export function conv1d(r) {
  const dtype = rows(r);
  const groups = r.pick(1, 1, 1, 2, 3);
  const depthwise = r.chance(0.15);
  const [inputs, outputs] = depthwise ? [groups, groups] : [groups * r.dim(24, 1), groups * r.dim(40)];
  const [taps, dilation, stride, t] = [r.int(1, 5), r.int(1, 3), r.int(1, 3), r.dim(60)];
  const span = (taps - 1) * dilation;
  const streaming = r.chance(0.3);
  const streams = streaming ? r.pick(1, 1, 2, 5) : 1;
  const [padLeft, padRight, first] = [streaming ? 0 : r.int(0, 5), r.int(0, 5), streaming ? r.int(0, 3) : 0];
  const room = t + padRight + (streaming ? -first : padLeft - span);
  const shape = [room > 0 ? streams * (Math.floor((room - 1) / stride) + 1) : 0, outputs];
  return {
    args: {
      x: tensor(r, dtype, [streams * t, inputs]),
      w: convWeight(r, [outputs, inputs / groups, taps], groups, groups > 1 && inputs === groups && outputs === groups),
      bias: r.maybe(() => tensor(r, rows(r), [outputs])),
      residual: r.maybe(() => tensor(r, dtype, shape)),
      state: streaming ? Array.from({ length: streams }, () => state(r, dtype, [span, inputs])) : undefined,
      ...r.pick({}, { activation: r.pick("none", "gelu", "relu", "tanh") }, { snake: tensor(r, rows(r), [outputs]) }),
      ...{ dilation, groups, stride, padLeft, padRight, first },
    },
    outputs: [[dtype, shape]],
    run: streaming ? undefined : conv1dOf,
  };
}

const conv1dOf = (ops, { x, w, padLeft, padRight, first, ...rest }) =>
  ops.conv1d(x, w, { ...rest, padding: [padLeft, padRight] });

export function packConv1d(r) {
  const groups = r.pick(1, 1, 2, 3);
  const shape = [groups * r.dim(40), r.int(2, 20), r.int(1, 5)];
  const dtype = rows(r);
  return {
    args: { w: tensor(r, dtype, shape), groups },
    outputs: [[dtype, shape]],
    run: (ops, { w, ...options }) => ops.packConv1d(w, options),
  };
}

export function convTranspose1d(r) {
  const [dtype, t, inputs, outputs, taps, stride] = [
    rows(r),
    r.dim(30),
    r.dim(24),
    r.dim(20),
    r.int(1, 9),
    r.int(1, 5),
  ];
  const outputPadding = r.int(0, stride - 1);
  const tail = taps - stride + outputPadding;
  const streaming = r.chance(0.3);
  const padding = streaming ? (tail > 0 ? r.int(0, Math.min(3, tail)) : 0) : r.int(0, 3);
  const valid = !streaming || tail >= 0;
  const last = streaming && valid && r.chance(0.4);
  const w = tensor(r, rows(r), [inputs, outputs, taps]);
  const kept = streaming && valid;
  const count = t * stride + (kept ? (last ? tail - padding : 0) : t > 0 ? tail - 2 * padding : 0);
  return {
    args: {
      x: tensor(r, dtype, [t, inputs]),
      w: r.pick(w, { packed: "packConvTranspose1d", args: { w } }),
      bias: r.maybe(() => tensor(r, rows(r), [outputs])),
      state: kept ? state(r, "f32", [Math.max(taps - stride, 0), outputs]) : undefined,
      ...{ stride, padding, outputPadding, last },
    },
    outputs: [[dtype, [Math.max(count, 0), outputs]]],
    run: (ops, { x, w, ...options }) => ops.convTranspose1d(x, w, options),
  };
}

export function packConvTranspose1d(r) {
  const [dtype, shape] = [rows(r), [r.dim(24), r.dim(20), r.int(1, 9)]];
  return {
    args: { w: tensor(r, dtype, shape) },
    outputs: [[dtype, shape]],
    run: (ops, { w }) => ops.packConvTranspose1d(w),
  };
}

export function lstm(r) {
  const [dtype, streams, t, inputs] = [rows(r), r.pick(1, 1, 2, 7), r.dim(9), r.dim(40)];
  const packed = r.chance(0.5);
  const hidden = packed ? 16 * r.int(0, 4) : r.dim(40);
  const matrix = (n, k) => weight(r, n, k, { dtype: rows(r), packed });
  return {
    args: {
      x: tensor(r, dtype, [streams * t, inputs]),
      wIh: matrix(4 * hidden, inputs),
      wHh: matrix(4 * hidden, hidden),
      bIh: r.maybe(() => tensor(r, rows(r), [4 * hidden])),
      bHh: r.maybe(() => tensor(r, rows(r), [4 * hidden])),
      h: Array.from({ length: streams }, () => state(r, "f32", [hidden])),
      c: Array.from({ length: streams }, () => state(r, "f32", [hidden])),
    },
    outputs: [[dtype, [streams * t, hidden]]],
    run: (ops, { x, ...parameters }) => ops.lstm(x, parameters),
  };
}

export function foldWeightNorm(r) {
  const shape = r.shape(2, 4);
  const g = r.pick([shape[0]], [shape[0], ...shape.slice(1).map(() => 1)]);
  return {
    args: { v: tensor(r, "f32", shape), g: tensor(r, "f32", g) },
    outputs: [["f32", shape]],
    run: (ops, { v, g }) => ops.foldWeightNorm(v, g),
  };
}
