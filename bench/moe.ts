import type { Cell } from "../lib/cli/table.js";
import { CaracalError } from "../lib/errors.js";
import { groupedGemm, packWeights } from "../lib/ops/index.js";
import { type Device, disposeAll } from "../lib/tensor/tensor.js";
import { defineCase, integers, random, type Work } from "./case.js";
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
import { machinePeaks } from "./peaks.js";
import { timeOperation } from "./timing.js";

export interface MoeBenchOptions {
  readonly cp: readonly number[];
  readonly ep: readonly number[];
  /** Sequence length in tokens. */
  readonly sequence: number;
  /** Divides the hidden sizes and the sequence length, so that the sweep fits a laptop. */
  readonly scale: number;
  readonly routing: RoutingKind;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
}

export interface MoeResult extends Layout {
  readonly gemm: "FC1" | "FC2";
  readonly routing: RoutingKind;
  readonly maxRows: number;
  readonly milliseconds: number;
  readonly gflops: number;
  /** Share of the device's measured arithmetic peak: the report's MFU with this device's denominator. */
  readonly mfu: number;
  /** Lower bound of the time by the device's measured peaks of arithmetic and memory. */
  readonly rooflineMilliseconds: number;
  readonly ofRoofline: number;
  /** The report's MFU, on its GPUs. */
  readonly reportedMfu?: number | undefined;
}

/**
 * Times the grouped GEMMs that one rank of each CP × EP layout runs: FC1 (gate and up fused, `[rows, D] → [rows, 2F]`)
 * and FC2 (down, `[rows, F] → [rows, D]`), with bf16 weights.
 * @throws {CaracalError} `INVALID_ARGUMENT` when a layout does not divide the experts or the tokens
 */
export async function* benchMoe(device: Device, options: MoeBenchOptions): AsyncGenerator<MoeResult> {
  for (const rank of sweep(options)) {
    options.signal?.throwIfAborted();
    const { gemm, layout, counts } = rank;
    yield {
      ...layout,
      gemm,
      routing: options.routing,
      maxRows: Math.max(...counts),
      ...(await measure(device, rank, options.signal)),
      reportedMfu: reported(layout.cp, layout.ep, gemm, options.sequence),
    };
  }
}

/** A grouped GEMM of one rank. */
interface RankGemm {
  readonly gemm: "FC1" | "FC2";
  readonly layout: Layout;
  /** Rows of each of its experts. */
  readonly counts: readonly number[];
  readonly sizes: MoeSizes;
}

function* sweep({ cp, ep, sequence, scale, routing, seed }: MoeBenchOptions): Generator<RankGemm> {
  const sizes: MoeSizes = {
    ...longcatMoe,
    hidden: longcatMoe.hidden / scale,
    expertHidden: longcatMoe.expertHidden / scale,
  };
  for (const c of cp) for (const e of ep) checkLayout(c, e, sequence, scale, sizes);
  for (const c of cp)
    for (const e of ep) {
      const l = layout(c, e, sequence / scale, sizes);
      const counts = rowsPerExpert(l, routing, seed);
      for (const gemm of ["FC1", "FC2"] as const) yield { gemm, layout: l, counts, sizes };
    }
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

function prepare(device: Device, rank: RankGemm) {
  const [k, n] = matrixOf(rank);
  const offsets = [0];
  for (const count of rank.counts) offsets.push(offsets.at(-1)! + count);
  return {
    x: random(device, [rowsOf(rank), k], "bf16"),
    w: device.scope(() => packWeights(rank.counts.map(() => random(device, [n, k], "bf16")))),
    offsets: integers(device, offsets, [offsets.length]),
  };
}

export interface MoeCounted extends CountedOp {
  readonly layout: Layout;
  readonly gemm: "FC1" | "FC2";
  readonly maxRows: number;
}

/**
 * Counts the same GEMMs on the virtual GPU, whose times mean nothing, and bounds their times on real GPUs.
 * @throws {CaracalError} `INVALID_ARGUMENT` as in `benchMoe`
 */
export async function* countMoe(counting: CountingDevice, options: MoeBenchOptions): AsyncGenerator<MoeCounted> {
  for (const rank of sweep(options)) {
    options.signal?.throwIfAborted();
    const { gemm, layout, counts } = rank;
    const counted = await count(
      counting,
      defineCase({
        op: "groupedGemm",
        size: `CP ${layout.cp} EP ${layout.ep} ${gemm}`,
        unit: "matrix",
        work: workOf(rank),
        prepare: (device) => prepare(device, rank),
        run: ({ x, w, offsets }) => groupedGemm(x, w, offsets),
      }),
    );
    yield { ...counted, layout, gemm, maxRows: Math.max(...counts) };
  }
}

function checkLayout(cp: number, ep: number, sequence: number, scale: number, sizes: MoeSizes): void {
  const whole = (n: number) => Number.isInteger(n) && n > 0;
  if (!whole(sizes.experts / ep))
    throw new CaracalError("INVALID_ARGUMENT", `EP ${ep} does not divide the ${sizes.experts} experts`, { ep });
  if (!whole(sequence / cp / scale))
    throw new CaracalError("INVALID_ARGUMENT", `CP ${cp} × scale ${scale} does not divide ${sequence} tokens`, { cp });
  if (!whole(sizes.hidden) || !whole(sizes.expertHidden))
    throw new CaracalError("INVALID_ARGUMENT", `scale ${scale} does not divide the hidden sizes 6144 and 2048`, {
      scale,
    });
}

async function measure(
  device: Device,
  rank: RankGemm,
  signal: AbortSignal | undefined,
): Promise<Pick<MoeResult, "milliseconds" | "gflops" | "mfu" | "rooflineMilliseconds" | "ofRoofline">> {
  const { flops, bytes } = workOf(rank);
  const { x, w, offsets } = device.scope(() => prepare(device, rank));
  try {
    const peaks = await machinePeaks(device);
    const limits = { signal, milliseconds: 300, runs: 2 };
    const { best } = await timeOperation(device, () => groupedGemm(x, w, offsets), limits);
    const gflops = flops / best / 1e6;
    const roofline = Math.max(flops / (peaks.matrixGflops * 1e6), bytes / (peaks.readGBps * 1e6));
    return {
      milliseconds: best,
      gflops,
      mfu: gflops / peaks.matrixGflops,
      rooflineMilliseconds: roofline,
      ofRoofline: roofline / best,
    };
  } finally {
    disposeAll([x, w, offsets]);
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
  "GFLOP/s",
  "MFU",
  "roofline ms",
  "of roofline",
  "report's MFU",
];

export const moeRow = (r: MoeResult): Cell[] => [
  r.cp,
  r.ep,
  r.gemm,
  r.localExperts,
  Math.round(r.rowsPerExpert * 100) / 100,
  r.maxRows,
  r.milliseconds,
  r.gflops,
  r.mfu,
  r.rooflineMilliseconds,
  r.ofRoofline,
  r.reportedMfu,
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
