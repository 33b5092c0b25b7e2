import type { OptionRule } from "../options.js";
import { Device } from "./tensor.js";

/** @internal Takes a device. */
export const deviceRule: OptionRule = {
  accepts: (value) => value instanceof Device,
  expected: "a Device, as Device.open() gives",
};
