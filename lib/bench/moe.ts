import { CaracalError } from "../errors.js";
import { packWeights } from "../ops/linear.js";
import { machinePeaks } from "../ops/machine.js";
import { groupedGemm } from "../ops/moe.js";
import { type Device, disposeAll } from "../tensor/device.js";
import { random } from "./case.js";
import { type Layout, layout, longcat, type MoeSizes, type RoutingKind, reported, rowsPerExpert } from "./layouts.js";
import type { Cell } from "./table.js";
import { time } from "./timing.js";

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
  /** Time below which neither arithmetic nor memory lets this GEMM fall. */
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
  const { cp, ep, sequence, scale, routing, seed, signal } = options;
  const sizes: MoeSizes = { ...longcat, hidden: longcat.hidden / scale, expertHidden: longcat.expertHidden / scale };
  for (const c of cp) for (const e of ep) checkLayout(c, e, sequence, scale, sizes);
  for (const c of cp) {
    for (const e of ep) {
      const l = layout(c, e, sequence / scale, sizes);
      const counts = rowsPerExpert(l, routing, seed);
      for (const gemm of ["FC1", "FC2"] as const) {
        signal?.throwIfAborted();
        const measured = await measure(device, gemm, counts, sizes, signal);
        yield {
          ...l,
          gemm,
          routing,
          maxRows: Math.max(...counts),
          ...measured,
          reportedMfu: reported(c, e, gemm, sequence),
        };
      }
    }
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
  const [k, n] = gemm === "FC1" ? [sizes.hidden, 2 * sizes.expertHidden] : [sizes.expertHidden, sizes.hidden];
  const rows = counts.reduce((a, b) => a + b, 0);
  const offsets = [0];
  for (const count of counts) offsets.push(offsets.at(-1)! + count);
  const operands = device.scope(() => ({
    x: random(device, [rows, k], "bf16"),
    w: packWeights(counts.map(() => random(device, [n, k], "bf16"))),
    offsets: device.tensor(offsets, [offsets.length], "i32"),
  }));
  try {
    const peaks = await machinePeaks(device);
    const { best } = await time(
      async () => {
        device.scope(() => void groupedGemm(operands.x, operands.w, operands.offsets));
        await device.synchronize();
      },
      { signal, milliseconds: 300, runs: 2 },
    );
    const flops = 2 * rows * n * k;
    const bytes = 2 * (counts.filter((c) => c > 0).length * n * k + rows * (k + n));
    const roofline = Math.max(flops / (peaks.gflops * 1e6), bytes / (peaks.readGBps * 1e6));
    return {
      milliseconds: best,
      gflops: flops / best / 1e6,
      mfu: flops / best / 1e6 / peaks.gflops,
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
