// Weights of random codes in the format that mlx-lm writes: groups of 64 elements with bf16 scales and biases.
import { packWeight, packWeights } from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { random, times } from "../case.js";

const group = 64;
const bitsOf = { q4: 4, q8: 8 } as const;
export type Codes = keyof typeof bitsOf;
export const codeDTypes = ["q4", "q8"] as const;

/** The bytes of a weight `[n, k]`: of codes, with their scales and biases. */
export const bytesOfWeight = (n: number, k: number, dtype: Codes | "bf16"): number =>
  dtype === "bf16" ? n * k * dtypeBytes.bf16 : (n * k * bitsOf[dtype]) / 8 + ((n * k) / group) * 2 * dtypeBytes.bf16;

/** The codes, scales and biases of weights around 0. */
function stored(device: Device, n: number, k: number, dtype: Codes) {
  const bits = bitsOf[dtype];
  const scale = random(device, [n, k / group], "bf16", 0.1 / 2 ** bits);
  const bias = random(device, [n, k / group], "bf16", 0.1);
  const bytes = Uint8Array.from({ length: (n * k * bits) / 8 }, (_, i) => (i * 2654435761) >>> 16);
  const codes = device.tensor(bytes, [n, (k * bits) / 8], "u8") as Tensor<"u8", readonly [number, number]>;
  return { codes, bits, scale, bias };
}

/** A packed weight `[n, k]` of codes. */
export function packedCodes(device: Device, n: number, k: number, dtype: Codes) {
  return device.scope(() => {
    const { codes, ...format } = stored(device, n, k, dtype);
    return packWeight(codes, format);
  });
}

/** The packed weights `[count, n, k]` of experts. */
export function stackedCodes(device: Device, count: number, n: number, k: number, dtype: Codes) {
  return device.scope(() => {
    const experts = times(count, () => stored(device, n, k, dtype));
    return packWeights(
      experts.map(({ codes }) => codes),
      {
        bits: bitsOf[dtype],
        scales: experts.map(({ scale }) => scale),
        biases: experts.map(({ bias }) => bias),
      },
    );
  });
}
