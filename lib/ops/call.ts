import { CaracalError } from "../errors.js";
import { addon, guarded, type NativeTensor } from "../native/addon.js";
import { type Operations, operationFields } from "../native/operations.js";
import { refuseName } from "../options.js";
import { type Device, NativeArray, PackedWeight, type Shape, Tensor } from "../tensor/tensor.js";

type Arguments<Name extends keyof Operations<never>> = Readonly<Operations<NativeArray>[Name]>;

/**
 * Queues a native operation and returns its outputs. Its contract in native/ops checks the arguments. Arguments that
 * are `undefined` keep the contract's defaults.
 *
 * @param options the caller's options, also passed as arguments
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is not an argument of the operation or is already in `args`;
 *   `DISPOSED` when a tensor was disposed; the errors of the contract
 */
export function call<Name extends keyof Operations<never>>(
  name: Name,
  args: Partial<Arguments<Name>>,
  options: Partial<Arguments<Name>> = {},
): Tensor[] {
  const { device, outputs } = enqueue(name, args, options);
  return outputs.map((t) => new Tensor(device, t));
}

/** Queues an operation whose only output is a packed weight. @throws {CaracalError} as `call` */
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
        `${name}: ${argument} was disposed: create it outside of the scope or \`using\` block that ended`,
        { operation: name, argument },
      );
    return value.handle;
  };
  for (const [key, value] of [...Object.entries(args), ...Object.entries(options)])
    native[key] = Array.isArray(value) ? value.map((v) => unwrap(v, key)) : unwrap(value, key);
  const outputs: NativeTensor[] = guarded(() => addon()[name](native));
  return { device: device as Device, outputs };
}

/** The dtypes of activations. */
export type Activations = "f32" | "bf16";

/** The dtypes of weights. */
export type WeightDType = "f32" | "bf16" | "f8e4m3";

/** A packed or plain weight. */
export type Weight<D extends WeightDType = WeightDType, S extends Shape = Shape> = PackedWeight<D, S> | Tensor<D, S>;
