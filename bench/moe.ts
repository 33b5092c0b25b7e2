import type { Cell } from "../lib/cli/table.js";
import { CaracalError } from "../lib/errors.js";
import { groupedGemm, packWeights } from "../lib/ops/index.js";
import { type Device, disposeAll } from "../lib/tensor/tensor.js";
import { coldCopies, defineCase, integers, random, times, turn, type Work } from "./case.js";
import { type CountedOp, count } from "./counters/count.js";
import type { CountingDevice } from "./counters/device.js";
import { boundsCells, boundsHeader } from "./counters/tables.js";
import {
  type Layout,
  layout,
  longcatMoe,
  type MoeSizes,
  type RoutingKind,
  reported,
  rowsPerExpert,
} from "./layouts.js";
import { limitOf } from "./limits.js";
import type { MachinePeaks, PeakMeter } from "./peaks.js";
import { type Timing, timeOperation } from "./timing.js";

/** What `caracal bench moe` is asked for, by the names of its options. */
export interface SweepOptions {
  readonly cp: readonly number[];
  readonly ep: readonly number[];
  /** Sequence length in tokens. */
  readonly seq: number;
  /** Divides the hidden sizes and the sequence length, so that the sweep fits a laptop. */
  readonly scale: number;
  readonly routing: RoutingKind;
  readonly seed: number;
}

/** A grouped GEMM of one rank: FC1 (gate and up fused, `[rows, D] → [rows, 2F]`) or FC2 (down, `[rows, F] → [rows, D]`). */
export interface RankGemm {
  readonly gemm: "FC1" | "FC2";
  readonly layout: Layout;
  /** Rows of each of its experts. */
  readonly counts: readonly number[];
  readonly sizes: MoeSizes;
}

export interface Sweep {
  readonly options: SweepOptions;
  /** Sizes that are measured. */
  readonly sizes: MoeSizes;
  readonly gemms: readonly RankGemm[];
  /** Layouts of the grid that cannot exist, and why. */
  readonly leftOut: readonly string[];
}

/**
 * The grouped GEMMs of the layouts of a grid.
 * @throws {CaracalError} `INVALID_ARGUMENT` when experts, tokens or hidden sizes cannot be divided, or no layout is left
 */
export function planSweep(options: SweepOptions): Sweep {
  const { cp, ep, seq, scale, routing, seed } = options;
  checkDivisions(options);
  const sizes: MoeSizes = {
    ...longcatMoe,
    hidden: longcatMoe.hidden / scale,
    expertHidden: longcatMoe.expertHidden / scale,
  };
  const grid = cp.flatMap((c) => ep.map((e) => layout(c, e, seq / scale, sizes)));
  const exists = (l: Layout) => l.ep % l.cp === 0;
  const leftOut = grid
    .filter((l) => !exists(l))
    .map(
      (l) => `CP ${l.cp} EP ${l.ep}: an EP group would hold ${l.ep}/${l.cp} of a sequence, and must hold whole ones`,
    );
  const gemms = grid.filter(exists).flatMap((l) => {
    const counts = rowsPerExpert(l, routing, seed);
    return (["FC1", "FC2"] as const).map((gemm): RankGemm => ({ gemm, layout: l, counts, sizes }));
  });
  if (gemms.length > 0) return { options, sizes, gemms, leftOut };
  throw new CaracalError(
    "INVALID_ARGUMENT",
    `no layout can exist: ${leftOut.join("; ")}. Choose --ep as multiples of --cp`,
  );
}

function checkDivisions({ cp, ep, seq, scale }: SweepOptions): void {
  const { experts, hidden, expertHidden } = longcatMoe;
  const refuse = (message: string): never => {
    throw new CaracalError("INVALID_ARGUMENT", message, { cp, ep, seq, scale });
  };
  for (const e of ep)
    if (experts % e !== 0) refuse(`--ep ${e}: the ${experts} experts cannot be divided among ${e} ranks`);
  if (hidden % scale !== 0 || expertHidden % scale !== 0)
    refuse(`--scale ${scale} does not divide the hidden sizes ${hidden} and ${expertHidden}: choose 1, 2, 4, 8, …`);
  for (const c of cp)
    if (seq % (c * scale) !== 0)
      refuse(
        `--seq ${seq} must be a multiple of ${c * scale}, CP ${c} × scale ${scale}` +
          (scale === 1 ? "" : ": choose such a length, or --scale 1 (8 is the default)"),
      );
}

export interface MoeTiming {
  readonly rank: RankGemm;
  readonly time: Timing;
}

export interface MoeResult extends Layout {
  readonly gemm: "FC1" | "FC2";
  readonly maxRows: number;
  readonly time: Timing;
  readonly gflops: number;
  /** Share of the device's measured arithmetic peak: the report's MFU with this device's denominator. */
  readonly mfu: number;
  /** Lower bound of the time by the device's measured peaks of arithmetic and memory. */
  readonly rooflineMilliseconds: number;
  readonly ofRoofline: number;
  /** What the report shows for this layout, on its GPUs and at full size. */
  readonly reported?: { readonly mfu: number; readonly rowsPerExpert: number };
}

/**
 * Times grouped GEMMs with bf16 weights, whose operands a timed call does not find in a cache, as in a model between
 * layers. The peaks are measured before each layout and at the end.
 */
