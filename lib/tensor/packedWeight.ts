import type { NativeTensor } from "../native/addon.js";
import type { CodeDType, DType } from "./dtype.js";
import { type Device, NativeArray, type Shape } from "./tensor.js";

/** What a weight is packed for: the functions are `packWeight`, `packWeights`, `packConv1d` and `packConvTranspose1d`. */
export type PackedLayout = "matrix" | "experts" | "conv1d" | "convTranspose1d";

/**
 * A weight in the layout of a backend's matrix kernels. It can only be passed to operations that take its layout; it
 * cannot be read, written or viewed like a tensor.
 */
export class PackedWeight<
  D extends DType | CodeDType = DType | CodeDType,
  S extends Shape = Shape,
  L extends PackedLayout = "matrix",
> extends NativeArray<D, S> {
  declare protected readonly packedBrand: true;
  readonly layout: L;

  /** @hidden */
  constructor(device: Device, native: NativeTensor) {
    super(device, native);
    this.layout = native.layout as L;
  }

  override get [Symbol.toStringTag](): string {
    return `PackedWeight<${this.dtype}, [${this.shape.join(", ")}], ${this.layout}>`;
  }
}
