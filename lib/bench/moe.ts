import { CaracalError } from "../errors.js";
import { packWeights } from "../ops/linear.js";
import { machinePeaks } from "../ops/machine.js";
import { groupedGemm } from "../ops/moe.js";
import { type Device, disposeAll } from "../tensor/device.js";
import { random } from "./case.js";
import { countedCase } from "./counters/case.js";
import { type CountedOp, type CountingDevice, count } from "./counters/count.js";
import { gpus } from "./counters/gpus.js";
import { type Layout, layout, longcat, type MoeSizes, type RoutingKind, reported, rowsPerExpert } from "./layouts.js";
import type { Cell } from "./table.js";
import { timeOperation } from "./timing.js";

export interface MoeBenchOptions {
  readonly cp: readonly number[];
  readonly ep: readonly number[];
  /** Sequence length in tokens. */
  readonly sequence: number;
  /** Divides the hidden sizes and the sequence, so that the sweep fits a laptop. */
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
  /** Share of the device's measured arithmetic peak (the report's MFU, with this device's denominator). */
  readonly mfu: number;
  /** Time below which neither arithmetic nor memory lets this GEMM fall, by the device's measured peaks. */
  readonly rooflineMilliseconds: number;
  readonly ofRoofline: number;
  /** The report's MFU on its own GPUs. */
  readonly reportedMfu?: number | undefined;
}

/**
 * The grouped GEMMs that one rank of each CP × EP layout runs, measured on this device: FC1 (gate and up fused,
 * `[rows, D] → [rows, 2F]`) and FC2 (down, `[rows, F] → [rows, D]`), bf16 weights.
 * @throws `INVALID_ARGUMENT` for layouts that do not divide the experts or the tokens
 */
export async function* benchMoe(device: Device, options: MoeBenchOptions): AsyncGenerator<MoeResult> {
  for (const { gemm, layout, counts, sizes } of sweep(options)) {
    options.signal?.throwIfAborted();
    const measured = await measure(device, gemm, counts, sizes, options.signal);
    yield {
      ...layout,
      gemm,
      routing: options.routing,
      maxRows: Math.max(...counts),
      ...measured,
      reportedMfu: reported(layout.cp, layout.ep, gemm, options.sequence),
    };
  }
}

/** One grouped GEMM of a rank. */
interface RankGemm {
  readonly gemm: "FC1" | "FC2";
  readonly layout: Layout;
  /** Rows of each of the rank's experts. */
  readonly counts: readonly number[];
  readonly sizes: MoeSizes;
}

function* sweep({ cp, ep, sequence, scale, routing, seed }: MoeBenchOptions): Generator<RankGemm> {
  const sizes: MoeSizes = { ...longcat, hidden: longcat.hidden / scale, expertHidden: longcat.expertHidden / scale };
  for (const c of cp) for (const e of ep) checkLayout(c, e, sequence, scale, sizes);
  for (const c of cp)
    for (const e of ep) {
      const l = layout(c, e, sequence / scale, sizes);
      const counts = rowsPerExpert(l, routing, seed);
      for (const gemm of ["FC1", "FC2"] as const) yield { gemm, layout: l, counts, sizes };
    }
}

/** Of a rank's GEMM: [outputs, inputs] of an expert's matrix, multiply-adds, and bytes that must cross the bus. */
function workOf({ gemm, counts, sizes }: Pick<RankGemm, "gemm" | "counts" | "sizes">) {
  const [k, n] = gemm === "FC1" ? [sizes.hidden, 2 * sizes.expertHidden] : [sizes.expertHidden, sizes.hidden];
  const rows = counts.reduce((a, b) => a + b, 0);
  return { k, n, rows, macs: rows * n * k, bytes: 2 * (counts.filter((c) => c > 0).length * n * k + rows * (k + n)) };
}

function prepare(device: Device, gemm: Pick<RankGemm, "gemm" | "counts" | "sizes">) {
  const { k, n, rows } = workOf(gemm);
  const offsets = [0];
  for (const count of gemm.counts) offsets.push(offsets.at(-1)! + count);
  return {
    x: random(device, [rows, k], "bf16"),
    w: device.scope(() => packWeights(gemm.counts.map(() => random(device, [n, k], "bf16")))),
    offsets: device.tensor(offsets, [offsets.length], "i32"),
  };
}

export interface MoeCounted extends CountedOp {
  readonly layout: Layout;
  readonly gemm: "FC1" | "FC2";
  readonly maxRows: number;
}

/**
 * The same GEMMs counted on the virtual GPU, where a time would mean nothing, with the bounds that follow for real GPUs.
 * @throws as `benchMoe`
 */
export async function* countMoe(counting: CountingDevice, options: MoeBenchOptions): AsyncGenerator<MoeCounted> {
  for (const rank of sweep(options)) {
    options.signal?.throwIfAborted();
    const { gemm, layout, counts } = rank;
    const counted = await count(
      counting,
      countedCase({
        op: "groupedGemm",
        size: `CP ${layout.cp} EP ${layout.ep} ${gemm}`,
        unit: "tensor",
        whole: workOf(rank),
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
  gemm: "FC1" | "FC2",
  counts: readonly number[],
  sizes: MoeSizes,
  signal: AbortSignal | undefined,
): Promise<Pick<MoeResult, "milliseconds" | "gflops" | "mfu" | "rooflineMilliseconds" | "ofRoofline">> {
  const { macs, bytes } = workOf({ gemm, counts, sizes });
  const operands = device.scope(() => prepare(device, { gemm, counts, sizes }));
  try {
    const peaks = await machinePeaks(device);
    const { best } = await timeOperation(device, () => groupedGemm(operands.x, operands.w, operands.offsets), {
      signal,
      milliseconds: 300,
      runs: 2,
    });
    const gflops = (2 * macs) / best / 1e6;
    const roofline = Math.max((2 * macs) / (peaks.matrixGflops * 1e6), bytes / (peaks.readGBps * 1e6));
    return {
      milliseconds: best,
      gflops,
      mfu: gflops / peaks.matrixGflops,
      rooflineMilliseconds: roofline,
      ofRoofline: roofline / best,
    };
  } finally {
    disposeAll(operands);
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

export const countedHeader = [
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
  ...gpus.map(({ name }) => `${name} ≥ µs`),
];

export const countedRow = (r: MoeCounted): Cell[] => [
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
  ...gpus.map(({ name }) => r.bounds[name]),
];
