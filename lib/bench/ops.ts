import { type MachinePeaks, machinePeaks } from "../ops/machine.js";
import { type Device, disposeAll } from "../tensor/device.js";
import type { OpCase } from "./case.js";
import { attentionCases } from "./cases/attention.js";
import { audioCases } from "./cases/audio.js";
import { linearCases } from "./cases/linear.js";
import { moeCases } from "./cases/moe.js";
import { normCases } from "./cases/norm.js";
import type { Peer } from "./peers.js";
import type { Cell } from "./table.js";
import { type Timing, time } from "./timing.js";

export interface OpResult {
  readonly op: string;
  readonly size: string;
  readonly time: Timing;
  readonly gflops: number;
  readonly gbps: number;
  /** Which limit binds, and the share of it that was reached: limit ÷ best time. Where the device's peaks are measured. */
  readonly limit?: "FMA" | "read";
  readonly ofLimit?: number;
  readonly peer?: Timing;
  /** Peer's best time ÷ ours. */
  readonly ratio?: number;
}

/** Every operation that has a benchmark, at the model's sizes and at a small one. */
export const opCases = (): OpCase[] => [
  ...linearCases(),
  ...moeCases(),
  ...attentionCases(),
  ...audioCases(),
  ...normCases(),
];

/**
 * Measures the cases whose `op size` matches `filter`. The machine's peaks are taken before each operation's cases,
 * since a shared machine's bandwidth changes from minute to minute.
 */
export async function* benchOps(
  device: Device,
  options: { filter?: RegExp; peer?: Peer | undefined; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<OpResult> {
  const { filter = /./, peer, signal } = options;
  let peaks: MachinePeaks | undefined;
  let measuredFor = "";
  for (const c of opCases().filter((c) => filter.test(`${c.op} ${c.size}`))) {
    signal?.throwIfAborted();
    if (c.op !== measuredFor) peaks = await peaksOf(device);
    measuredFor = c.op;
    yield result(c, peaks, await timeOurs(device, c, signal), peer && (await timePeer(peer, c, signal)));
  }
}

/** A CPU's peaks, measured now; of a GPU they are not measured. */
export const peaksOf = async (device: Device): Promise<MachinePeaks | undefined> =>
  device.backend === "cpu" ? await machinePeaks(device) : undefined;

async function timeOurs(device: Device, c: OpCase, signal: AbortSignal | undefined): Promise<Timing> {
  const operands = device.scope(() => c.prepare(device));
  try {
    await device.synchronize();
    return await time(
      async (i) => {
        device.scope(() => c.run(operands, i));
        await device.synchronize();
      },
      { signal },
    );
  } finally {
    disposeAll(operands);
  }
}

async function timePeer(peer: Peer, c: OpCase, signal: AbortSignal | undefined): Promise<Timing | undefined> {
  if (!c.peer) return undefined;
  const model = c.peer.model();
  const sessions: (() => Promise<void>)[] = [];
  for (let i = 0; i < c.peer.copies; i++) {
    const run = await peer.prepare(model);
    if (!run) return undefined;
    sessions.push(run);
  }
  return time((i) => sessions[i % sessions.length]!(), { signal });
}

function limitOf(c: OpCase, peaks: MachinePeaks, best: number): Pick<OpResult, "limit" | "ofLimit"> {
  const compute = c.flops / (peaks.gflops * 1e6);
  const memory = c.bytes / (peaks.readGBps * 1e6);
  return { limit: compute > memory ? "FMA" : "read", ofLimit: Math.max(compute, memory) / best };
}

function result(c: OpCase, peaks: MachinePeaks | undefined, ours: Timing, peer: Timing | undefined): OpResult {
  return {
    op: c.op,
    size: c.size,
    time: ours,
    gflops: c.flops / ours.best / 1e6,
    gbps: c.bytes / ours.best / 1e6,
    ...(peaks && limitOf(c, peaks, ours.best)),
    ...(peer ? { peer, ratio: peer.best / ours.best } : {}),
  };
}

export const opHeader = ["operation", "size", "ms", "GFLOP/s", "GB/s", "limit", "of limit", "peer ms", "× peer"];

export const opRow = (r: OpResult): Cell[] => [
  r.op,
  r.size,
  r.time.best,
  r.gflops,
  r.gbps,
  r.limit,
  r.ofLimit === undefined ? undefined : `${(100 * r.ofLimit).toFixed(0)} %`,
  r.peer?.best,
  r.ratio,
];
