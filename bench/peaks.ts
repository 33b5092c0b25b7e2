import { call } from "../lib/ops/call.js";
import type { Device } from "../lib/tensor/tensor.js";

/** A peak throughput. Other work on the machine lowers a measurement and nothing raises it, so the best one holds. */
export interface Peak {
  readonly best: number;
  readonly lowest: number;
}

/** The measured peak throughput of a device: the denominators of a benchmark. */
export interface MachinePeaks {
  readonly measurements: number;
  /** f32 fused multiply-adds, two FLOP each, in GFLOP/s. */
  readonly fmaGflops: Peak;
  /** Multiply-adds of bf16 matrices with f32 sums: a GPU's tensor cores (`mma.sync`); on a CPU the same as `fmaGflops`. */
  readonly matrixGflops: Peak;
  /** Reading memory that no cache holds, in GB/s. */
  readonly readGBps: Peak;
}

/** Measures the peaks of a device again and again during a benchmark, since a shared machine is not idle all the time. */
export class PeakMeter {
  readonly #device: Device;
  readonly #measured: (readonly number[])[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Measures with all the device's cores. Takes a fraction of a second, and 256 MiB meanwhile.
   * @throws {CaracalError} `OUT_OF_MEMORY` when the device lacks that memory
   */
  async measure(): Promise<void> {
    using buffer = this.#device.zeros([64 << 20]);
    using peaks = call("machinePeaks", { buffer })[0]!;
    this.#measured.push([...(await peaks.toFloat32Array())]);
  }

  /** The peaks so far; at least one measurement is necessary. */
  get peaks(): MachinePeaks {
    const peak = (i: number): Peak => {
      const values = this.#measured.map((peaks) => peaks[i]!);
      return { best: Math.max(...values), lowest: Math.min(...values) };
    };
    const [fmaGflops, matrixGflops, readGBps] = [peak(0), peak(1), peak(2)];
    return { measurements: this.#measured.length, fmaGflops, matrixGflops, readGBps };
  }
}

/** The peaks in words. */
export function describePeaks({ measurements, fmaGflops, matrixGflops, readGBps }: MachinePeaks): string {
  const figure = (what: string, { best, lowest }: Peak, unit: string) =>
    `${what} ${best.toPrecision(3)} ${unit} (lowest ${lowest.toPrecision(3)})`;
  const hasMatrixUnits = matrixGflops.best !== fmaGflops.best;
  const figures = [
    figure("FMA", fmaGflops, "GFLOP/s"),
    ...(hasMatrixUnits ? [figure("matrix units by mma.sync", matrixGflops, "GFLOP/s")] : []),
    figure("reading", readGBps, "GB/s"),
  ];
  return `peaks, best of ${measurements} measurements: ${figures.join(", ")}`;
}
