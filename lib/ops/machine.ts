import type { Device } from "../tensor/device.js";
import { call } from "./call.js";

/** What a device can do at most, measured. */
export interface MachinePeaks {
  /** f32 fused multiply-adds, 2 FLOP each, in GFLOP/s. */
  readonly gflops: number;
  /** Multiply-adds of bf16 matrices with f32 sums: a GPU's tensor cores (`mma.sync`), elsewhere the same as `gflops`. */
  readonly matrixGflops: number;
  /** Reading memory that no cache holds, in GB/s. */
  readonly readGBps: number;
}

/**
 * Measures the device's arithmetic and read-bandwidth peaks now, with all that it has: what a benchmark compares with.
 * Takes about a second and 256 MB for its length.
 * @throws `OUT_OF_MEMORY`
 */
export async function machinePeaks(device: Device): Promise<MachinePeaks> {
  const buffer = device.zeros([64 << 20]);
  try {
    const [gflops, matrixGflops, readGBps] = await call("machinePeaks", { buffer })[0]!.toFloat32Array();
    return { gflops: gflops!, matrixGflops: matrixGflops!, readGBps: readGBps! };
  } finally {
    buffer.dispose();
  }
}
