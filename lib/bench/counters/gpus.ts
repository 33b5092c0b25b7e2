import type { CountedCase } from "./case.js";

/** A GPU's published peaks: multiply-adds per second on tensor cores (bf16, dense) and in f32 FMAs; bytes per second. */
export interface GpuPeaks {
  readonly name: string;
  readonly tensorFlops: number;
  readonly fmaFlops: number;
  readonly bandwidth: number;
}

/** From NVIDIA's data sheets of the SXM modules. */
export const gpus: readonly GpuPeaks[] = [
  { name: "A100", tensorFlops: 312e12, fmaFlops: 19.5e12, bandwidth: 2.039e12 },
  { name: "H100", tensorFlops: 989e12, fmaFlops: 67e12, bandwidth: 3.35e12 },
  { name: "H200", tensorFlops: 989e12, fmaFlops: 67e12, bandwidth: 4.8e12 },
];

/** Microseconds below which neither memory nor arithmetic lets a case fall. No prediction: a bound. */
export function bound({ whole, unit }: Pick<CountedCase, "whole" | "unit">, gpu: GpuPeaks): number {
  const arithmetic = (2 * (whole.macs ?? 0)) / (unit === "tensor" ? gpu.tensorFlops : gpu.fmaFlops);
  return 1e6 * Math.max(arithmetic, whole.bytes / gpu.bandwidth);
}

/** What a kernel takes of a multiprocessor. */
export interface Resources {
  readonly registers: number;
  readonly spilled: number;
  /** Static shared memory in bytes. */
  readonly shared: number;
}

/**
 * Share of a multiprocessor's 64 warps that can be resident, on sm_80: 65536 registers, given to warps by 256; 164 KiB
 * of shared memory, given to blocks by 128 bytes and 1 KiB more each; 32 blocks. CUDA programming guide, appendix on
 * compute capabilities.
 */
export function occupancy(registers: number, threads: number, sharedBytes: number): number {
  const warps = Math.ceil(threads / 32);
  const registersPerWarp = Math.ceil((registers * 32) / 256) * 256;
  const byRegisters = Math.floor(Math.floor(65536 / registersPerWarp) / warps);
  const byShared = Math.floor((164 * 1024) / (Math.ceil(sharedBytes / 128) * 128 + 1024));
  return (Math.min(byRegisters, byShared, 32, Math.floor(64 / warps)) * warps) / 64;
}
