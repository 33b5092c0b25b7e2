import { disposeAll } from "../../lib/tensor/tensor.js";
import type { Case } from "../case.js";
import { catalogue } from "../cases/index.js";
import { CountingDevice } from "./device.js";
import { bound, gpus } from "./gpus.js";
import { resourcesOf } from "./kernels.js";
import type { LaunchCounts } from "./launches.js";

/** The counters of one launch: exact, and the same in every run. */
export interface KernelCounts {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly sharedBytes: number;
  readonly instructions: number;
  /** Sectors of 32 bytes of global memory: loads, stores and atomics. */
  readonly sectors: number;
  /** Different sectors loaded, and stored. The others moved again; a large enough L2 serves them. */
  readonly touchedSectors: number;
  readonly requests: number;
  /** Sectors that the same requests take when the bytes of their lanes are contiguous. */
  readonly idealSectors: number;
  readonly wavefronts: number;
  readonly idealWavefronts: number;
  readonly tensorInstructions: number;
  readonly tensorMacs: number;
  /** Registers and spills in the sm_80 cubin; only in a checkout's build. */
  readonly registers?: number;
  readonly spilledBytes?: number;
}

export interface CountedOp {
  readonly op: string;
  readonly size: string;
  /** The part that was counted, unless it was the whole. */
  readonly counted?: string;
  readonly kernels: readonly KernelCounts[];
  /** Sectors touched ÷ sectors of the bytes that the operation needs. */
  readonly traffic: number;
  /** Sectors moved again ÷ sectors that the operation needs. */
  readonly again: number;
  /** Sectors ÷ sectors of the same requests without gaps: 1 is perfectly coalesced. */
  readonly coalescing: number;
  /** Wavefronts of shared memory ÷ wavefronts without bank conflicts. */
  readonly wavefronts?: number;
  /** Multiply-adds of tensor instructions ÷ multiply-adds that the operation needs. */
  readonly tensorWaste?: number;
  /** Instructions per tensor instruction. */
  readonly perTensor?: number;
  /** A lower bound of the time at the model's size in microseconds, by GPU. */
  readonly bounds: Readonly<Record<string, number>>;
}

/** The cases that are counted, with bf16 activations. */
export const countedCases = (): Case[] => catalogue("bf16").filter((c) => c.counted);

/** Counts cases. */
export async function* countCases(cases: readonly Case[], signal?: AbortSignal): AsyncGenerator<CountedOp> {
  await using counting = await CountingDevice.open();
  for (const c of cases) {
    signal?.throwIfAborted();
    yield await count(counting, c);
  }
}

/** Counts the launches of one call of a case, or of its part. */
export async function count(counting: CountingDevice, c: Case): Promise<CountedOp> {
  const sized = c.part ?? c;
  const operands = counting.device.scope(() => sized.prepare(counting.device, 1));
  try {
    const kernels = (await counting.launches(() => c.run(operands, 0))).map(kernelCounts);
    return { op: c.op, size: c.size, ...(c.part && { counted: c.part.size }), kernels, ...ratios(kernels, c) };
  } finally {
    disposeAll(operands);
  }
}

function kernelCounts({ kernel, grid, block, staticShared, dynamicShared, total: t }: LaunchCounts): KernelCounts {
  const resources = resourcesOf(kernel);
  return {
    kernel,
    grid,
    block,
    sharedBytes: staticShared + dynamicShared,
    instructions: t.executed ?? 0,
    sectors: t.globalSectors ?? 0,
    touchedSectors: (t.globalLoadSectorsTouched ?? 0) + (t.globalStoreSectorsTouched ?? 0),
    requests: t.globalRequests ?? 0,
    idealSectors: t.globalSectorsIdeal ?? 0,
    wavefronts: t.sharedWavefronts ?? 0,
    idealWavefronts: t.sharedWavefrontsIdeal ?? 0,
    tensorInstructions: t.tensorInstructions ?? 0,
    tensorMacs: t.tensorMultiplyAdds ?? 0,
    ...(resources && { registers: resources.registers, spilledBytes: resources.spilled }),
  };
}

function ratios(kernels: readonly KernelCounts[], c: Case) {
  const needed = (c.part ?? c).work;
  const sum = (of: (k: KernelCounts) => number) => kernels.reduce((total, k) => total + of(k), 0);
  const [sectors, touched] = [sum((k) => k.sectors), sum((k) => k.touchedSectors)];
  const [ideal, tensor] = [sum((k) => k.idealWavefronts), sum((k) => k.tensorInstructions)];
  return {
    traffic: (32 * touched) / needed.bytes,
    again: (32 * (sectors - touched)) / needed.bytes,
    coalescing: sectors / sum((k) => k.idealSectors),
    ...(ideal > 0 && { wavefronts: sum((k) => k.wavefronts) / ideal }),
    ...(tensor > 0 && { perTensor: sum((k) => k.instructions) / tensor }),
    ...(tensor > 0 && needed.flops && { tensorWaste: sum((k) => k.tensorMacs) / (needed.flops / 2) }),
    bounds: Object.fromEntries(gpus.map((gpu) => [gpu.name, bound(c, gpu)])),
  };
}
