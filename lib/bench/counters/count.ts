import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CaracalError } from "../../errors.js";
import { Device, disposeAll } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { CountedCase, Work } from "./case.js";
import { countedCases } from "./cases.js";
import { bound, gpus, occupancy, type Resources } from "./gpus.js";
import { type LaunchCounts, readLaunches } from "./launches.js";

/** Counted of one launch: exact, and the same on every run. What is zero is left out, as of kernels that use none. */
export interface KernelCounts {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly sharedBytes: number;
  readonly instructions: number;
  /** Of 32 bytes of global memory: loaded, stored, and those of atomics. */
  readonly sectors: number;
  /** Those that were loaded, or stored, at all: what is above that was moved again, from the L2 if it is large enough. */
  readonly touchedSectors: number;
  readonly requests: number;
  /** Sectors that these requests take when each lane's bytes lie side by side. */
  readonly idealSectors: number;
  readonly wavefronts: number;
  readonly idealWavefronts: number;
  readonly tensorInstructions: number;
  readonly tensorMacs: number;
  /** Of the sm_80 cubin, where the build has left it. */
  readonly registers?: number;
  readonly spilledBytes?: number;
}

export interface CountedOp {
  readonly op: string;
  readonly size: string;
  /** Which part was counted, where not the whole was. */
  readonly counted?: string;
  readonly kernels: readonly KernelCounts[];
  /** Sectors touched ÷ those of the bytes that the operation needs. */
  readonly traffic: number;
  /** Sectors that were moved again ÷ those that the operation needs. */
  readonly again: number;
  /** Sectors ÷ those of the same requests without a gap: 1 is perfectly coalesced. */
  readonly coalescing: number;
  /** Shared memory wavefronts ÷ those without bank conflicts. */
  readonly wavefronts?: number;
  /** Multiply-adds of tensor instructions ÷ those that the operation needs. */
  readonly tensorWaste?: number;
  /** Instructions for each tensor instruction. */
  readonly perTensor?: number;
  /** Cannot be faster than so many microseconds at the model's size, by GPU. */
  readonly bounds: Readonly<Record<string, number>>;
}

const build = (path: string) => fileURLToPath(new URL(`../../../build/${path}`, import.meta.url));

/** The virtual GPU of a checkout's build. */
export const builtVirtualGpu = (): string => build("Release/libcaracal_vgpu.so");

/** A CUDA device whose launches the virtual GPU counts. One in a process: the driver is opened once. */
export class CountingDevice implements AsyncDisposable {
  private constructor(
    readonly device: Device,
    private readonly folder: string,
  ) {}

  /**
   * On the driver that `CARACAL_CUDA_LIBRARY` names, else the one that a checkout has built.
   * @throws `UNSUPPORTED` where that is no virtual GPU
   */
  static async open(): Promise<CountingDevice> {
    const library = process.env.CARACAL_CUDA_LIBRARY ?? builtVirtualGpu();
    const unsupported = (why: string) =>
      new CaracalError("UNSUPPORTED", `counters are the virtual GPU's, and ${library} ${why}`, { library });
    if (!existsSync(library))
      throw unsupported("is not there: `npm test` builds it in a checkout (Linux, x86-64, with nvcc)");
    process.env.CARACAL_CUDA_LIBRARY = library;
    const counting = await CountingDevice.ifVirtual();
    if (!counting) throw unsupported("is another driver: leave CARACAL_CUDA_LIBRARY out");
    return counting;
  }

  /** On the driver that is there, if it is the virtual GPU's. @throws what `Device.open` does */
  static async ifVirtual(): Promise<CountingDevice | undefined> {
    const folder = await mkdtemp(join(tmpdir(), "caracal-counters-"));
    process.env.CARACAL_VGPU_COUNT = join(folder, "launches");
    const remove = () => rm(folder, { recursive: true });
    try {
      const device = await Device.open({ backend: "cuda" });
      if (device.virtual) return new CountingDevice(device, folder);
      device.dispose();
    } catch (error) {
      await remove();
      throw error;
    }
    await remove();
    return undefined;
  }

