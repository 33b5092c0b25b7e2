import { CaracalError } from "../../errors.js";
import { addon, guarded } from "../../native/addon.js";
import type { Device } from "../../tensor/tensor.js";
import type { PackedCacheNote } from "./cache.js";

/** The weights of a model and the memory for them, in bytes, when it was loaded. */
export interface OmniMemory {
  /** All weights, as the checkpoint stores them. */
  readonly weights: number;
  /** The files of packed weights that are mapped: their pages are shared, and may be dropped and read again. */
  readonly mapped: number;
  /** The memory of the device; of a CPU, that of the machine, or the limit of the cgroup. */
  readonly available: number;
  /** What that means, if the weights take more than is available. */
  readonly warning?: string;
}

/** @internal The memory that weights may take, and whether packed ones need none, because they can be mapped. */
export interface MemoryLimit {
  readonly available: number;
  readonly canMap: boolean;
}

/** @internal */
export function memoryLimit(device: Device): MemoryLimit {
  const { capacity } = guarded(() => addon().deviceInfo(device.handle));
  return { available: capacity, canMap: device.backend === "cpu" };
}

/** @internal */
export function memoryOf(weights: number, notes: readonly PackedCacheNote[], limit: MemoryLimit): OmniMemory {
  const { available, canMap } = limit;
  const mapped = notes.reduce((sum, { bytes = 0 }) => sum + bytes, 0);
  const figures = { weights, mapped, available };
  const most = Math.max(weights, mapped);
  if (!canMap || most <= available) return figures;
  const sizes = `the weights take ${gigabytes(most)}, but there are ${gigabytes(available)} of memory`;
  const warning =
    mapped > 0
      ? `${sizes}: they are read from the disk as they are used, and replies are as fast as the disk is`
      : `${sizes}: pack them into files, as \`caracal pack\` does, or they will not fit`;
  return { ...figures, warning };
}

/** @internal Passes the warning on, if there is one. */
export function warnOfMemory({ warning }: OmniMemory, onWarning: ((message: string) => void) | undefined): void {
  if (warning === undefined) return;
  if (onWarning) onWarning(warning);
  else process.emitWarning(warning, { type: "CaracalWarning", code: "MEMORY_SMALL" });
}

/** @internal What to do, for weights that did not fit. */
export function withAdvice(error: unknown, { warning }: OmniMemory): unknown {
  if (!(error instanceof CaracalError) || error.code !== "OUT_OF_MEMORY" || warning === undefined) return error;
  return new CaracalError(error.code, `${error.message}; ${warning}`, error.details, { cause: error });
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
