import type { Cell } from "../../lib/cli/table.js";
import type { CountedOp, KernelCounts } from "./count.js";
import { gpus, occupancy } from "./gpus.js";

/** Columns of the bounds, shared with the table of the MoE's layouts. */
export const boundsHeader = gpus.map(({ name }) => `${name} ≥ µs`);
export const boundsCells = ({ bounds }: CountedOp): Cell[] => gpus.map(({ name }) => bounds[name]);

export const countedHeader = [
  "operation",
  "size",
  "counted",
  "traffic",
  "again",
  "coalescing",
  "wavefronts",
  "tensor waste",
  "per mma",
  ...boundsHeader,
];

export const countedRow = (r: CountedOp): Cell[] => [
  r.op,
  r.size,
  r.counted ?? "all",
  r.traffic,
  r.again,
  r.coalescing,
  r.wavefronts,
  r.tensorWaste,
  r.perTensor,
  ...boundsCells(r),
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

export const kernelRows = (r: CountedOp): Cell[][] =>
  r.kernels.map((k) => [
    k.kernel,
    r.op,
    k.grid.join("×"),
    k.block.join("×"),
    k.registers,
    k.sharedBytes,
    occupancyOf(k),
    k.spilledBytes,
    k.instructions,
  ]);

function occupancyOf({ registers, block, sharedBytes }: KernelCounts): number | undefined {
  const threads = block.reduce((a, b) => a * b, 1);
  return registers === undefined ? undefined : occupancy(registers, threads, sharedBytes);
}
