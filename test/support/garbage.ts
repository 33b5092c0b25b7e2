import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");

/** Runs the garbage collector, and lets the finalizers of what it found run. */
export async function collectGarbage(): Promise<void> {
  (runInNewContext("gc") as () => void)();
  await new Promise((resolve) => setTimeout(resolve, 10));
}
