import { CaracalError } from "../errors.js";
import { addon, guarded, type NativeTensor } from "../native/addon.js";
import { type Operations, operationFields } from "../native/operations.js";
import { refuseName } from "../options.js";
import type { Device } from "../tensor/device.js";
import { NativeArray, PackedWeight, type Shape, Tensor } from "../tensor/tensor.js";

type Arguments<Name extends keyof Operations<never>> = Readonly<Operations<NativeArray>[Name]>;

/**
 * Queues a native operation and returns its outputs. The contract in native/ops validates; an argument that is
 * `undefined` keeps the contract's default.
 *
 * @param options the caller's option bag: a name in it that is no argument of the operation, or that `args` gives, is
 *   refused
 */
export function call<Name extends keyof Operations<never>>(
  name: Name,
  args: Partial<Arguments<Name>>,
  options: Partial<Arguments<Name>> = {},
): Tensor[] {
  const { device, outputs } = enqueue(name, args, options);
  return outputs.map((t) => new Tensor(device, t));
}

/** `call` for an operation whose one output is a packed weight. */
export function callPacked<Name extends keyof Operations<never>>(name: Name, args: Arguments<Name>): PackedWeight {
  const { device, outputs } = enqueue(name, args, {});
  return new PackedWeight(device, outputs[0]!);
}

function enqueue(name: keyof Operations<never>, args: object, options: object) {
  const fields: readonly string[] = operationFields[name];
  for (const option of Object.keys(options))
    if (Object.hasOwn(args, option) || !fields.includes(option))
      refuseName(
        `ops.${name}`,
        option,
        fields.filter((field) => !Object.hasOwn(args, field)),
      );
  const native: Record<string, unknown> = {};
  let device: Device | undefined;
  const unwrap = (value: unknown, argument: string) => {
    if (!(value instanceof NativeArray)) return value;
    device ??= value.device;
    if (value.disposed)
      throw new CaracalError(
        "DISPOSED",
        `${name}: ${argument} was disposed: keep it out of the scope or \`using\` that ended`,
        { operation: name, argument },
      );
    return value.handle;
  };
  for (const [key, value] of [...Object.entries(args), ...Object.entries(options)])
    native[key] = Array.isArray(value) ? value.map((v) => unwrap(v, key)) : unwrap(value, key);
  const outputs: NativeTensor[] = guarded(() => addon()[name](native));
  return { device: device as Device, outputs };
}

/** The dtypes that activations may have. */
export type Activations = "f32" | "bf16";

/** The dtypes that weights may have. */
export type WeightDType = "f32" | "bf16" | "f8e4m3";

/** A weight, packed or plain. */
export type Weight<D extends WeightDType = WeightDType, S extends Shape = Shape> = PackedWeight<D, S> | Tensor<D, S>;
