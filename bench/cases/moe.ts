import type { Activations } from "../../lib/ops/call.js";
import {
  combine,
  groupedGemm,
  groupedSwiglu,
  moe,
  packWeights,
  permutation,
  type Routing,
  router,
} from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import type { PackedWeight } from "../../lib/tensor/packedWeight.js";
import type { Device } from "../../lib/tensor/tensor.js";
import {
  type Case,
  counted,
  defineCase,
  dense,
  integers,
  packed,
  random,
  range,
  times,
  turn,
  unitOf,
} from "../case.js";
import type { PeerModel } from "../peers.js";
import { bytesOfWeight, type Codes, codeDTypes, stackedCodes } from "./codes.js";
import { expertHidden, experts, hidden, realPicks, topK, zeroExperts } from "./longcat.js";

const allExperts = experts + zeroExperts;

/** The mixture of experts: its parts as one rank of the model calls them, and the whole with eight full-size experts. */
export function moeCases(activations: Activations): Case[] {
  return [
    counted(routerCase(activations, 1)),
    counted(routerCase(activations, 64)),
    routerCase(activations, 512),
    counted(permutationCase(4096)),
    counted(combineCase(activations, 4096), { ...combineCase(activations, 256), size: "T=256" }),
    // EP 32 leaves 16 experts to a rank: a decoding step, and a prefill under CP 2.
    groupedInPart(activations, "groupedSwiglu", 16, 8),
    groupedInPart(activations, "groupedSwiglu", 16, 2048),
    ...codeDTypes.map((d) => groupedInPart(activations, "groupedSwiglu", 16, 8, d)),
    groupedInPart(activations, "groupedGemm", 16, 8),
    groupedInPart(activations, "groupedGemm", 16, 2048),
    ...codeDTypes.map((d) => groupedInPart(activations, "groupedGemm", 16, 8, d)),
    ...[1, 8, 64].map((tokens) => moeCase(activations, tokens, hidden, expertHidden)),
    moeCase(activations, 16, 256, 128),
  ];
}

function routerCase(activations: Activations, tokens: number): Case {
  const weightBytes = 4 * allExperts * hidden;
  return defineCase({
    op: "router",
    size: `T=${tokens} ${hidden}→${experts}+${zeroExperts} top-${topK}, f32 classifier`,
    unit: "fma",
    work: {
      bytes: weightBytes + dtypeBytes[activations] * tokens * hidden + 4 * tokens * (2 * topK + 1),
      flops: 2 * tokens * allExperts * hidden,
    },
    coldBytes: weightBytes,
    prepare: (device, copies) => ({
      x: random(device, [tokens, hidden], activations, 0.5),
      classifiers: times(copies, () => packed(device, allExperts, hidden, "f32")),
      bias: random(device, [allExperts], "f32", 1e-3),
    }),
    run: ({ x, classifiers, bias }, i) =>
      router(x, turn(classifiers, i), bias, { topK, experts, zeroExperts, scale: 6 }).weights,
  });
}

/** Picks of which two in three are FFN experts, as in the model on average. */
const spreadPicks = (device: Device, tokens: number): Routing => ({
  ids: integers(
    device,
    range(tokens * topK, 389).map((id) => id % allExperts),
    [tokens, topK],
  ),
  weights: random(device, [tokens, topK], "f32"),
  zeroWeight: random(device, [tokens], "f32"),
  experts,
  zeroExperts,
});

function permutationCase(tokens: number): Case {
  return defineCase({
    op: "permutation",
    size: `T=${tokens} top-${topK} of ${experts}+${zeroExperts}`,
    unit: "scalar",
    work: { bytes: 4 * (3 * tokens * topK + experts + 1) },
    prepare: (device) => spreadPicks(device, tokens),
    run: (routing) => permutation(routing).slotOf,
  });
}

function combineCase(activations: Activations, tokens: number): Case {
  const rows = (tokens * topK * experts) / allExperts;
  return defineCase({
    op: "combine",
    size: `T=${tokens} top-${topK} C=${hidden}`,
    unit: "scalar",
    work: {
      bytes: dtypeBytes[activations] * hidden * (rows + 2 * tokens) + 4 * tokens * (2 * topK + 1),
      flops: 2 * tokens * (topK + 1) * hidden,
    },
    prepare(device) {
      const routing = spreadPicks(device, tokens);
      const slotOf = device.scope(() => permutation(routing).slotOf);
      const y = random(device, [rows, hidden], activations, 0.5);
      return { y, x: random(device, [tokens, hidden], activations, 0.5), routing, slotOf };
    },
    run: ({ y, x, routing, slotOf }) => combine(y, x, routing, { slotOf }),
  });
}

