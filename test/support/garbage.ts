import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Device } from "../../lib/tensor/device.js";

setFlagsFromString("--expose-gc");

/** Bytes in use once the queue is done and what earlier tests forgot is collected. */
export async function settledMemory(device: Device): Promise<number> {
  (runInNewContext("gc") as () => void)();
  await new Promise((resolve) => setTimeout(resolve, 20)); // finalizers, and events that were on their way
  await device.synchronize(); // a job lets go of its tensors just after it has answered
  return device.memory.inUse;
}
