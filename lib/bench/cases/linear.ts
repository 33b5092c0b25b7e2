import type { Activations } from "../../ops/call.js";
import { linear, packWeight } from "../../ops/linear.js";
import { dtypeBytes } from "../../tensor/dtype.js";
import { coldCopies, type OpCase, opCase, random, values } from "../case.js";

/** `linear` at one expert matrix's size (6144→2048) and at a small one. */
export function linearCases(activations: Activations): OpCase[] {
  const cases: OpCase[] = [];
  for (const [k, n, rows] of [
    [6144, 2048, [1, 8, 64, 512]],
    [256, 256, [1, 64]],
  ] as const)
    for (const m of rows)
      for (const dtype of ["f32", "bf16", "f8e4m3"] as const) cases.push(linearCase(activations, m, k, n, dtype));
  return cases;
}

function linearCase(
  activations: Activations,
  m: number,
  k: number,
  n: number,
  dtype: "f32" | "bf16" | "f8e4m3",
): OpCase {
  const weightBytes = n * k * dtypeBytes[dtype];
  return opCase({
    op: "linear",
    size: `M=${m} K=${k} N=${n} ${dtype}`,
    flops: 2 * m * n * k,
    matrix: activations === "bf16" && dtype !== "f32",
    bytes: weightBytes + dtypeBytes[activations] * m * (k + n),
    prepare(device) {
      const x = random(device, [m, k], activations);
      const scale = dtype === "f8e4m3" ? random(device, [Math.ceil(n / 128), Math.ceil(k / 128)], "f32") : undefined;
      const weights = Array.from({ length: coldCopies(weightBytes) }, () => {
        using w = random(device, [n, k], dtype);
        return packWeight(w, { scale });
      });
      return { x, weights };
    },
    run({ x, weights }, i) {
      return linear(x, weights[i % weights.length]!);
    },
    peer: {
      copies: coldCopies(4 * n * k),
      model: () => ({
        node: { op: "MatMul", inputs: ["x", "w"], outputs: ["y"] },
        constants: { w: { dims: [k, n], values: values(k * n) } },
        inputs: { x: { dims: [m, k], values: values(m * k) } },
        outputs: { y: [m, n] },
      }),
    },
  });
}
