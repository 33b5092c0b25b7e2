import type { Device } from "../tensor/device.js";
import { call } from "./call.js";

/** Measured peak throughput. */
export interface MachinePeaks {
  /** f32 fused multiply-adds in GFLOP/s, 2 FLOP each. */
  readonly gflops: number;
  /** Multiply-adds of bf16 matrices with f32 sums: a GPU's tensor cores (`mma.sync`), or `gflops` on a CPU. */
  readonly matrixGflops: number;
  /** Reading memory beyond the caches, in GB/s. */
  readonly readGBps: number;
}

/**
 * Measures the peak arithmetic and read throughput of the whole device, with which benchmarks compare. Takes about a
 * second and allocates 256 MB meanwhile.
 *
 * @throws {CaracalError} `OUT_OF_MEMORY` when the device has no room for the buffer
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
