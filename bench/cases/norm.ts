import type { Activations } from "../../lib/ops/call.js";
import { add, clamp, layerNorm, rmsNorm } from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type Case, counted, defineCase, random, times, turn } from "../case.js";
import { audioHidden, hidden } from "./longcat.js";

const rows = 512;

/** Norms over the language model's rows and the audio encoder's; elementwise operations. */
export function normCases(activations: Activations): Case[] {
  return [
    rowCase(activations, "rmsNorm", hidden, { inputs: 1, vectors: 1, flops: 4 }, ([x], w) => rmsNorm(x, w)),
    rowCase(activations, "layerNorm", audioHidden, { inputs: 1, vectors: 2, flops: 4 }, ([x], w, b) =>
      layerNorm(x, w, b),
    ),
    rowCase(activations, "add", hidden, { inputs: 2, vectors: 0, flops: 1 }, ([x, y]) => add(x, y)),
    rowCase(activations, "clamp", hidden, { inputs: 1, vectors: 0, flops: 2 }, ([x]) =>
      clamp(x, { low: -0.1, high: 0.1 }),
    ),
  ].map((c) => counted(c));
}

type Rows = Tensor<Activations, readonly [number, number]>;
type Vector = Tensor<Activations, readonly [number]>;

/** @param reads how many tensors of rows and vectors it reads, and FLOP per element of the result */
function rowCase(
  activations: Activations,
  op: string,
  width: number,
  reads: { inputs: 1 | 2; vectors: number; flops: number },
  apply: (inputs: [Rows, Rows], w: Vector, b: Vector) => Tensor,
): Case {
  const bytes = dtypeBytes[activations];
  return defineCase({
    op,
    size: `T=${rows} C=${width}`,
    unit: "scalar",
    work: { bytes: bytes * width * ((reads.inputs + 1) * rows + reads.vectors), flops: reads.flops * rows * width },
    coldBytes: bytes * reads.inputs * rows * width,
    prepare: (device, copies) => ({
      inputs: times(copies, () => times(reads.inputs, () => random(device, [rows, width], activations, 0.5))),
      w: random(device, [width], activations, 0.5),
      b: random(device, [width], activations, 0.5),
    }),
    run: ({ inputs, w, b }, i) => apply(turn(inputs, i) as [Rows, Rows], w, b),
  });
}
