import { CaracalError } from "../errors.js";
import { addon, type DeviceHandle, type FileHandle, guarded, guardedAsync } from "../native/addon.js";
import { checkOptions, type OptionRule, oneOf, optional } from "../options.js";

/** Options of `Device.open`. */
export interface DeviceOptions {
  /** The backend. `"auto"`, the default, selects the best usable one; `device.why` says why others were passed over. */
  readonly backend?: "auto" | "cpu" | "cuda";
  /** Number of CPU threads, at most 1024. Default: as many as the process may use (CPU affinity and cgroup quota). */
  readonly threads?: number;
  /** The CPU instruction set. Default: `CARACAL_CPU` if it is set, else the best one of the processor. */
  readonly isa?: "scalar" | "neon" | "avx2" | "avx512";
  /** The number of the GPU, as counted by the driver. Default 0. */
  readonly ordinal?: number;
  /** The maximum number of bytes of GPU memory that the device allocates. Default: all of the GPU's memory. */
  readonly memoryLimit?: number;
  /**
   * Whether GPU memory is kept for later tensors of similar sizes. Default true. With false, every tensor has an
   * allocation of exactly its size, which is slow, but lets compute-sanitizer and the virtual GPU detect accesses past
   * the end of a tensor and reads of uninitialised memory.
   */
  readonly cacheMemory?: boolean;
}

/** A file mapped into memory. The pages of tensors created from it are read from disk when they are first used. */
export interface MappedFile {
  readonly path: string;
  /** @internal */
  readonly handle: FileHandle;
}

const deviceOptions = {
  backend: optional(oneOf("auto", "cpu", "cuda")),
  threads: true,
  isa: true,
  ordinal: true,
  memoryLimit: true,
  cacheMemory: true,
} satisfies Record<keyof DeviceOptions, OptionRule | true>;

/** Why a backend was passed over. */
export interface BackendNote {
  readonly backend: "cuda";
  readonly code: string;
  readonly message: string;
}

/** A device that `Device.open` can open. */
export interface DeviceDescription {
  readonly backend: "cpu" | "cuda";
  /** The number of the GPU, for `Device.open`; undefined for the CPU. */
  readonly ordinal: number | undefined;
  /** As `device.name`. */
  readonly name: string;
  /** Whether it is the virtual GPU for tests. */
  readonly virtual: boolean;
  /** The bytes that all tensors of the device may take together. */
  readonly memory: number;
}

/** What `Device.list` found. */
export interface DeviceList {
  /** The GPUs in the driver's order, then the CPU. */
  readonly devices: readonly DeviceDescription[];
  /** Why the CUDA backend, or one of its GPUs, cannot be used. */
  readonly why: readonly BackendNote[];
}

/** Opens each device for a moment to describe it. @throws {CaracalError} as `Device.list` */
export async function listDevices(): Promise<DeviceList> {
  const devices: DeviceDescription[] = [];
  const why: BackendNote[] = [];
  const add = async (handle: DeviceHandle, ordinal: number | undefined) => {
    const { backend, description, virtual, capacity } = guarded(() => addon().deviceInfo(handle));
    await guarded(() => addon().closeDevice(handle));
    devices.push({ backend, ordinal, name: `${backend} ${description}`, virtual, memory: capacity });
  };
  for (let ordinal = 0, more = true; more; ordinal++) {
    try {
      await add(await opened(() => addon().openCuda({ ordinal })), ordinal);
    } catch (error) {
      if (!(error instanceof CaracalError) || error.code === "NATIVE_LOAD_FAILED") throw error;
      more = faultsOfOneGpu.includes(error.code);
      if (error.code !== "INVALID_ARGUMENT") why.push({ backend: "cuda", code: error.code, message: error.message });
    }
  }
  await add(await opened(() => addon().openCpu({})), undefined);
  return { devices, why };
}

/** Codes of a GPU that cannot be used where another one may; `INVALID_ARGUMENT` ends the list of GPUs. */
const faultsOfOneGpu: readonly string[] = ["ARCH_UNSUPPORTED", "DEVICE_FAULT", "OUT_OF_MEMORY"];

/** Runs a native call that opens a device on another thread. */
const opened = (open: () => Promise<DeviceHandle>): Promise<DeviceHandle> => guardedAsync(guarded(open));

interface Opened {
  readonly handle: DeviceHandle;
  readonly why: readonly BackendNote[];
}

/** Opens the device that the options select. @throws {CaracalError} as `Device.open` */
export async function openDevice(options: DeviceOptions): Promise<Opened> {
  checkOptions("Device.open", options, deviceOptions);
  const { backend = "auto", threads, isa, ordinal, memoryLimit, cacheMemory } = options;
  const why: BackendNote[] = [];
  if (backend !== "cpu") {
    try {
      const handle = await opened(() => addon().openCuda({ ordinal, memoryLimit, cacheMemory }));
      const { virtual, description } = guarded(() => addon().deviceInfo(handle));
      if (!virtual || backend === "cuda") return { handle, why };
      await guarded(() => addon().closeDevice(handle));
      const message = `cuda ${description} is for tests: open it with backend: "cuda"`;
      why.push({ backend: "cuda", code: "UNSUPPORTED", message });
    } catch (error) {
      if (backend === "cuda" || !(error instanceof CaracalError) || error.code === "INVALID_ARGUMENT") throw error;
      why.push({ backend: "cuda", code: error.code, message: error.message });
    }
  }
  return { handle: await opened(() => addon().openCpu({ threads, isa })), why };
}