export async function* timeMoe(
  device: Device,
  { gemms }: Sweep,
  { meter, signal }: { meter: PeakMeter; signal?: AbortSignal | undefined },
): AsyncGenerator<MoeTiming> {
  for (const rank of gemms) {
    signal?.throwIfAborted();
    if (rank.gemm === "FC1") await meter.measure();
    const copies = coldCopies(workOf(rank).bytes);
    const { operands, offsets } = device.scope(() => prepare(device, rank, copies));
    const call = (i: number) => {
      const { x, w } = turn(operands, i);
      return groupedGemm(x, w, offsets);
    };
    try {
      yield { rank, time: await timeOperation(device, call, { signal, runs: 3 }) };
    } finally {
      disposeAll([operands, offsets]);
    }
  }
  await meter.measure();
}

/** A timing beside the limits that the peaks set. */
export function moeResult({ rank, time }: MoeTiming, { options }: Sweep, peaks: MachinePeaks): MoeResult {
  const { gemm, layout: l, counts } = rank;
  const work = workOf(rank);
  const gflops = work.flops / time.best / 1e6;
  const roofline = limitOf({ unit: "matrix", work, coldBytes: work.bytes }, peaks).milliseconds!;
  const mfu = reported(l.cp, l.ep, gemm, options.seq);
  return {
    ...l,
    gemm,
    maxRows: Math.max(...counts),
    time,
    gflops,
    mfu: gflops / peaks.matrixGflops.best,
    rooflineMilliseconds: roofline,
    ofRoofline: roofline / time.best,
    ...(mfu === undefined ? {} : { reported: { mfu, rowsPerExpert: l.rowsPerExpert * options.scale } }),
  };
}

/** [inputs, outputs] of an expert's matrix. */
const matrixOf = ({ gemm, sizes }: RankGemm): [number, number] =>
  gemm === "FC1" ? [sizes.hidden, 2 * sizes.expertHidden] : [sizes.expertHidden, sizes.hidden];

const rowsOf = ({ counts }: RankGemm): number => counts.reduce((a, b) => a + b, 0);

/** An expert without rows is not read. */
function workOf(rank: RankGemm): Required<Work> {
  const [k, n] = matrixOf(rank);
  const rows = rowsOf(rank);
  const activeExperts = rank.counts.filter((count) => count > 0).length;
  return { flops: 2 * rows * n * k, bytes: 2 * (activeExperts * n * k + rows * (k + n)) };
}

/** All experts of a copy have the values of one matrix, which takes no longer and no less to multiply. */
function prepare(device: Device, rank: RankGemm, copies: number) {
  const [k, n] = matrixOf(rank);
  const offsets = [0];
  for (const count of rank.counts) offsets.push(offsets.at(-1)! + count);
  const matrix = random(device, [n, k], "bf16");
  return {
    operands: times(copies, () => ({
      x: random(device, [rowsOf(rank), k], "bf16"),
      w: packWeights(rank.counts.map(() => matrix)),
    })),
    offsets: integers(device, offsets, [offsets.length]),
  };
}

export interface MoeCounted extends CountedOp {
  readonly layout: Layout;
  readonly gemm: "FC1" | "FC2";
  readonly maxRows: number;
}

/** Counts the same GEMMs on the virtual GPU, whose times mean nothing, and bounds their times on real GPUs. */
export async function* countMoe(
  counting: CountingDevice,
  { gemms }: Sweep,
  signal?: AbortSignal,
): AsyncGenerator<MoeCounted> {
  for (const rank of gemms) {
    signal?.throwIfAborted();
    const { gemm, layout, counts } = rank;
    const counted = await count(
      counting,
      defineCase({
        op: "groupedGemm",
        size: `CP ${layout.cp} EP ${layout.ep} ${gemm}`,
        unit: "matrix",
        work: workOf(rank),
        prepare: (device) => prepare(device, rank, 1),
        run: ({ operands, offsets }) => groupedGemm(operands[0]!.x, operands[0]!.w, offsets),
      }),
    );
    yield { ...counted, layout, gemm, maxRows: Math.max(...counts) };
  }
}

export const moeHeader = [
  "CP",
  "EP",
  "GEMM",
  "experts",
  "rows/expert",
  "max",
  "ms",
  "median",
  "GFLOP/s",
  "MFU",
  "roofline ms",
  "of roofline",
  "report's rows/expert",
  "report's MFU",
];

export const moeRow = (r: MoeResult): Cell[] => [
  r.cp,
  r.ep,
  r.gemm,
  r.localExperts,
  Math.round(r.rowsPerExpert * 100) / 100,
  r.maxRows,
  r.time.best,
  r.time.median,
  r.gflops,
  r.mfu,
  r.rooflineMilliseconds,
  r.ofRoofline,
  r.reported?.rowsPerExpert,
  r.reported?.mfu,
];

export const countedMoeHeader = [
  "CP",
  "EP",
  "GEMM",
  "experts",
  "rows/expert",
  "max",
  "traffic",
  "again",
  "tensor waste",
  "per mma",
  ...boundsHeader,
];

export const countedMoeRow = (r: MoeCounted): Cell[] => [
  r.layout.cp,
  r.layout.ep,
  r.gemm,
  r.layout.localExperts,
  r.layout.rowsPerExpert,
  r.maxRows,
  r.traffic,
  r.again,
  r.tensorWaste,
  r.perTensor,
  ...boundsCells(r),
];
