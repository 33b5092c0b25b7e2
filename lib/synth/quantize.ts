import { join } from "node:path";
import { checkTensors } from "../checkpoint/checkTensors.js";
import { type LlmConfig, parseLlmConfig, readConfig } from "../checkpoint/config.js";
import { findTensors } from "../checkpoint/formats/safetensors.js";
import { fp8Block, llmLayout } from "../checkpoint/layout.js";
import { CaracalError } from "../errors.js";
import {
  aFunction,
  checkOptions,
  checkPath,
  isRecord,
  type OptionRule,
  oneOf,
  optional,
  refuseValue,
} from "../options.js";
import { deviceRule } from "../tensor/check.js";
import { Device } from "../tensor/tensor.js";
import { Turns } from "../turns.js";
import { type Derivation, type DerivedFrom, derive } from "./derive.js";
import { moduleBytes } from "./quantizeModule.js";
import {
  type PlannedModule,
  planQuantization,
  type QuantizeFormat,
  type QuantizeLayout,
  type QuantizePlan,
  type QuantizeTarget,
  quantizeFormats,
} from "./quantizePlan.js";
import type { SynthProgress } from "./writer.js";

export type { QuantizeFormat, QuantizeLayout } from "./quantizePlan.js";

/** Options of `quantizeCheckpoint`. */
export interface QuantizeOptions {
  /**
   * `fp8`: f8e4m3 in blocks of 128×128, as published, of the matrices of attention, dense networks and experts. `int8` and
   * `int4`: the affine format of MLX, of all matrices whose rows are whole groups, with 8 bits for the router.
   */
  readonly format: QuantizeFormat;
  /** The columns that share a scale and a bias, for `int8` and `int4`. Default 64. */
  readonly group?: 32 | 64 | 128 | undefined;
  /**
   * `published` (default) keeps the names of tensors; `mlx`, for `int8` and `int4`, gives them the names and shapes that
   * mlx-lm gives them: experts in one tensor, and `kv_b_proj` as `embed_q` and `unembed_out`.
   */
  readonly layout?: QuantizeLayout | undefined;
  /** Allows beginning again, and replacing a directory that this library wrote, but never other files. Default false. */
  readonly force?: boolean | undefined;
  /** Where to compute. Default: the CPU. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each part of a file. */
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
}

const quantizeOptions = {
  format: oneOf(...quantizeFormats),
  group: optional(oneOf(32, 64, 128)),
  layout: optional(oneOf("published", "mlx")),
  force: optional(oneOf(true, false)),
  device: optional(deviceRule),
  signal: true,
  onProgress: optional(aFunction),
} satisfies Record<keyof QuantizeOptions, OptionRule | true>;

/** How well the weights of a tensor survived: the RMS of the differences divided by the RMS of the weights. */
export interface TensorError {
  /** The tensor in the target. */
  readonly name: string;
  readonly error: number;
}

const isTensorError = (value: unknown): value is TensorError =>
  isRecord(value) && typeof value.name === "string" && Number.isFinite(value.error);

/** What `quantizeCheckpoint` has written. */
export interface QuantizeResult {
  readonly directory: string;
  /** Bytes of the language model's tensors in the source, and in the target. */
  readonly sourceBytes: number;
  readonly bytes: number;
  /** Shards that an earlier, interrupted call had finished. */
  readonly resumed: number;
  /** Every quantised tensor. */
  readonly errors: readonly TensorError[];
}

/**
 * Writes a model directory like `source` whose language model is quantised; the other modules are copied. Works a shard of
 * at most 4 GiB at a time, in memory that does not depend on the model's size. If it is interrupted, the same call goes on
 * after the last complete shard, and the directory gets the bytes that it would have had.
 * @param source a model directory in its published layout, of f32, bf16 or FP8
 * @throws {CaracalError} `INVALID_ARGUMENT` for a bad option, when `directory` exists and may not be replaced, was begun
 *   with other options or from another source, is being written by another call, or is, contains or lies inside `source`;
 *   `CHECKPOINT_INVALID` when `source` lacks a tensor, is quantised already, has a weight that is no finite number, or
 *   holds links to folders, links that lead nowhere, or FIFOs; `IO_ERROR` when the parent of `directory` does not exist, or
 *   the disk is too small or full; `ABORTED`
 */
