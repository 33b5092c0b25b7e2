// Lists beside a tensor. How long they may be follows from the tensor, so that longer ones are refused before any of
// their elements is read.
import { checkedList } from "../options.js";
import { NativeArray, type Shape } from "../tensor/tensor.js";

/** Lists up to this length are left to the operation's contract, whose errors say more. */
const shortList = 1024;

/**
 * A plain copy of a list, as `checkedList` gives, that is no longer than `most` allows for the shape of `x`.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function listFor<T>(
  where: string,
  argument: string,
  value: unknown,
  x: unknown,
  most: (shape: Shape) => number,
  expected = "a list",
): T[] {
  const count = x instanceof NativeArray ? most(x.shape) : 0;
  return checkedList<T>(where, argument, value, expected, Math.max(shortList, count));
}
