// Valid calls of the operations in native/ops/attention.
import { i32, numberDtype, rows, starts, sum, tensor, weight } from "./values.mjs";

export function attention(r) {
  const lengths = r.ints(r.int(0, 4), 0, r.pick(3, 40));
  const [heads, depth, dtype] = [r.int(1, 3), r.pick(8, 16, 40, 64, 80), rows(r)];
  const shape = [sum(lengths), heads, depth];
  return {
    args: {
      q: tensor(r, dtype, shape),
      k: tensor(r, dtype, shape),
      v: tensor(r, dtype, shape),
      cuSeqlens: starts(r, lengths),
      causal: r.maybe(() => r.chance(0.5)),
      scale: r.maybe(() => r.pick(0, 0.1, -1)),
    },
    outputs: [[dtype, [shape[0], heads * depth]]],
    run: (ops, { q, k, v, ...options }) => ops.attention(q, k, v, options),
  };
}

export function vitAttention(r) {
  const lengths = r.ints(r.int(0, 3), 0, r.pick(3, 40));
  const [heads, depth, dtype, norm, count] = [r.int(1, 4), r.pick(8, 16, 24, 80), rows(r), rows(r), sum(lengths)];
  return {
    args: {
      qkv: tensor(r, dtype, [count, 3 * heads * depth]),
      cuSeqlens: starts(r, lengths),
      positions: i32(r, r.ints(2 * count, 0, 40), [count, 2]),
      qNorm: tensor(r, norm, [heads * depth]),
      kNorm: tensor(r, rows(r), [heads * depth]),
      heads,
      theta: r.maybe(() => 100),
      eps: r.maybe(() => 1e-5),
    },
    outputs: [[dtype, [count, heads * depth]]],
    run: (ops, { qkv, ...options }) => ops.vitAttention(qkv, options),
  };
}

export function rope(r) {
  const [dtype, shape] = [rows(r), [r.dim(30), r.int(1, 4), r.int(1, 40)]];
  return {
    args: {
      x: tensor(r, dtype, shape),
      positions: i32(r, r.ints(shape[0], -(2 ** 31), 2 ** 31 - 1)),
      theta: r.pick(1e4, 1e7),
      ropeDim: 2 * r.int(0, Math.floor(shape[2] / 2)),
    },
    outputs: [[dtype, shape]],
    run: (ops, { x, positions, ...options }) => ops.rope(x, positions, options),
  };
}

function cache(r, blocks) {
  const [nope, rope, value, latent] = r.pick([8, 4, 8, 12], [24, 8, 40, 56], [64, 64, 8, 128], [2, 2, 5, 6]);
  const blockSize = r.pick(1, 4, 16);
  const heads = r.int(1, 4);
  const count = blocks(blockSize);
  return { nope, rope, value, latent, blockSize, heads, count };
}

/** The arguments that mlaDecode and mlaPrefill share, of sequences with these numbers of queries and keys. */
function mla(r, queries, keys) {
  const c = cache(r, (size) => keys.map((n) => Math.ceil(n / size)));
  const width = Math.max(r.int(0, 2), ...c.count);
  let free = 0;
  const table = c.count.flatMap((n) => r.list(width, (b) => (b < n ? free++ : r.pick(-7, 0, 2 ** 31 - 1))));
  const dtype = rows(r);
  return {
    dtype,
    heads: c.heads,
    width: c.heads * c.value,
    args: {
      q: tensor(r, dtype, [sum(queries), c.heads, c.nope + c.rope]),
      wKvB: weight(r, c.heads * (c.nope + c.value), c.latent, { dtype: numberDtype(r, c.latent) }),
      cache: tensor(r, rows(r), [free + r.int(0, 1), c.blockSize, c.latent + c.rope]),
      blockTable: i32(r, table, [keys.length, width]),
      seqLens: i32(r, keys),
      heads: c.heads,
      nopeDim: c.nope,
      ropeDim: c.rope,
      vDim: c.value,
      scale: r.maybe(() => 0.1),
    },
  };
}

export function mlaDecode(r) {
  const keys = r.ints(r.int(0, 5), 0, r.pick(3, 60));
  const { dtype, heads, width, args } = mla(
    r,
    keys.map(() => 1),
    keys,
  );
  return {
    args,
    outputs: [
      [dtype, [keys.length, width]],
      ["f32", [keys.length, heads]],
    ],
    run: (ops, options) => ops.mlaDecode(options),
  };
}

export function mlaPrefill(r) {
  const queries = r.ints(r.int(0, 3), 0, r.pick(3, 30));
  const { dtype, width, args } = mla(
    r,
    queries,
    queries.map((n) => n + r.int(0, 20)),
  );
  return {
    args: { ...args, cuSeqlens: starts(r, queries) },
    outputs: [[dtype, [sum(queries), width]]],
    run: (ops, options) => ops.mlaPrefill(options),
  };
}

export function mlaCacheWrite(r) {
  const c = cache(r, () => r.int(1, 4));
  const slots = r.list(c.count * c.blockSize, (i) => i).filter(() => r.chance(0.5));
  return {
    args: {
      kv: tensor(r, rows(r), [slots.length, c.latent + c.rope]),
      normWeight: tensor(r, rows(r), [c.latent]),
      positions: i32(r, r.ints(slots.length, 0, 5000)),
      slots: { ...i32(r, slots), distinct: true },
      cache: { ...tensor(r, rows(r), [c.count, c.blockSize, c.latent + c.rope]), storage: r.pick("own", "view") },
      eps: r.maybe(() => 1e-5),
      scale: r.maybe(() => 3),
      theta: r.pick(1e4, 1e7),
    },
    outputs: [],
    run: (ops, options) => ops.mlaCacheWrite(options),
  };
}
