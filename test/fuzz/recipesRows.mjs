// Valid calls of the operations in native/ops/elementwise, norm, rows, sampling and machine.
import { i32, product, rows, sum, tensor } from "./values.mjs";

const dtypes = ["f32", "f16", "bf16", "f8e4m3", "i32", "u8"];

export function activation(r) {
  const [dtype, shape] = [rows(r), r.shape(0, 3)];
  const kind = r.pick("none", "relu", "relu6", "gelu", "silu", "tanh", "sigmoid");
  return {
    args: { x: tensor(r, dtype, shape), kind },
    outputs: [[dtype, shape]],
    run: (ops, { x, kind }) => ops.activation(x, kind),
  };
}

function binary(r, run) {
  const [dtype, shape] = [rows(r), r.shape(1, 3)];
  return {
    args: { a: tensor(r, dtype, shape), b: tensor(r, rows(r), r.pick(shape, [shape.at(-1)])) },
    outputs: [[dtype, shape]],
    run,
  };
}
export const add = (r) => binary(r, (ops, { a, b }) => ops.add(a, b));
export const mul = (r) => binary(r, (ops, { a, b }) => ops.mul(a, b));

export function clamp(r) {
  const [dtype, shape] = [rows(r), r.shape(0, 3)];
  return {
    args: { x: tensor(r, dtype, shape), low: r.maybe(() => -0.5), high: r.maybe(() => r.pick(-0.5, 0, 1e300)) },
    outputs: [[dtype, shape]],
    run: (ops, { x, ...options }) => ops.clamp(x, options),
  };
}

export function magnitude(r) {
  const [dtype, before, columns] = [rows(r), r.shape(0, 2), r.dim()];
  return {
    args: { x: tensor(r, dtype, [...before, 2 * columns]) },
    outputs: [[dtype, [...before, columns]]],
    run: (ops, { x }) => ops.magnitude(x),
  };
}

export function cast(r) {
  const [dtype, shape] = [r.pick("f32", "f16", "bf16", "f8e4m3"), r.shape(0, 3)];
  return {
    args: { x: tensor(r, r.pick(...dtypes), shape), dtype },
    outputs: [[dtype, shape]],
    run: (ops, { x, dtype }) => ops.cast(x, dtype),
  };
}

export function concatRows(r) {
  const [dtype, row, counts] = [r.pick(...dtypes), r.shape(0, 2), r.ints(r.int(1, 5), 0, 9)];
  return {
    args: { x: counts.map((n) => tensor(r, dtype, [n, ...row])) },
    outputs: [[dtype, [sum(counts), ...row]]],
    run: (ops, { x }) => ops.concatRows(x),
  };
}

export function copyRows(r) {
  const [dtype, row, into, from] = [r.pick(...dtypes), r.shape(0, 2), r.dim(20), r.int(0, 9)];
  const count = Math.min(into, from);
  return {
    args: {
      dst: { ...tensor(r, dtype, [into, ...row]), storage: r.pick("own", "view") },
      src: tensor(r, dtype, [count, ...row]),
      dstRow: r.int(0, into - count),
    },
    outputs: [],
    run: (ops, { dst, src, dstRow }) => ops.copyRows(dst, src, dstRow),
  };
}

export function gatherRows(r) {
  const [dtype, row, count, ids] = [r.pick(...dtypes), r.shape(0, 2), r.int(1, 20), r.shape(0, 2)];
  return {
    args: { x: tensor(r, dtype, [count, ...row]), rows: i32(r, r.ints(product(ids), 0, count - 1), ids) },
    outputs: [[dtype, [...ids, ...row]]],
    run: (ops, { x, rows }) => ops.gatherRows(x, rows),
  };
}

export function embedding(r) {
  const [dtype, width, count, ids] = [rows(r), r.dim(), r.int(1, 20), r.shape(0, 2)];
  const [outDtype, allowNegative] = [r.maybe(() => rows(r)), r.maybe(() => r.chance(0.5))];
  return {
    args: {
      table: tensor(r, dtype, [count, width]),
      ids: i32(r, r.ints(product(ids), allowNegative ? -3 : 0, count - 1), ids),
      ...{ allowNegative, outDtype },
    },
    outputs: [[outDtype ?? dtype, [...ids, width]]],
    run: (ops, { table, ids, ...options }) => ops.embedding(table, ids, options),
  };
}

