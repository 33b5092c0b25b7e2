import { layerNorm, rmsNorm } from "../../ops/norm.js";
import { type OpCase, opCase, random } from "../case.js";

/** Norms over the LLM's rows and the audio encoder's. */
export function normCases(): OpCase[] {
  return [
    rowCase("rmsNorm", 512, 6144, (x, w) => void rmsNorm(x, w)),
    rowCase("layerNorm", 512, 1536, (x, w, b) => void layerNorm(x, w, b)),
  ];
}

type Row = ReturnType<typeof operands>;

const operands = (device: Parameters<OpCase["prepare"]>[0], t: number, c: number) => ({
  // A copy for every run, and more than the last-level cache holds.
  xs: Array.from({ length: Math.ceil(100e6 / (4 * t * c)) }, () => random(device, [t, c], "f32")),
  w: random(device, [c], "f32"),
  b: random(device, [c], "f32"),
});

function rowCase(
  op: string,
  t: number,
  c: number,
  apply: (x: Row["xs"][number], w: Row["w"], b: Row["b"]) => void,
): OpCase {
  return opCase({
    op,
    size: `T=${t} C=${c} f32`,
    flops: 4 * t * c,
    bytes: 8 * t * c,
    prepare: (device) => operands(device, t, c),
    run: ({ xs, w, b }: Row, i) => apply(xs[i % xs.length]!, w, b),
  });
}
