import { CaracalError } from "../errors.js";
import { addon, guarded } from "../native/addon.js";
import { type Operations, operationFields } from "../native/operations.js";
import {
  checkedList,
  checkObject,
  isObject,
  maxNumbers,
  oneOf,
  optional,
  refuseName,
  refuseValue,
} from "../options.js";
import type { CodeDType, DType } from "../tensor/dtype.js";
import { type PackedLayout, PackedWeight } from "../tensor/packedWeight.js";
import { type Device, NativeArray, type Shape, Tensor } from "../tensor/tensor.js";

type Name = keyof Operations<never>;
type Arguments<N extends Name> = Readonly<Operations<NativeArray>[N]>;
/** The arguments that are not given yet. They may be left out if none of them is required. */
type Rest<N extends Name, Given extends keyof Arguments<N>> =
  Record<never, never> extends Omit<Arguments<N>, Given>
    ? [options?: Omit<Arguments<N>, Given>]
    : [options: Omit<Arguments<N>, Given>];

/**
 * Queues a native operation and returns its outputs. Its contract in native/ops checks the arguments. Arguments that
 * are `undefined` keep the contract's defaults.
 *
 * @param options the caller's options, also passed as arguments
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is not an argument of the operation or is already in `args`;
 *   `DISPOSED` when a tensor was disposed; the errors of the contract
 */
export function call<N extends Name, Given extends keyof Arguments<N> = never>(
  name: N,
  args: Pick<Arguments<N>, Given>,
  ...[options]: Rest<N, Given>
): Tensor[] {
  const { device, outputs } = enqueue(name, args, options ?? {});
  return outputs.map((handle) => new Tensor(device, handle));
}

/** Queues an operation whose only output is a packed weight. @throws {CaracalError} as `call` */
export function callPacked<N extends Name, Given extends keyof Arguments<N> = never>(
  name: N,
  args: Pick<Arguments<N>, Given>,
  ...[options]: Rest<N, Given>
): PackedWeight<DType | CodeDType, Shape, PackedLayout> {
  const { device, outputs } = enqueue(name, args, options ?? {});
  return new PackedWeight(device, outputs[0]!);
}

function enqueue(name: Name, args: object, options: object) {
  const fields: readonly string[] = operationFields[name];
  checkObject(`ops.${name}`, "options", options);
  const optionNames = Object.keys(options);
  for (const option of optionNames)
    if (Object.hasOwn(args, option) || !fields.includes(option))
      refuseName(
        `ops.${name}`,
        option,
        fields.filter((field) => !Object.hasOwn(args, field)),
      );
  let device: Device | undefined;
  const unwrap = (value: unknown, argument: string) => {
    if (!isObject(value)) return value;
    if (!(value instanceof NativeArray)) {
      // A proxy or heir of a tensor: the addon would only call it an object.
      if (Object.prototype.isPrototypeOf.call(NativeArray.prototype, value))
        refuseValue(name, argument, "a Tensor", value);
      return value;
    }
    device ??= value.device;
    if (value.disposed)
      throw new CaracalError(
        "DISPOSED",
        `${name}: ${argument} was disposed: create it outside of the scope or \`using\` block that ended, or dispose it later`,
        { operation: name, argument },
      );
    return value.handle;
  };
  const native: unknown[] = []; // in the order of the fields; those that are not given are holes, or beyond its end
  const read = (from: Readonly<Record<string, unknown>>, field: string) => {
    const value = from[field];
    native[fields.indexOf(field)] = Array.isArray(value)
      ? checkedList(name, field, value, "a list", isObject(value[0]) ? undefined : maxNumbers).map((v) =>
          unwrap(v, field),
        )
      : unwrap(value, field);
  };
  for (const field of Object.keys(args)) read(args as Readonly<Record<string, unknown>>, field);
  for (const field of optionNames) read(options as Readonly<Record<string, unknown>>, field);
  const out = guarded(() => addon()[name](...native));
  return { device: device as Device, outputs: Array.isArray(out) ? out : [out] };
}

/** Returns the two elements of a list. @throws {CaracalError} `INVALID_ARGUMENT` for anything else */
export function checkedPair(where: string, argument: string, value: unknown): readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) refuseValue(where, argument, "two numbers", value);
  return [value[0], value[1]];
}

/** The dtypes of activations. */
export type Activations = "f32" | "bf16";
/** @internal Takes the dtype of activations. */
export const activationsRule = optional(oneOf("f32", "bf16"));

/** The dtypes of the weights of checkpoints that are matrices of numbers. */
export type StoredDType = "f32" | "bf16" | "f8e4m3";
/** The dtypes of weights. */
export type WeightDType = StoredDType | CodeDType;

/** A weight, packed or plain. Plain codes and a plain f8e4m3 would lack their scales. */
export type Weight<D extends WeightDType = WeightDType, S extends Shape = Shape, L extends PackedLayout = "matrix"> =
  | PackedWeight<D, S, L>
  | Tensor<Exclude<D, "f8e4m3" | CodeDType>, S>;
