import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Device } from "../../lib/tensor/tensor.js";

setFlagsFromString("--expose-gc");
const collect = () => (runInNewContext("gc") as () => void)();

/** Bytes of JavaScript objects that are in use. */
export async function usedHeap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20)); // for finalizers, which may let go of more
  }
  return process.memoryUsage().heapUsed;
}

/** The bytes in use once the queue is empty and the garbage of earlier tests is collected. */
export async function settledMemory(device: Device): Promise<number> {
  collect();
  await new Promise((resolve) => setTimeout(resolve, 20)); // for finalizers and pending events
  await device.synchronize(); // a job releases its tensors just after it has answered
  return device.memory.inUse;
}
