// Tensors for the cases of sizeCases.ts.
import * as ops from "../../lib/ops/index.js";
import type { DType } from "../../lib/tensor/dtype.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";

/** Makes tensors of ones, and of ids that are 0. */
export class Make {
  readonly device: Device;
  constructor(device: Device) {
    this.device = device;
  }
  ones(shape: readonly number[], dtype: DType = "f32") {
    const values = new Float32Array(shape.reduce((n, d) => n * d, 1)).fill(1);
    return this.device.tensor(values, shape, dtype) as never;
  }
  ids(...shape: number[]) {
    return this.device.zeros(shape, "i32") as never;
  }
  /** Starts of one sequence of all rows. */
  starts(rows: number) {
    return this.device.tensor([0, rows], [2], "i32") as never;
  }
  scale(n: number, k: number) {
    return this.ones([Math.ceil(n / 128), Math.ceil(k / 128)]) as Tensor<"f32">;
  }
  matrix(n: number, k: number) {
    return ops.packWeight(this.ones([n, k])) as never;
  }
  f8(n: number, k: number) {
    return ops.packWeight(this.ones([n, k], "f8e4m3"), { scale: this.scale(n, k) }) as never;
  }
  bytes(shape: readonly number[]) {
    const count = shape.reduce((n, d) => n * d, 1);
    return this.device.tensor(new Uint8Array(count).fill(1), shape, "u8") as never;
  }
  codes(n: number, k: number, bits: 4 | 8) {
    const scale = this.ones([n, k / 32]) as Tensor<"f32">;
    return ops.packWeight(this.bytes([n, (k * bits) / 8]), { bits, scale, bias: scale }) as never;
  }
  experts(e: number, n: number, k: number) {
    return ops.packWeights([this.ones([e, n, k])]) as never;
  }
}
