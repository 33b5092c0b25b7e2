import { Bench } from "tinybench";

export interface Timing {
  /** Milliseconds. */
  readonly best: number;
  readonly median: number;
  readonly runs: number;
}

/**
 * Times an asynchronous function that waits for its own work. `run(i)` gets a running number, so that it can rotate
 * through copies of its weights: what a cache still holds from the last run is no measurement of memory.
 */
export async function time(
  run: (i: number) => Promise<unknown>,
  options: { signal?: AbortSignal | undefined; milliseconds?: number; runs?: number } = {},
): Promise<Timing> {
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
