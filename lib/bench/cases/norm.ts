import type { Activations } from "../../ops/call.js";
import { layerNorm, rmsNorm } from "../../ops/norm.js";
import { dtypeBytes } from "../../tensor/dtype.js";
import type { Tensor } from "../../tensor/tensor.js";
import { type OpCase, opCase, random } from "../case.js";

/** Norms over the LLM's rows and the audio encoder's. */
export function normCases(activations: Activations): OpCase[] {
  return [
    rowCase(activations, "rmsNorm", 512, 6144, (x, w) => rmsNorm(x, w)),
    rowCase(activations, "layerNorm", 512, 1536, layerNorm),
  ];
}

type Row = ReturnType<typeof operands>;

const operands = (device: Parameters<OpCase["prepare"]>[0], activations: Activations, t: number, c: number) => ({
  // A copy for every run, and more than the last-level cache holds.
  xs: Array.from({ length: Math.ceil(100e6 / (4 * t * c)) }, () => random(device, [t, c], activations)),
  w: random(device, [c], "f32"),
  b: random(device, [c], "f32"),
});

function rowCase(
  activations: Activations,
  op: string,
  t: number,
  c: number,
  apply: (x: Row["xs"][number], w: Row["w"], b: Row["b"]) => Tensor,
): OpCase {
  return opCase({
    op,
    size: `T=${t} C=${c} ${activations}`,
    flops: 4 * t * c,
    bytes: 2 * dtypeBytes[activations] * t * c,
    prepare: (device) => operands(device, activations, t, c),
    run: ({ xs, w, b }: Row, i) => apply(xs[i % xs.length]!, w, b),
  });
}
