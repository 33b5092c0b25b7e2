import type { Device } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";

/** What an operation cannot do without. */
export interface Work {
  /** Of global memory: every input read once, every output written once. */
  readonly bytes: number;
  /** Multiply-adds; left out where they are nothing beside the bytes. */
  readonly macs?: number;
}

/** One operation at the size that one rank of the model has. */
export interface CountedCase<Operands = unknown> {
  /** The operation, as the API calls it. */
  readonly op: string;
  /** The size, in words. */
  readonly size: string;
  /** What computes: tensor cores, or f32 FMA. */
  readonly unit: "tensor" | "fma";
  /** Needed at that size. */
  readonly whole: Work;
  /** Where the whole is too large to count: which part of it is, and what that part needs. */
  readonly part?: { readonly size: string } & Work;
  /** Makes the operands of what is counted. */
  prepare(device: Device): Operands;
  /** Queues it once; returns one of its outputs, whose fault would be the operation's. */
  run(operands: Operands): Tensor;
}

/** Keeps the operands' type between `prepare` and `run`. */
export const countedCase = <Operands>(c: CountedCase<Operands>): CountedCase => c as CountedCase;
