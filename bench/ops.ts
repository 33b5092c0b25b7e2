import type { Cell } from "../lib/cli/table.js";
import { type Device, disposeAll } from "../lib/tensor/tensor.js";
import { type Case, coldCopies, nameOf } from "./case.js";
import { catalogue } from "./cases/index.js";
import { type MachinePeaks, machinePeaks } from "./peaks.js";
import type { Peer } from "./peers.js";
import { type Timing, time, timeOperation } from "./timing.js";

export interface OpResult {
  readonly op: string;
  readonly size: string;
  readonly time: Timing;
  /** Absent for an operation that only moves data. */
  readonly gflops?: number;
  readonly gbps: number;
  /** The limit that binds, and the share of it that was reached: the limit's time ÷ the best time. */
  readonly limit: "FMA" | "matrix" | "read";
  readonly ofLimit: number;
  readonly peer?: Timing;
  /** The peer's best time ÷ ours. */
  readonly ratio?: number;
}

/** The dtype of the activations that are timed on a device. */
export const activationsOn = ({ backend }: Device): "f32" | "bf16" => (backend === "cuda" ? "bf16" : "f32");

/** The cases that are timed on a device: on a CPU all but wholes that would take it minutes. */
export const timedCases = (device: Device): Case[] =>
  catalogue(activationsOn(device)).filter((c) => device.backend === "cuda" || !c.part);

/**
 * Times the cases whose name matches `filter`. The device's peaks are measured again before the cases of each operation,
 * since a shared machine's bandwidth changes from minute to minute.
 */
export async function* benchOps(
  device: Device,
  options: { filter?: RegExp; peer?: Peer | undefined; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<OpResult> {
  const { filter = /./, peer, signal } = options;
  let peaks: MachinePeaks | undefined;
  let measuredFor = "";
  for (const c of timedCases(device).filter((c) => filter.test(nameOf(c)))) {
    signal?.throwIfAborted();
    if (!peaks || c.op !== measuredFor) peaks = await machinePeaks(device);
    measuredFor = c.op;
    yield result(c, peaks, await timeOurs(device, c, signal), peer && (await timePeer(peer, c, signal)));
  }
}

async function timeOurs(device: Device, c: Case, signal: AbortSignal | undefined): Promise<Timing> {
  const operands = device.scope(() => c.prepare(device, coldCopies(c.coldBytes)));
  try {
    return await timeOperation(device, (i) => c.run(operands, i), { signal });
  } finally {
    disposeAll(operands);
  }
}

/** Sessions take turns, so that the peer's weights are as cold as ours. */
async function timePeer(peer: Peer, c: Case, signal: AbortSignal | undefined): Promise<Timing | undefined> {
  const model = c.peer?.();
  if (!model) return undefined;
  const weightBytes = Object.values(model.constants).reduce((bytes, t) => bytes + t.values.byteLength, 0);
  const sessions: (() => Promise<void>)[] = [];
  for (let i = 0; i < coldCopies(c.coldBytes && weightBytes); i++) {
    const run = await peer.prepare(model);
    if (!run) return undefined;
    sessions.push(run);
  }
  return time((i) => sessions[i % sessions.length]!(), { signal });
}

function result(c: Case, peaks: MachinePeaks, ours: Timing, peer: Timing | undefined): OpResult {
  const { flops, bytes } = c.work;
  return {
    op: c.op,
    size: c.size,
    time: ours,
    ...(flops === undefined ? {} : { gflops: flops / ours.best / 1e6 }),
    gbps: bytes / ours.best / 1e6,
    ...limitOf(c, peaks, ours.best),
    ...(peer ? { peer, ratio: peer.best / ours.best } : {}),
  };
}

function limitOf({ unit, work }: Case, peaks: MachinePeaks, best: number): Pick<OpResult, "limit" | "ofLimit"> {
  const compute = (work.flops ?? 0) / ((unit === "matrix" ? peaks.matrixGflops : peaks.gflops) * 1e6);
  const memory = work.bytes / (peaks.readGBps * 1e6);
  const arithmetic = unit === "matrix" ? "matrix" : "FMA";
  return { limit: memory >= compute ? "read" : arithmetic, ofLimit: Math.max(compute, memory) / best };
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
