import { addon } from "../../lib/native/addon.js";
import { Device } from "../../lib/tensor/device.js";
import { isas } from "./numbers.js";

/** One device for every instruction set of this machine, to run a test on each. */
export const devices: readonly Device[] = await Promise.all(
  isas(addon().bestIsa).map((isa) => Device.open({ backend: "cpu", threads: 2, isa })),
);
