import { CaracalError } from "../errors.js";
import { addon, guarded, type NativeTensor } from "../native/addon.js";
import type { Device } from "../tensor/device.js";
import { NativeArray, PackedWeight, type Shape, Tensor } from "../tensor/tensor.js";

type Argument = NativeArray | readonly NativeArray[] | number | string | boolean | readonly number[] | undefined;

/**
 * Queues a native operation and returns its outputs. The contract in native/ops validates; an argument that is
 * `undefined` keeps the contract's default.
 */
export function call(name: string, args: Readonly<Record<string, Argument>>): Tensor[] {
  const { device, outputs } = enqueue(name, args);
  return outputs.map((t) => new Tensor(device, t));
}

/** The same for an operation whose one output is a packed weight. */
export function callPacked(name: string, args: Readonly<Record<string, Argument>>): PackedWeight {
  const { device, outputs } = enqueue(name, args);
  return new PackedWeight(device, outputs[0]!);
}

function enqueue(name: string, args: Readonly<Record<string, Argument>>): { device: Device; outputs: NativeTensor[] } {
  const native: Record<string, unknown> = {};
  let device: Device | undefined;
  const unwrap = (value: unknown, argument: string) => {
    if (!(value instanceof NativeArray)) return value;
    device ??= value.device;
    if (value.disposed)
      throw new CaracalError(
        "DISPOSED",
        `${name}: ${argument} was disposed: keep it out of the scope or \`using\` that ended`,
      );
    return value.handle;
  };
  for (const [key, value] of Object.entries(args))
    native[key] = Array.isArray(value) ? value.map((v) => unwrap(v, key)) : unwrap(value, key);
  const operation = addon()[name] as (args: object) => NativeTensor[];
  const outputs = guarded(() => operation(native));
  return { device: device as Device, outputs };
}

/** The dtypes that activations may have. */
export type Activations = "f32" | "bf16";

/** The dtypes that weights may have. */
export type WeightDType = "f32" | "bf16" | "f8e4m3";

/** A weight, packed or plain. */
export type Weight<D extends WeightDType = WeightDType, S extends Shape = Shape> = PackedWeight<D, S> | Tensor<D, S>;