  /** The launches of `run`. */
  async launches(run: () => Tensor): Promise<LaunchCounts[]> {
    const file = join(this.folder, "launches");
    await this.device.synchronize();
    await writeFile(file, "");
    using output = this.device.scope(run);
    await output.read();
    return readLaunches(file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.device.dispose();
    await rm(this.folder, { recursive: true });
  }
}

/** Counts what an operation does. */
export async function count(counting: CountingDevice, c: CountedCase): Promise<CountedOp> {
  const operands = counting.device.scope(() => c.prepare(counting.device));
  try {
    const kernels = (await counting.launches(() => c.run(operands))).map(kernelCounts);
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

function ratios(kernels: readonly KernelCounts[], c: CountedCase) {
  const needed: Work = c.part ?? c.whole;
  const sum = (of: (k: KernelCounts) => number) => kernels.reduce((total, k) => total + of(k), 0);
  const [sectors, touched] = [sum((k) => k.sectors), sum((k) => k.touchedSectors)];
  const [ideal, tensor] = [sum((k) => k.idealWavefronts), sum((k) => k.tensorInstructions)];
  return {
    traffic: (32 * touched) / needed.bytes,
    again: (32 * (sectors - touched)) / needed.bytes,
    coalescing: sectors / sum((k) => k.idealSectors),
    ...(ideal > 0 && { wavefronts: sum((k) => k.wavefronts) / ideal }),
    ...(tensor > 0 && { perTensor: sum((k) => k.instructions) / tensor }),
    ...(tensor > 0 && needed.macs && { tensorWaste: sum((k) => k.tensorMacs) / needed.macs }),
    bounds: Object.fromEntries(gpus.map((gpu) => [gpu.name, bound(c, gpu)])),
  };
}

const built = (suffix: string) =>
  existsSync(build("kernels")) ? readdirSync(build("kernels")).filter((name) => name.endsWith(suffix)) : [];
const readBuilt = (name: string) => readFileSync(build(`kernels/${name}`), "utf8");

/** The compiler that made the kernels, as its PTX says: `V13.0.88`. Undefined outside of a checkout's build. */
export function kernelCompiler(): string | undefined {
  const [ptx] = built(".ptx");
  return ptx && /Cuda compilation tools.*(V[\d.]+)/.exec(readBuilt(ptx))?.[1];
}

let resources: Readonly<Record<string, Resources>> | undefined;

/** What ptxas said of a kernel when the checkout was built. */
function resourcesOf(kernel: string): Resources | undefined {
  resources ??= Object.assign({}, ...built(".sm_80.json").map((name) => JSON.parse(readBuilt(name))));
  return resources![kernel];
}

/** Counts the operations whose `op size` matches. */
export async function* benchCounters(filter = /./): AsyncGenerator<CountedOp> {
  await using counting = await CountingDevice.open();
  for (const c of countedCases()) if (filter.test(`${c.op} ${c.size}`)) yield await count(counting, c);
}

export const opHeader = [
  "operation",
  "size",
  "counted",
  "traffic",
  "again",
  "coalescing",
  "wavefronts",
  "tensor waste",
  "per mma",
  ...gpus.map(({ name }) => `${name} ≥ µs`),
];

export const opRow = (r: CountedOp) => [
  r.op,
  r.size,
  r.counted ?? "all",
  r.traffic,
  r.again,
  r.coalescing,
  r.wavefronts,
  r.tensorWaste,
  r.perTensor,
  ...gpus.map(({ name }) => r.bounds[name]),
];

export const kernelHeader = [
  "kernel",
  "of",
  "grid",
  "block",
  "registers",
  "shared",
  "occupancy",
  "spills",
  "instructions",
];

export const kernelRows = (r: CountedOp) =>
  r.kernels.map((k) => [
    k.kernel,
    r.op,
    k.grid.join("×"),
    k.block.join("×"),
    k.registers,
    k.sharedBytes,
    k.registers === undefined
      ? undefined
      : occupancy(
          k.registers,
          k.block.reduce((a, b) => a * b, 1),
          k.sharedBytes,
        ),
    k.spilledBytes,
    k.instructions,
  ]);
