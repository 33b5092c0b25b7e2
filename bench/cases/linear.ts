import type { Activations, StoredDType } from "../../lib/ops/call.js";
import { linear, packWeight, swiglu } from "../../lib/ops/index.js";
import { largestQuantile, maxF8e4m3, normals } from "../../lib/synth/random.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { type Case, counted, defineCase, dense, packed, random, times, turn, unitOf } from "../case.js";
import { bytesOfWeight, type Codes, codeDTypes, packedCodes } from "./codes.js";
import { expertHidden, ffnHidden, hidden } from "./longcat.js";

/** One expert's matrix and a small one in every dtype; the dense FFN's products, counted in part. */
export function linearCases(activations: Activations): Case[] {
  const dtypes = ["f32", "bf16", "f8e4m3"] as const;
  return [
    ...dtypes.map(packCase),
    ...[1, 8, 64, 512].flatMap((m) => dtypes.map((d) => matrixCase(activations, m, hidden, expertHidden, d))),
    matrixCase(activations, 1, hidden, expertHidden, "f8e4m3", "subnormals"),
    ...[1, 64].flatMap((m) => dtypes.map((d) => matrixCase(activations, m, 256, 256, d))),
    ffnInPart(activations, "linear", 1, 1),
    ffnInPart(activations, "linear", 16, 16),
    ffnInPart(activations, "linear", 4096, 256),
    ...codeDTypes.flatMap((d) => [
      ffnInPart(activations, "linear", 1, 1, d),
      ffnInPart(activations, "linear", 4096, 256, d),
    ]),
    ffnInPart(activations, "swiglu", 16, 16),
    ffnInPart(activations, "swiglu", 4096, 256),
  ];
}

/** Packing one expert's matrix, which reads and writes its bytes once. */
function packCase(dtype: StoredDType): Case {
  const bytes = expertHidden * hidden * dtypeBytes[dtype];
  return defineCase({
    op: "packWeight",
    size: `N=${expertHidden} K=${hidden} ${dtype}`,
    unit: "scalar",
    work: { bytes: 2 * bytes },
    coldBytes: bytes,
    prepare: (device, copies) => ({
      weights: times(copies, () => random(device, [expertHidden, hidden], dtype, 0.05)),
      scale: device.zeros([Math.ceil(expertHidden / 128), Math.ceil(hidden / 128)]),
    }),
    run: ({ weights, scale }, i) => packWeight(turn(weights, i), { scale: dtype === "f8e4m3" ? scale : undefined }),
  });
}

/** @param subnormals makes 3 % of the f8e4m3 codes subnormal; quantised weights have hardly any */
function matrixCase(
  activations: Activations,
  m: number,
  k: number,
  n: number,
  dtype: StoredDType,
  subnormals?: "subnormals",
): Case {
  return defineCase({
    op: "linear",
    size: `M=${m} K=${k} N=${n} ${dtype}${subnormals ? ` ${subnormals}` : ""}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: n * k * dtypeBytes[dtype] + dtypeBytes[activations] * m * (k + n),
      flops: 2 * m * n * k,
    },
    coldBytes: n * k * dtypeBytes[dtype],
    prepare: (device, copies) => ({
      x: random(device, [m, k], activations),
      weights: times(copies, () =>
        dtype === "f8e4m3" ? scaled(device, n, k, !!subnormals) : packed(device, n, k, dtype),
      ),
    }),
    run: ({ x, weights }, i) => linear(x, turn(weights, i)),
    peer: () => ({
      node: { op: "MatMul", inputs: ["x", "w"], outputs: ["y"] },
      constants: { w: dense(k, n) },
      inputs: { x: dense(m, k) },
      outputs: { y: [m, n] },
    }),
  });
}

/**
 * A packed f8e4m3 weight with a scale per block of 128 × 128. Its values are as quantisation leaves them: normally
 * distributed, the largest of a block 448, none below the smallest normal number, 2^-6. Or uniform in [-0.5, 0.5): then
 * 3 % of the codes are subnormal, for which a processor may need much longer.
 */
function scaled(device: Device, n: number, k: number, subnormals: boolean) {
  const spread = subnormals ? 1 : maxF8e4m3 / largestQuantile;
  using w = subnormals
    ? random(device, [n, k], "f8e4m3")
    : device.tensor(
        normals(n * k, 1).map((v) => v * spread),
        [n, k],
        "f8e4m3",
      );
  using scale = random(device, [Math.ceil(n / 128), Math.ceil(k / 128)], "f32", 1 / spread);
  return packWeight(w, { scale });
}

function ffnCase(activations: Activations, op: "linear" | "swiglu", m: number, n: number, dtype: Codes | "bf16"): Case {
  const matrices = op === "swiglu" ? 2 : 1;
  const weightBytes = matrices * bytesOfWeight(n, hidden, dtype);
  const weight = (device: Device) =>
    dtype === "bf16" ? packed(device, n, hidden, dtype) : packedCodes(device, n, hidden, dtype);
  return defineCase({
    op,
    size: `M=${m} K=${hidden} N=${n}${dtype === "bf16" ? "" : ` ${dtype}`}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: weightBytes + dtypeBytes[activations] * m * (hidden + n),
      flops: 2 * matrices * m * n * hidden,
    },
    coldBytes: weightBytes,
    prepare: (device, copies) => ({
      x: random(device, [m, hidden], activations, 0.5),
      weights: times(copies, () => times(matrices, () => weight(device))),
    }),
    run({ x, weights }, i) {
      const [gate, up] = turn(weights, i);
      return op === "linear" ? linear(x, gate!) : swiglu(x, gate!, up!);
    },
  });
}

/** The whole of a dense FFN's product, of which these rows by 1024 columns are counted. */
const ffnInPart = (
  activations: Activations,
  op: "linear" | "swiglu",
  m: number,
  countedRows: number,
  dtype: Codes | "bf16" = "bf16",
): Case =>
  counted(ffnCase(activations, op, m, ffnHidden, dtype), {
    ...ffnCase(activations, op, countedRows, 1024, dtype),
    size: `M=${countedRows} N=1024`,
  });
