// Valid calls of the operations in native/ops/quantization.
import { rows, tensor } from "./values.mjs";

const affine = (r) => ({
  n: r.dim(40),
  groups: r.int(0, 3),
  bits: r.pick(2, 3, 4, 5, 6, 8),
  group: r.pick(32, 64, 128),
});
const fp8Scales = (n, k) => [Math.ceil(n / 128), Math.ceil(k / 128)];

export function quantizeAffine(r) {
  const [dtype, { n, groups, bits, group }] = [rows(r), affine(r)];
  const k = groups * group;
  return {
    args: { w: tensor(r, dtype, [n, k]), bits, group },
    outputs: [
      ["u8", [n, (k * bits) / 8]],
      [dtype, [n, groups]],
      [dtype, [n, groups]],
    ],
    run: (ops, { w, ...options }) => Object.values(ops.quantizeAffine(w, options)),
  };
}

export function dequantizeAffine(r) {
  const [dtype, { n, groups, bits, group }] = [r.pick("f32", "f16", "bf16"), affine(r)];
  const [k, outDtype] = [groups * group, r.maybe(() => rows(r))];
  return {
    args: {
      codes: tensor(r, "u8", [n, (k * bits) / 8]),
      bits,
      scale: tensor(r, dtype, [n, groups]),
      bias: r.maybe(() => tensor(r, dtype, [n, groups])),
      outDtype,
    },
    outputs: [[outDtype ?? "f32", [n, k]]],
    run: (ops, { codes, ...options }) => ops.dequantizeAffine(codes, options),
  };
}

export function quantizeFp8(r) {
  const [n, k] = [r.dim(150), r.dim(300)];
  return {
    args: { w: tensor(r, rows(r), [n, k]) },
    outputs: [
      ["f8e4m3", [n, k]],
      ["f32", fp8Scales(n, k)],
    ],
    run: (ops, { w }) => Object.values(ops.quantizeFp8(w)),
  };
}

export function dequantizeFp8(r) {
  const [n, k, outDtype] = [r.dim(150), r.dim(300), r.maybe(() => rows(r))];
  return {
    args: { codes: tensor(r, "f8e4m3", [n, k]), scale: tensor(r, "f32", fp8Scales(n, k)), outDtype },
    outputs: [[outDtype ?? "f32", [n, k]]],
    run: (ops, { codes, ...options }) => ops.dequantizeFp8(codes, options),
  };
}