export async function quantizeCheckpoint(
  source: string,
  directory: string,
  options: QuantizeOptions,
): Promise<QuantizeResult> {
  checkPath("quantizeCheckpoint", "source", source);
  checkPath("quantizeCheckpoint", "directory", directory);
  checkOptions("quantizeCheckpoint", options, quantizeOptions);
  const target = targetOf(options);
  const { config, ...from } = await readSource(source, target, options.signal);
  const plan = planQuantization(new Map(from.entries.map((entry) => [entry.name, entry])), config, target);
  const device = options.device ?? (await Device.open({ backend: "cpu" }));
  try {
    const { records: errors, ...result } = await derive<PlannedModule, TensorError>(
      from,
      directory,
      {
        job: jobOf(target),
        pieces: plan.modules,
        write: moduleWriter(device, options.signal),
        metadata: target.format === "fp8" ? "pt" : "mlx",
        config: configOf(from.raw, target, plan),
        isRecorded: isTensorError,
      },
      options,
    );
    return { ...result, errors };
  } finally {
    if (!options.device) device.dispose();
  }
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for options that do not go together */
function targetOf({ format, layout = "published", group }: QuantizeOptions): QuantizeTarget {
  if (format === "fp8") {
    if (layout === "mlx")
      refuseValue("quantizeCheckpoint", "layout", '"published" for fp8, which MLX does not read', layout);
    if (group !== undefined)
      refuseValue("quantizeCheckpoint", "group", "left out for fp8, whose blocks are 128×128", group);
  }
  return { format, layout, group: group ?? 64 };
}

function jobOf({ format, layout, group }: QuantizeTarget): Record<string, string> {
  return { command: "quantize", format, layout, group: String(format === "fp8" ? fp8Block : group) };
}

interface Source extends DerivedFrom {
  readonly config: LlmConfig;
}

async function readSource(
  directory: string,
  { format }: QuantizeTarget,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const file = join(directory, "config.json");
  const raw = await readConfig(file);
  const config = parseLlmConfig(raw, file);
  const refuse = (problem: string): never => {
    throw new CaracalError("CHECKPOINT_INVALID", `${directory}: ${problem}`, { file, problem });
  };
  if (config.quantization)
    refuse("is already quantised in the format of MLX; quantise the model that it was made from");
  const layout = llmLayout(config);
  const entries = await findTensors(directory, new Set(layout.keys()), { signal });
  checkTensors(entries, layout, directory);
  if (format === "fp8" && entries.some(({ dtype }) => dtype === "f8e4m3")) refuse("is already FP8");
  return { directory, raw: raw as Source["raw"], config, entries };
}

/** Writes modules, and returns how well their weights survived. */
function moduleWriter(
  device: Device,
  signal: AbortSignal | undefined,
): Derivation<PlannedModule, TensorError>["write"] {
  const turns = new Turns("quantising a checkpoint", signal);
  return async (module, put) => {
    const error = { difference: 0, magnitude: 0 };
    for await (const pieces of moduleBytes(module, { device, turns, error })) await put(pieces);
    if (module.format === undefined) return [];
    const { name } = module.outputs[0]!;
    return [{ name, error: error.magnitude === 0 ? 0 : Math.sqrt(error.difference / error.magnitude) }];
  };
}

/** The configuration of the source, with what its readers have to know of the format. */
function configOf(raw: Source["raw"], { format, group }: QuantizeTarget, { exceptions }: QuantizePlan): object {
  const { _files, quantization_config, ...config } = raw;
  if (format === "fp8") {
    const weight_block_size = [fp8Block, fp8Block];
    return {
      ...config,
      quantization_config: { quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic", weight_block_size },
    };
  }
  const quantization = { group_size: group, bits: format === "int4" ? 4 : 8, mode: "affine", ...exceptions };
  return { ...config, quantization, quantization_config: quantization };
}
