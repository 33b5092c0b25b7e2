import type { Cell } from "../lib/cli/table.js";
import { type Device, disposeAll } from "../lib/tensor/tensor.js";
import { type Case, coldCopies } from "./case.js";
import { catalogue } from "./cases/index.js";
import { type LimitName, limitOf } from "./limits.js";
import type { MachinePeaks, PeakMeter } from "./peaks.js";
import type { Peer } from "./peers.js";
import { type Timing, time, timeOperation } from "./timing.js";

/** A timed case. */
export interface OpTiming {
  readonly case: Case;
  readonly time: Timing;
  readonly peer?: Timing | undefined;
}

export interface OpResult {
  readonly op: string;
  readonly size: string;
  readonly time: Timing;
  /** Absent for an operation that only moves data. */
  readonly gflops?: number;
  /** All bytes of the operation per second, wherever they lie. */
  readonly gbps: number;
  /** The limit that binds. */
  readonly limit: LimitName;
  /** The share of that limit that was reached: the limit's time ÷ the best time. Absent for operands in a cache. */
  readonly ofLimit?: number;
  readonly peer?: Timing;
  /** The peer's best time ÷ ours. */
  readonly ratio?: number;
}

/** The dtype of the activations that are timed on a device. */
export const activationsOn = ({ backend }: Device): "f32" | "bf16" => (backend === "cuda" ? "bf16" : "f32");

/** The cases that are timed on a device: on a CPU all but wholes that would take it minutes. */
export const timedCases = (device: Device): Case[] =>
  catalogue(activationsOn(device)).filter((c) => device.backend === "cuda" || !c.part);

/** Times cases. The peaks are measured before the cases of each operation, and at the end. */
export async function* timeOps(
  device: Device,
  cases: readonly Case[],
  options: { meter: PeakMeter; peer?: Peer | undefined; signal?: AbortSignal | undefined },
): AsyncGenerator<OpTiming> {
  const { meter, peer, signal } = options;
  let measuredFor: string | undefined;
  for (const c of cases) {
    signal?.throwIfAborted();
    if (c.op !== measuredFor) await meter.measure();
    measuredFor = c.op;
    yield { case: c, time: await timeOurs(device, c, signal), peer: peer && (await timePeer(peer, c, signal)) };
  }
  await meter.measure();
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

/** A timing beside the limits that the peaks set. */
export function opResult({ case: c, time, peer }: OpTiming, peaks: MachinePeaks): OpResult {
  const { flops, bytes } = c.work;
  const { limit, milliseconds } = limitOf(c, peaks);
  return {
    op: c.op,
    size: c.size,
    time,
    ...(flops === undefined ? {} : { gflops: flops / time.best / 1e6 }),
    gbps: bytes / time.best / 1e6,
    limit,
    ...(milliseconds === undefined ? {} : { ofLimit: milliseconds / time.best }),
    ...(peer ? { peer, ratio: peer.best / time.best } : {}),
  };
}

export const opHeader = [
  "operation",
  "size",
  "ms",
  "median",
  "GFLOP/s",
  "GB/s",
  "limit",
  "of limit",
  "peer ms",
  "× peer",
];

export const opRow = (r: OpResult): Cell[] => [
  r.op,
  r.size,
  r.time.best,
  r.time.median,
  r.gflops,
  r.gbps,
  r.limit,
  r.ofLimit === undefined ? undefined : `${(100 * r.ofLimit).toFixed(0)} %`,
  r.peer?.best,
  r.ratio,
];
