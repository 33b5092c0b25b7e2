import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { checkTensors } from "../checkpoint/checkTensors.js";
import { type LlmConfig, parseLlmConfig, readConfig } from "../checkpoint/config.js";
import type { TensorEntry } from "../checkpoint/entry.js";
import { findTensors } from "../checkpoint/formats/safetensors.js";
import { fp8Block, llmLayout } from "../checkpoint/layout.js";
import { CaracalError } from "../errors.js";
import { aFunction, checkOptions, checkPath, type OptionRule, oneOf, optional, refuseValue } from "../options.js";
import { deviceRule } from "../tensor/check.js";
import { Device } from "../tensor/tensor.js";
import { Turns } from "../turns.js";
import { copyOthers } from "./others.js";
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
import { ResumableCheckpoint } from "./resumable.js";
import { indexFile, indexText, safetensorsHead, shardName, splitIntoShards, totalBytes } from "./safetensors.js";
import { checkApart, checkSpace } from "./target.js";
import { OutputFile, Progress, type SynthProgress } from "./writer.js";

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
 *XX `IO_ERROR` when the parent of `directory` does not
 *   exist, or the disk is too small or full; `ABORTED`
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
  const { force = false, signal } = options;
  const { raw, config, entries } = await readSource(source, target, signal);
  await checkApart(source, directory);
  const plan = planQuantization(new Map(entries.map((entry) => [entry.name, entry])), config, target);
  const shards = splitIntoShards(plan.modules, ({ outputs }) => outputs);
  const heads = shards.map((modules) => modules.flatMap(({ outputs }) => outputs));
  const job = { ...jobOf(target), source: await fingerprint(raw, entries) };
  const checkpoint = await ResumableCheckpoint.open<readonly TensorError[]>(directory, job, force);
  const { errors, resumed } = await writeAll(source, checkpoint, shards, options);
  await checkpoint.finish({ [indexFile]: indexText(heads) }, configOf(raw, target, plan));
  const bytes = totalBytes(heads.flat());
  return { directory: checkpoint.directory, sourceBytes: totalBytes(entries), bytes, resumed, errors };
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
  return { format, layout, group: String(format === "fp8" ? fp8Block : group) };
}

interface Source {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly config: LlmConfig;
  readonly entries: readonly TensorEntry[];
}

async function readSource(
  source: string,
  { format }: QuantizeTarget,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const file = join(source, "config.json");
  const raw = await readConfig(file);
  const config = parseLlmConfig(raw, file);
  const refuse = (problem: string): never => {
    throw new CaracalError("CHECKPOINT_INVALID", `${source}: ${problem}`, { file, problem });
  };
  if (config.quantization)
    refuse("is already quantised in the format of MLX; quantise the model that it was made from");
  const layout = llmLayout(config);
  const entries = await findTensors(source, new Set(layout.keys()), { signal });
  checkTensors(entries, layout, source);
  if (format === "fp8" && entries.some(({ dtype }) => dtype === "f8e4m3")) refuse("is already FP8");
  return { raw: raw as Source["raw"], config, entries };
}

/** Tells whether the source is the same as before: the configuration, and names, sizes and times of the shards. */
async function fingerprint(raw: object, entries: readonly TensorEntry[]): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(raw));
  for (const file of [...new Set(entries.map(({ file }) => file))].sort()) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`\n${basename(file)} ${size} ${mtimeMs}`);
  }
  return hash.digest("hex");
}

async function writeAll(
  source: string,
  checkpoint: ResumableCheckpoint<readonly TensorError[]>,
  shards: readonly (readonly PlannedModule[])[],
  { format, device: given, signal, onProgress }: QuantizeOptions,
): Promise<{ errors: TensorError[]; resumed: number }> {
  const sizes = shards.map((modules) => totalBytes(modules.flatMap(({ outputs }) => outputs)));
  const progress = new Progress(
    sizes.reduce((sum, size) => sum + size, 0),
    onProgress,
    signal,
  );
  const names = shards.map((_, i) => shardName(i, shards.length));
  const before = await Promise.all(names.map((name) => checkpoint.finished(name)));
  const left = sizes.reduce((sum, size, i) => sum + (before[i] ? 0 : size), 0);
  await checkSpace(checkpoint.directory, left);
  await copyOthers(source, checkpoint.directory);
  const device = given ?? (await Device.open({ backend: "cpu" }));
  try {
    const errors: TensorError[] = [];
    for (const [i, modules] of shards.entries()) {
      const name = names[i]!;
      const known = before[i];
      if (known) progress.advance(name, sizes[i]!);
      const context = { device, signal, onBytes: (bytes: number) => progress.advance(name, bytes) };
      const metadata = format === "fp8" ? "pt" : "mlx";
      const write = (path: string) => writeShard(path, modules, { ...context, metadata });
      errors.push(...(known ?? (await checkpoint.write(name, write))));
    }
    return { errors, resumed: before.filter((record) => record !== undefined).length };
  } finally {
    if (!given) device.dispose();
  }
}

interface ShardContext {
  /** The `format` in the metadata: `pt`, or `mlx` as mlx-lm writes. */
  readonly metadata: string;
  readonly device: Device;
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (bytes: number) => void;
}

async function writeShard(
  path: string,
  modules: readonly PlannedModule[],
  { metadata, device, signal, onBytes }: ShardContext,
): Promise<TensorError[]> {
  const tensors = modules.flatMap(({ outputs }) => outputs);
  const { head, positions } = safetensorsHead(path, tensors, { format: metadata });
  const turns = new Turns("quantising a checkpoint", signal);
  const errors: TensorError[] = [];
  await OutputFile.use(path, async (file) => {
    await file.write(head);
    for (const module of modules) {
      const at = module.outputs.map(({ name }) => positions.get(name)!);
      const error = { difference: 0, magnitude: 0 };
      for await (const pieces of moduleBytes(module, { device, turns, error }))
        for (const [i, bytes] of pieces.entries()) {
          await file.patch(bytes, at[i]!);
          at[i]! += bytes.length;
          onBytes(bytes.length);
        }
      if (module.format === undefined) continue;
      const { name } = module.outputs[0]!;
      errors.push({ name, error: error.magnitude === 0 ? 0 : Math.sqrt(error.difference / error.magnitude) });
    }
  });
  return errors;
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
