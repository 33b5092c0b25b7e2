// How long JavaScript takes to queue work: CPU time of the main thread, on which nothing else runs meanwhile. The device
// is kept busy, as it is while a model runs, so that no call has to wake its queue.
import { readFileSync } from "node:fs";
import type { Cell } from "../lib/cli/table.js";
import { CaracalError } from "../lib/errors.js";
import { Llm } from "../lib/model/language/llm.js";
import { add, linear, packWeight, rmsNorm } from "../lib/ops/index.js";
import { type Device, disposeAll } from "../lib/tensor/tensor.js";
import { random, values } from "./case.js";

/** Microseconds of the main thread. */
export interface Spread {
  readonly best: number;
  readonly median: number;
  readonly worst: number;
}

export interface OverheadResult {
  readonly work: string;
  /** Queueing it. */
  readonly queue: Spread;
  /** Disposing the tensors that it made. */
  readonly dispose: Spread;
}

interface OverheadOptions {
  /** A model directory whose decoding steps are measured as well. */
  readonly model?: string | undefined;
  /** How often each call is measured, 500 at a time; default 50. */
  readonly rounds?: number;
  /** How many decoding steps are measured; default 400. V8 compiles their code during the first hundred. */
  readonly steps?: number;
  readonly signal?: AbortSignal | undefined;
}

const callsPerRound = 500;
const batches = [1, 8];
const blockSize = 64; // of the KV cache, in tokens

/** The number of results of `measureOverhead`. */
export const overheadResults = ({ model }: OverheadOptions): number => calls.length + (model ? 2 * batches.length : 0);

/**
 * Measures the calls, then decoding steps that are queued operation by operation and steps that are replayed.
 * @throws {CaracalError} `UNSUPPORTED` when the system does not count the time of threads; whatever `Llm.open` throws
 */
export async function* measureOverhead(device: Device, options: OverheadOptions): AsyncGenerator<OverheadResult> {
  const { rounds = 50, steps = 400 } = options;
  const operands = device.scope(() => makeOperands(device));
  for (const [work, run] of calls) {
    options.signal?.throwIfAborted();
    const queue = () => {
      for (let i = 0; i < callsPerRound; i++) run(operands);
    };
    yield { work, ...(await measure(device, queue, { rounds, calls: callsPerRound, busy: operands })) };
  }
  disposeAll(operands);
  for (const decodeGraphs of options.model ? [false, true] : []) {
    using llm = await Llm.open(options.model!, {
      device,
      decodeGraphs,
      kvCacheTokens: Math.max(...batches) * (steps + blockSize),
    });
    for (const batch of batches) {
      options.signal?.throwIfAborted();
      const work = `decoding step, batch ${batch}, ${decodeGraphs ? "replayed" : "queued"}`;
      yield { work, ...(await measureSteps(llm, batch, steps)) };
    }
  }
}

/** Steps of sequences from their first token on. */
async function measureSteps(llm: Llm, batch: number, steps: number) {
  const { device } = llm;
  const sequences = Array.from({ length: batch }, () => llm.cache.sequence());
  using x = random(device, [batch, llm.config.hidden_size], llm.activations);
  try {
    return await measure(device, () => void llm.decode(sequences, x), { rounds: steps, calls: 1 });
  } finally {
    for (const sequence of sequences) sequence.dispose();
  }
}

type Operands = ReturnType<typeof makeOperands>;

function makeOperands(device: Device) {
  const [rows, columns] = [1, 64];
  return {
    x: random(device, [rows, columns], "f32"),
    w: packWeight(random(device, [columns, columns], "f32")),
    norm: random(device, [columns], "f32"),
    ids: Int32Array.from(values(4)),
    busyX: random(device, [128, 2048], "f32"),
    busyW: packWeight(random(device, [2048, 2048], "f32")),
  };
}

const calls: readonly (readonly [work: string, run: (operands: Operands) => unknown])[] = [
  ["add", ({ x }) => add(x, x)],
  ["rmsNorm", ({ x, norm }) => rmsNorm(x, norm, { eps: 1e-5 })],
  ["linear", ({ x, w }) => linear(x, w)],
  ["linear with residual", ({ x, w }) => linear(x, w, { residual: x, outDtype: "f32" })],
  ["reshape", ({ x }) => x.reshape([8, 8])],
  ["tensor of 4 i32", ({ x, ids }) => x.device.tensor(ids, [4], "i32")],
];

interface Amount {
  readonly rounds: number;
  /** Calls of each round. */
  readonly calls: number;
  /** What keeps the device busy, if `queue` is short. */
  readonly busy?: Operands;
}

async function measure(device: Device, queue: () => void, { rounds, calls, busy }: Amount) {
  const queueing: number[] = [];
  const disposing: number[] = [];
  const nothing = spread(Array.from({ length: rounds }, () => -threadMicroseconds() + threadMicroseconds())).best;
  for (let i = 0; i < rounds; i++) {
    let [start, end] = [0, 0];
    device.scope(() => {
      if (busy) linear(busy.busyX, busy.busyW);
      start = threadMicroseconds();
      queue();
      end = threadMicroseconds();
    });
    queueing.push((end - start - nothing) / calls);
    disposing.push((threadMicroseconds() - end - nothing) / calls);
    await device.synchronize();
  }
  return { queue: spread(queueing), dispose: spread(disposing) };
}

function spread(all: readonly number[]): Spread {
  const sorted = all.toSorted((a, b) => a - b);
  return { best: sorted[0]!, median: sorted[sorted.length >> 1]!, worst: sorted.at(-1)! };
}

const clock = new Int32Array(new SharedArrayBuffer(4));

/** CPU time of this thread. The system counts it when the thread leaves a processor, so this waits for a moment. */
function threadMicroseconds(): number {
  Atomics.wait(clock, 0, 0, 0.2);
  const [nanoseconds] = readFileSync("/proc/thread-self/schedstat", "utf8").split(" ");
  if (Number(nanoseconds) > 0) return Number(nanoseconds) / 1000;
  throw new CaracalError(
    "UNSUPPORTED",
    "this system does not count the time of threads in /proc/thread-self/schedstat",
  );
}

export const overheadHeader = ["work", "queue µs", "median", "worst", "dispose µs", "median"];

export const overheadRow = ({ work, queue, dispose }: OverheadResult): Cell[] => [
  work,
  queue.best,
  queue.median,
  queue.worst,
  dispose.best,
  dispose.median,
];