export function maskRows(r) {
  const [dtype, sequences, longest, c] = [r.pick(...dtypes), r.int(1, 4), r.int(0, 9), r.dim(40)];
  const shape = r.pick([sequences, longest, c], [sequences * longest, c]);
  return {
    args: { x: tensor(r, dtype, shape), lengths: r.ints(sequences, 0, longest) },
    outputs: [[dtype, shape]],
    run: (ops, { x, lengths }) => ops.maskRows(x, lengths),
  };
}

export function splitColumns(r) {
  const [dtype, lead, widths] = [r.pick(...dtypes), r.shape(0, 2), r.ints(r.int(1, 5), 0, 20)];
  return {
    args: { x: tensor(r, dtype, [...lead, sum(widths)]), widths },
    outputs: widths.map((w) => [dtype, [...lead, w]]),
    run: (ops, { x, widths }) => ops.splitColumns(x, widths),
  };
}

export function transpose(r) {
  const [dtype, rows, columns] = [r.pick(...dtypes), r.int(0, 70), r.int(0, 70)];
  return {
    args: { x: tensor(r, dtype, [rows, columns]) },
    outputs: [[dtype, [columns, rows]]],
    run: (ops, { x }) => ops.transpose(x),
  };
}

export function layerNorm(r) {
  const [dtype, shape, w] = [rows(r), r.shape(1, 3), rows(r)];
  return {
    args: {
      x: tensor(r, dtype, shape),
      weight: tensor(r, w, [shape.at(-1)]),
      bias: r.maybe(() => tensor(r, w, [shape.at(-1)])),
      eps: r.maybe(() => 1e-3),
    },
    outputs: [[dtype, shape]],
    run: (ops, { x, weight, bias, ...options }) => ops.layerNorm(x, weight, bias, options),
  };
}

export function rmsNorm(r) {
  const [dtype, shape] = [rows(r), r.shape(1, 3)];
  return {
    args: { x: tensor(r, dtype, shape), weight: tensor(r, rows(r), [shape.at(-1)]), eps: r.maybe(() => 1e-3) },
    outputs: [[dtype, shape]],
    run: (ops, { x, weight, ...options }) => ops.rmsNorm(x, weight, options),
  };
}

export function addRmsNorm(r) {
  const [dtype, shape] = [rows(r), r.shape(1, 3)];
  return {
    args: {
      x: tensor(r, dtype, shape),
      residual: tensor(r, dtype, shape),
      weight: tensor(r, rows(r), [shape.at(-1)]),
      eps: r.maybe(() => 1e-3),
    },
    outputs: [
      [dtype, shape],
      [dtype, shape],
    ],
    run: (ops, { x, residual, weight, ...options }) => ops.addRmsNorm(x, residual, weight, options),
  };
}

/** Ranges of ids as start, end, start, end, or an empty list. */
function allowed(r, ids) {
  const ends = [...new Set(r.ints(2 * r.int(0, 3), 0, ids))].sort((a, b) => a - b);
  return ends.slice(0, ends.length - (ends.length % 2));
}

export function argmax(r) {
  const [count, ids] = [r.dim(9), r.int(1, 700)];
  return { args: { logits: tensor(r, rows(r), [count, ids]), allowed: allowed(r, ids) }, outputs: [["i32", [count]]] };
}

export function sample(r) {
  const [count, ids] = [r.dim(9), r.int(1, 700)];
  const each = (make) => r.list(r.pick(1, count), make);
  return {
    args: {
      logits: tensor(r, rows(r), [count, ids]),
      temperature: r.maybe(() => each(() => r.pick(0, 0.7, 1.5))),
      topK: r.maybe(() => each(() => r.pick(0, 1, 50))),
      topP: r.maybe(() => each(() => r.pick(0.3, 0.9, 1))),
      seed: each(() => r.int(0, 2 ** 40)),
      step: each(() => r.int(0, 99)),
      allowed: allowed(r, ids),
    },
    outputs: [["i32", [count]]],
  };
}

export function repetitionPenalty(r) {
  const [dtype, count, ids, window] = [rows(r), r.dim(9), r.int(1, 300), r.dim(20)];
  return {
    args: {
      logits: tensor(r, dtype, [count, ids]),
      history: i32(r, r.ints(count * window, -2, ids - 1), [count, window]),
      penalty: r.pick(0.5, 1, 1.2),
    },
    outputs: [[dtype, [count, ids]]],
    run: (ops, { logits, history, penalty }) => ops.repetitionPenalty(logits, history, penalty),
  };
}

/** Refused: a buffer that is large enough takes seconds to measure. */
export function machinePeaks(r) {
  return { args: { buffer: tensor(r, "f32", r.shape(0, 2)) }, allowed: ["SHAPE_MISMATCH"] };
}
