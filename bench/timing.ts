import { Bench } from "tinybench";
import { Graph } from "../lib/tensor/graph.js";
import type { Device, NativeArray } from "../lib/tensor/tensor.js";

export interface Timing {
  /** Milliseconds. */
  readonly best: number;
  readonly median: number;
  readonly runs: number;
}

interface TimingOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long to measure at least; default 700. */
  readonly milliseconds?: number;
  /** How many calls to measure at least; default 5. */
  readonly runs?: number;
}

/**
 * Times an asynchronous function that waits for its own work. `run(i)` receives a running number, so that it can rotate
 * through copies of its operands: reading what a cache still holds from the previous call says nothing about memory.
 */
export async function time(run: (i: number) => Promise<unknown>, options: TimingOptions = {}): Promise<Timing> {
  const { milliseconds = 700, runs = 5 } = options;
  let i = 0;
  const bench = new Bench({
    time: milliseconds,
    iterations: runs,
    warmup: true,
    warmupIterations: 2,
    warmupTime: 0,
    throws: true,
  });
  bench.add("operation", async () => {
    options.signal?.throwIfAborted();
    await run(i++);
  });
  const [task] = await bench.run();
  const result = task?.result;
  if (!result || !("latency" in result)) throw new Error("the benchmark did not complete");
  return { best: result.latency.min, median: result.latency.p50, runs: result.latency.samplesCount };
}

/**
 * Times an operation on a device: on a CPU call by call; on a GPU in a graph of so many calls that launching and waiting
 * become negligible.
 * @param run queues the operation once and returns one of its outputs; `i` as in `time`
 * @throws {CaracalError} whatever the operation throws, or reports through its output
 */
export async function timeOperation(
  device: Device,
  run: (i: number) => NativeArray,
  options: TimingOptions = {},
): Promise<Timing> {
  using first = device.scope(() => run(0));
  await first.ready();
  if (device.backend === "cuda") return await timeInGraph(device, run, options);
  const call = async (i: number) => {
    device.scope(() => void run(i));
    await device.synchronize();
  };
  return await time(call, options);
}

/** Waiting for a graph takes tens of microseconds: one that runs this long makes that negligible. */
const graphMilliseconds = 10;

async function timeInGraph(device: Device, run: (i: number) => NativeArray, options: TimingOptions): Promise<Timing> {
  const inGraphOf = async (calls: number, limits: TimingOptions): Promise<Timing> => {
    using graph = Graph.capture(device, () => {
      for (let i = 0; i < calls; i++) run(i);
    });
    const replay = async () => {
      graph.replay();
      await device.synchronize();
    };
    const { best, median, runs } = await time(replay, limits);
    return { best: best / calls, median: median / calls, runs: runs * calls };
  };
  const { best } = await inGraphOf(1, { ...options, milliseconds: 0, runs: 3 });
  return await inGraphOf(Math.max(1, Math.min(500, Math.ceil(graphMilliseconds / best))), options);
}
