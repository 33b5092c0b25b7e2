import type { Activations } from "../ops/call.js";
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
import { type Timing, time, timeOperation } from "./timing.js";

export interface OpResult {
  readonly op: string;
  readonly size: string;
  readonly time: Timing;
  readonly gflops: number;
  readonly gbps: number;
  /** Which limit binds, and the share of it that was reached: limit ÷ best time. */
  readonly limit: "FMA" | "matrix" | "read";
  readonly ofLimit: number;
  readonly peer?: Timing;
  /** Peer's best time ÷ ours. */
  readonly ratio?: number;
}

/** Every operation that has a benchmark, with activations of this dtype, at the model's sizes and at a small one. */
export const opCases = (activations: Activations): OpCase[] => [
  ...linearCases(activations),
  ...moeCases(activations),
  ...attentionCases(activations),
  ...audioCases(activations),
  ...normCases(activations),
];

/**
 * Measures the cases whose `op size` matches `filter`: with f32 activations on a CPU, with bf16 ones on a GPU. The
 * device's peaks are taken before each operation's cases, since a shared machine's bandwidth changes from minute to
 * minute.
 */
export async function* benchOps(
  device: Device,
  options: { filter?: RegExp; peer?: Peer | undefined; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<OpResult> {
  const { filter = /./, peer, signal } = options;
  let peaks: MachinePeaks | undefined;
  let measuredFor = "";
  const cases = opCases(device.backend === "cuda" ? "bf16" : "f32");
  for (const c of cases.filter((c) => filter.test(`${c.op} ${c.size}`))) {
    signal?.throwIfAborted();
    if (!peaks || c.op !== measuredFor) peaks = await machinePeaks(device);
    measuredFor = c.op;
    yield result(c, peaks, await timeOurs(device, c, signal), peer && (await timePeer(peer, c, signal)));
  }
}

async function timeOurs(device: Device, c: OpCase, signal: AbortSignal | undefined): Promise<Timing> {
  const operands = device.scope(() => c.prepare(device));
  try {
    return await timeOperation(device, (i) => c.run(operands, i), { signal });
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
  const compute = c.flops / ((c.matrix ? peaks.matrixGflops : peaks.gflops) * 1e6);
  const memory = c.bytes / (peaks.readGBps * 1e6);
  return { limit: memory >= compute ? "read" : c.matrix ? "matrix" : "FMA", ofLimit: Math.max(compute, memory) / best };
}

function result(c: OpCase, peaks: MachinePeaks, ours: Timing, peer: Timing | undefined): OpResult {
  return {
    op: c.op,
    size: c.size,
    time: ours,
    gflops: c.flops / ours.best / 1e6,
    gbps: c.bytes / ours.best / 1e6,
    ...limitOf(c, peaks, ours.best),
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
  `${(100 * r.ofLimit).toFixed(0)} %`,
  r.peer?.best,
  r.ratio,
];
