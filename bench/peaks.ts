import { call } from "../lib/ops/call.js";
import type { Device } from "../lib/tensor/tensor.js";

/** The measured peak throughput of a device. */
export interface MachinePeaks {
  /** f32 fused multiply-adds, two FLOP each, in GFLOP/s. */
  readonly gflops: number;
  /** Multiply-adds of bf16 matrices with f32 sums: a GPU's tensor cores (`mma.sync`); on a CPU the same as `gflops`. */
  readonly matrixGflops: number;
  /** Reading memory that no cache holds, in GB/s. */
  readonly readGBps: number;
}

/**
 * Measures the peak arithmetic and read throughput of all the device's cores: the denominators of a benchmark. Takes
 * about a second and allocates 256 MB meanwhile.
 * @throws {CaracalError} `OUT_OF_MEMORY` when the device lacks that memory
 */
export async function machinePeaks(device: Device): Promise<MachinePeaks> {
  using buffer = device.zeros([64 << 20]);
  const [gflops, matrixGflops, readGBps] = await call("machinePeaks", { buffer })[0]!.toFloat32Array();
  return { gflops: gflops!, matrixGflops: matrixGflops!, readGBps: readGBps! };
}
