import type { Case } from "../case.js";

/** A GPU's published peaks per second: FLOP on tensor cores (bf16, dense) and in f32 FMAs, bytes of memory. */
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

/** A lower bound in microseconds, by memory and by the arithmetic of products. It predicts no time. */
export function bound({ work, unit }: Pick<Case, "work" | "unit">, gpu: GpuPeaks): number {
  const flops = unit === "scalar" ? 0 : (work.flops ?? 0);
  const arithmetic = flops / (unit === "matrix" ? gpu.tensorFlops : gpu.fmaFlops);
  return 1e6 * Math.max(arithmetic, work.bytes / gpu.bandwidth);
}

/**
 * The share of a multiprocessor's 64 warps that can be resident on sm_80: 65536 registers, allocated per warp in units of
 * 256; 164 KiB of shared memory, allocated per block in units of 128 bytes plus 1 KiB; 32 blocks. CUDA programming guide,
 * appendix on compute capabilities.
 */
export function occupancy(registers: number, threads: number, sharedBytes: number): number {
  const warps = Math.ceil(threads / 32);
  const registersPerWarp = Math.ceil((registers * 32) / 256) * 256;
  const byRegisters = Math.floor(Math.floor(65536 / registersPerWarp) / warps);
  const byShared = Math.floor((164 * 1024) / (Math.ceil(sharedBytes / 128) * 128 + 1024));
  return (Math.min(byRegisters, byShared, 32, Math.floor(64 / warps)) * warps) / 64;
}
