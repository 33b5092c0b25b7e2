import { type OptionRule, refuseValue } from "../options.js";
import { Device, NativeArray } from "./tensor.js";

/** Takes a device. */
export const deviceRule: OptionRule = {
  accepts: (value) => value instanceof Device,
  expected: "a Device, as Device.open() gives",
};

/** Refuses what is not a tensor, for functions that look at it before they call an operation. */
export function checkTensor(where: string, argument: string, value: unknown): asserts value is NativeArray {
  if (!(value instanceof NativeArray)) refuseValue(where, argument, "a Tensor", value);
}
