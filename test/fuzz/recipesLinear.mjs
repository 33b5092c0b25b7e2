// Valid calls of the operations in native/ops/linear, moe, image and embedding.
import {
  bias,
  depth,
  experts as expertWeights,
  i32,
  packedDtype,
  rows,
  scale,
  starts,
  stored,
  sum,
  tensor,
  weight,
  weightDtype,
} from "./values.mjs";

const activations = ["none", "relu", "relu6", "gelu", "silu", "tanh", "sigmoid"];

export function linear(r) {
  const lead = r.pick([r.dim()], [r.dim()], [], [r.int(0, 3), r.int(0, 5)]);
  const [dtype, outDtype, n, k] = [rows(r), r.maybe(() => rows(r)), r.dim(90), depth(r, 140)];
  const shape = [...lead, n];
  return {
    args: {
      x: tensor(r, dtype, [...lead, k]),
      w: weight(r, n, k),
      bias: r.maybe(() => tensor(r, rows(r), [n])),
      residual: r.maybe(() => tensor(r, outDtype ?? dtype, shape)),
      layerScale: r.maybe(() => tensor(r, rows(r), [n])),
      activation: r.maybe(() => r.pick(...activations)),
      outDtype,
    },
    outputs: [[outDtype ?? dtype, shape]],
    run: (ops, { x, w, ...options }) => ops.linear(x, w, options),
  };
}

export function swiglu(r) {
  const [dtype, m, n, k] = [rows(r), r.dim(), r.dim(90), depth(r, 140)];
  const form = { dtype: weightDtype(r, k), packed: r.chance(0.6) };
  return {
    args: {
      x: tensor(r, dtype, [m, k]),
      gate: weight(r, n, k, form),
      up: weight(r, n, k, form),
      gateBias: r.maybe(() => tensor(r, rows(r), [n])),
      upBias: r.maybe(() => tensor(r, rows(r), [n])),
    },
    outputs: [[dtype, [m, n]]],
    run: (ops, { x, gate, up, ...options }) => ops.swiglu(x, gate, up, options),
  };
}

export function packWeight(r) {
  const [n, k] = [r.dim(90), depth(r, 140)];
  const dtype = weightDtype(r, k);
  return {
    args: {
      w: stored(r, dtype, n, k),
      scale: scale(r, dtype, n, k),
      bias: bias(r, dtype, n, k),
      bits: dtype.bits,
    },
    outputs: [[packedDtype(dtype), [n, k]]],
    run: (ops, { w, ...options }) => ops.packWeight(w, options),
  };
}

export function packWeights(r) {
  const [e, n, k] = [r.int(1, 4), r.dim(90), depth(r, 140)];
  const dtype = weightDtype(r, k);
  return {
    args: expertWeights(r, e, n, k, dtype).args,
    outputs: [[packedDtype(dtype), [e, n, k]]],
    run: (ops, { weights, ...options }) => ops.packWeights(weights, options),
  };
}

/** The rows of each expert, at most all of them. */
function grouped(r) {
  const [dtype, e, n, k] = [rows(r), r.int(1, 5), r.dim(60), depth(r, 100)];
  const counts = r.ints(e, 0, 9);
  const total = sum(counts) + r.pick(0, 0, 3);
  const available = r.int(1, 20);
  const gather = r.maybe(() => i32(r, r.ints(total, 0, available - 1)));
  return {
    sizes: [e, n, k],
    args: { x: tensor(r, dtype, [gather ? available : total, k]), offsets: starts(r, counts), gather },
    outputs: [[dtype, [total, n]]],
  };
}

export function groupedGemm(r) {
  const { sizes, args, outputs } = grouped(r);
  return {
    args: { ...args, w: expertWeights(r, ...sizes) },
    outputs,
    run: (ops, { x, w, offsets, ...options }) => ops.groupedGemm(x, w, offsets, options),
  };
}

export function groupedSwiglu(r) {
  const { sizes, args, outputs } = grouped(r);
  const dtype = weightDtype(r, sizes[2]);
  return {
    args: { ...args, gate: expertWeights(r, ...sizes, dtype), up: expertWeights(r, ...sizes, dtype) },
    outputs,
    run: (ops, { x, gate, up, offsets, ...options }) => ops.groupedSwiglu(x, gate, up, offsets, options),
  };
}

