import { CaracalError } from "../errors.js";
import { addon, guarded, type NativeTensor } from "../native/addon.js";
import { Tensor } from "../tensor/tensor.js";

type Argument = Tensor | readonly Tensor[] | number | string | boolean | readonly number[] | undefined;

/**
 * Queues a native operation and returns its outputs. The contract in native/ops validates; an argument that is
 * `undefined` keeps the contract's default.
 */
export function call(name: string, args: Readonly<Record<string, Argument>>): Tensor[] {
  const native: Record<string, unknown> = {};
  let device = undefined as Tensor["device"] | undefined;
  const handle = (value: unknown, argument: string) => {
    if (!(value instanceof Tensor)) return value;
    device ??= value.device;
    if (value.disposed)
      throw new CaracalError(
        "DISPOSED",
        `${name}: tensor ${argument} was disposed: keep it out of the scope or \`using\` that ended`,
      );
    return value.handle;
  };
  for (const [key, value] of Object.entries(args))
    native[key] = Array.isArray(value) ? value.map((v) => handle(v, key)) : handle(value, key);
  const operation = addon()[name] as (args: object) => NativeTensor[];
  const outputs = guarded(() => operation(native));
  return outputs.map((t) => new Tensor(device as Tensor["device"], t));
}

/** The dtypes that activations may have. */
export type Activations = "f32" | "bf16";
