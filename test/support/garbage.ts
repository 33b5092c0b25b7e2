import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Device } from "../../lib/tensor/tensor.js";

setFlagsFromString("--expose-gc");

/** The bytes in use once the queue is empty and the garbage of earlier tests is collected. */
export async function settledMemory(device: Device): Promise<number> {
  (runInNewContext("gc") as () => void)();
  await new Promise((resolve) => setTimeout(resolve, 20)); // for finalizers and pending events
  await device.synchronize(); // a job releases its tensors just after it has answered
  return device.memory.inUse;
}