type GroupedOp = "groupedSwiglu" | "groupedGemm";

function groupedCase(
  activations: Activations,
  op: GroupedOp,
  groups: number,
  rows: number,
  dtype: Codes | "bf16",
): Case {
  const [k, n, matrices] = op === "groupedSwiglu" ? [hidden, expertHidden, 2] : [expertHidden, hidden, 1];
  return defineCase({
    op,
    size: `${groups} experts × ${rows} rows, ${k}→${n}${dtype === "bf16" ? "" : ` ${dtype}`}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: groups * matrices * bytesOfWeight(n, k, dtype) + dtypeBytes[activations] * groups * rows * (k + n),
      flops: 2 * groups * rows * matrices * n * k,
    },
    prepare: (device) => ({
      x: random(device, [groups * rows, k], activations, 0.5),
      weights: times(matrices, () =>
        dtype === "bf16" ? stacked(device, groups, n, k) : stackedCodes(device, groups, n, k, dtype),
      ),
      offsets: integers(device, range(groups + 1, rows), [groups + 1]),
    }),
    run: ({ x, weights: [gate, up], offsets }) =>
      op === "groupedSwiglu" ? groupedSwiglu(x, gate!, up!, offsets) : groupedGemm(x, gate!, offsets),
  });
}

/** All experts of a rank, of which two are counted with at most 128 rows each. */
function groupedInPart(
  activations: Activations,
  op: GroupedOp,
  groups: number,
  rows: number,
  dtype: Codes | "bf16" = "bf16",
): Case {
  const countedRows = Math.min(rows, 128);
  const part = { ...groupedCase(activations, op, 2, countedRows, dtype), size: `2 × ${countedRows}` };
  return counted(groupedCase(activations, op, groups, rows, dtype), part);
}

type Matrices = PackedWeight<"bf16", readonly [number, number, number], "experts">;
const stacked = (device: Device, count: number, n: number, k: number): Matrices =>
  device.scope(() => packWeights(times(count, () => random(device, [n, k], "bf16", 0.05))));

/** Every token picks all of eight experts, as the peer's operation requires. */
function moeCase(activations: Activations, tokens: number, d: number, f: number): Case {
  return defineCase({
    op: "moe",
    size: `T=${tokens} ${realPicks} experts ${d}→${f} bf16`,
    unit: unitOf(activations),
    work: {
      bytes: realPicks * 3 * d * f * 2 + 2 * dtypeBytes[activations] * tokens * d,
      flops: 2 * tokens * realPicks * 3 * d * f,
    },
    prepare: (device) => ({
      x: random(device, [tokens, d], activations),
      weights: {
        gate: stacked(device, realPicks, f, d),
        up: stacked(device, realPicks, f, d),
        down: stacked(device, realPicks, d, f),
      },
      routing: {
        ids: integers(
          device,
          range(tokens * realPicks).map((id) => id % realPicks),
          [tokens, realPicks],
        ),
        weights: random(device, [tokens, realPicks], "f32"),
        zeroWeight: device.zeros([tokens]),
        experts: realPicks,
        zeroExperts: 0,
      },
    }),
    run: ({ x, weights, routing }) => moe(x, weights, routing),
    peer: () => moePeer(tokens, d, f),
  });
}

const moePeer = (tokens: number, d: number, f: number): PeerModel => ({
  node: {
    op: "MoE",
    domain: "com.microsoft",
    inputs: ["x", "router", "w1", "", "w2"],
    outputs: ["y"],
    attributes: {
      k: realPicks,
      activation_type: "swiglu",
      swiglu_fusion: 1,
      activation_alpha: { float: 1 },
      activation_beta: { float: 0 },
      normalize_routing_weights: 1,
    },
  },
  constants: { w1: dense(realPicks, 2 * f, d), w2: dense(realPicks, d, f) },
  inputs: { x: dense(tokens, d), router: dense(tokens, realPicks) },
  outputs: { y: [tokens, d] },
});