export function router(r) {
  const [tokens, hidden, experts, zeroExperts] = [r.dim(), r.dim(90), r.int(1, 60), r.int(0, 20)];
  const all = experts + zeroExperts;
  const topK = r.int(1, Math.min(all, 14));
  return {
    args: {
      x: tensor(r, rows(r), [tokens, hidden]),
      classifier: weight(r, all, hidden, { dtype: rows(r) }),
      correctionBias: r.maybe(() => tensor(r, "f32", [all])),
      ...{ topK, experts, zeroExperts },
      scale: r.pick(1, 6),
      renormalize: r.maybe(() => r.chance(0.5)),
      scaleZeroExperts: r.maybe(() => r.chance(0.5)),
    },
    outputs: [
      ["i32", [tokens, topK]],
      ["f32", [tokens, topK]],
      ["f32", [tokens]],
    ],
    run: (ops, { x, classifier, correctionBias, ...options }) => ops.router(x, classifier, correctionBias, options),
  };
}

export function permutation(r) {
  const [tokens, topK, experts, zeroExperts] = [r.dim(), r.int(0, 12), r.int(1, 30), r.int(0, 9)];
  return {
    args: {
      ids: i32(r, r.ints(tokens * topK, -1, experts + zeroExperts - 1), [tokens, topK]),
      experts,
      zeroExperts,
    },
    outputs: [
      ["i32", [experts + 1]],
      ["i32", [tokens * topK]],
      ["i32", [tokens, topK]],
    ],
    run: (ops, routing) => ops.permutation(routing),
  };
}

export function combine(r) {
  const [dtype, tokens, width, topK, slots] = [rows(r), r.dim(), r.dim(), r.int(0, 9), r.dim(40)];
  return {
    args: {
      y: tensor(r, dtype, [slots, width]),
      x: tensor(r, dtype, [tokens, width]),
      weights: tensor(r, "f32", [tokens, topK]),
      slotOf: i32(r, r.ints(tokens * topK, -1, slots - 1), [tokens, topK]),
      zeroWeight: tensor(r, "f32", [tokens]),
      residual: r.maybe(() => tensor(r, dtype, [tokens, width])),
    },
    outputs: [[dtype, [tokens, width]]],
    run: (ops, { y, x, weights, slotOf, zeroWeight, ...options }) =>
      ops.combine(y, x, { weights, zeroWeight }, { slotOf }, options),
  };
}

export function patchify(r) {
  const [patch, temporal, mergeSize] = [r.int(1, 5), r.int(1, 3), r.int(1, 2)];
  const [across, down] = [mergeSize * r.int(0, 3), mergeSize * r.int(0, 3)];
  const image = [down * patch, across * patch, 3];
  return {
    args: {
      frames: tensor(r, "u8", r.pick(image, [temporal, ...image])),
      ...{ patch, temporal, mergeSize },
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.3, 1],
    },
    outputs: [["f32", [down * across, 3 * temporal * patch * patch]]],
    run: (ops, { frames, ...options }) => ops.patchify(frames, options),
  };
}

export function resizeBicubic(r) {
  const [height, width, channels] = [r.int(1, 40), r.int(1, 40), r.int(1, 4)];
  return {
    args: { image: tensor(r, "u8", [r.int(1, 30), r.int(1, 30), channels]), height, width },
    outputs: [["u8", [height, width, channels]]],
    run: (ops, { image, height, width }) => ops.resizeBicubic(image, [height, width]),
  };
}

export function interpolateTokens(r) {
  const [dtype, c] = [rows(r), r.dim(40)];
  const [height, width, toHeight, toWidth] = r.ints(4, 1, 9);
  return {
    args: { x: tensor(r, dtype, [height * width, c]), height, width, toHeight, toWidth },
    outputs: [[dtype, [toHeight * toWidth, c]]],
    run: (ops, { x, height, width, toHeight, toWidth }) =>
      ops.interpolateTokens(x, { from: [height, width], to: [toHeight, toWidth] }),
  };
}

export function promptEmbedding(r) {
  const [table, ids, width, count] = [rows(r), r.int(5, 30), r.dim(), r.dim(30)];
  const books = r.ints(r.int(0, 4), 4, 9);
  const out = r.maybe(() => rows(r));
  const textIds = r.ints(count, 0, ids - 1);
  const media = (id) => tensor(r, rows(r), [textIds.filter((i) => i === id).length, width]);
  const [audio, image] = [r.chance(0.5), r.chance(0.5)];
  return {
    args: {
      textTable: tensor(r, table, [ids, width]),
      codecTables: books.map((n) => tensor(r, table, [n, width])),
      textIds: i32(r, textIds),
      codecIds: i32(r, r.ints(count * books.length, 0, 3), [count, books.length]),
      audioRows: audio ? media(1) : undefined,
      visionRows: image ? media(2) : undefined,
      audioPadId: audio ? 1 : undefined,
      imagePadId: image ? 2 : undefined,
      padId: 3,
      outDtype: out,
    },
    outputs: [[out ?? table, [count, width]]],
    run: (ops, inputs) => ops.promptEmbedding(inputs),
  };
}
