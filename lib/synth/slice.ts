import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkTensors } from "../checkpoint/checkTensors.js";
import { type LlmConfig, parseLlmConfig, readConfig } from "../checkpoint/config.js";
import type { TensorEntry } from "../checkpoint/entry.js";
import { BoundedFile, checkVersion } from "../checkpoint/formats/file.js";
import { findTensors } from "../checkpoint/formats/safetensors.js";
import { llmLayout } from "../checkpoint/layout.js";
import { CaracalError } from "../errors.js";
import { aFunction, checkOptions, checkPath, type OptionRule, oneOf, optional, positiveInteger } from "../options.js";
import { copyOthers } from "./others.js";
import { totalBytes, writeShards } from "./safetensors.js";
import { checkApart, createCheckpoint } from "./target.js";
import { Progress, type SynthProgress } from "./writer.js";

export interface SliceOptions {
  /** How many of the first layers to keep. Default: all. */
  readonly layers?: number | undefined;
  /** How many of the first experts of each layer to keep, beside the zero experts. Default: all. */
  readonly experts?: number | undefined;
  /** Allows replacing a checkpoint that `synthesize` or `slice` wrote, but never other files. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
}
const sliceOptions = {
  layers: optional(positiveInteger),
  experts: optional(positiveInteger),
  force: optional(oneOf(true, false)),
  signal: true,
  onProgress: optional(aFunction),
} satisfies Record<keyof SliceOptions, OptionRule | true>;

export interface SliceResult {
  readonly directory: string;
  readonly layers: number;
  readonly experts: number;
  /** Bytes of the language model's tensors. */
  readonly bytes: number;
}

/** A tensor of the slice, with the ranges of its rows in the source. */
interface Cut {
  readonly name: string;
  readonly dtype: TensorEntry["dtype"];
  readonly shape: readonly number[];
  readonly source: TensorEntry;
  readonly rows: readonly (readonly [number, number])[];
}

/**
 * Writes a smaller model directory: the first layers and experts of the language model of `source`, and all other modules
 * as they are. It has the real model's sizes and weights, and runs where that does not fit; what it says means nothing.
 * Shards of `source` that hold nothing of the slice may be absent. The directory appears complete or not at all.
 * @throws {CaracalError} `INVALID_ARGUMENT` for more layers or experts than there are, for a bad option, when
 *   `directory` exists and may not be replaced, or is, contains or lies inside `source`; `CHECKPOINT_INVALID` when
 *   `source` lacks a file or tensor of the slice; `IO_ERROR` when the parent of `directory` does not exist, or the disk
 *   is too small or full; `ABORTED`
 */
export async function slice(source: string, directory: string, options: SliceOptions = {}): Promise<SliceResult> {
  checkPath("slice", "source", source);
  checkPath("slice", "directory", directory);
  checkOptions("slice", options, sliceOptions);
  const configFile = join(source, "config.json");
  const raw = await readConfig(configFile);
  const whole = parseLlmConfig(raw, configFile);
  await checkApart(source, directory);
  const { signal, onProgress, force = false } = options;
  const layers = count("layers", options.layers, whole.num_layers);
  const experts = count("experts", options.experts, whole.n_routed_experts);
  const cuts = await cutTensors(source, whole, layers, experts, signal);
  const bytes = totalBytes(cuts);
  const config = {
    ...(raw as object),
    num_layers: layers,
    n_routed_experts: experts,
    moe_topk: Math.min(whole.moe_topk, experts + whole.zero_expert_num),
    _slice: `${layers} of ${whole.num_layers} layers, ${experts} of ${whole.n_routed_experts} experts`,
  };
  const target = await createCheckpoint(directory, { force, bytes }, async (partial) => {
    await copyOthers(source, partial);
    await writeFile(join(partial, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
    await writeShards(partial, cuts, readCut, new Progress(bytes, onProgress, signal));
  });
  return { directory: target, layers, experts, bytes };
}

function count(argument: string, value: number | undefined, all: number): number {
  if (value === undefined) return all;
  if (Number.isInteger(value) && value >= 1 && value <= all) return value;
  const expected = `in [1, ${all}]`;
  const details = { argument, expected, actual: value };
  throw new CaracalError("INVALID_ARGUMENT", `${argument} must be ${expected}, got ${value}`, details);
}

async function cutTensors(
  source: string,
  whole: LlmConfig,
  layers: number,
  experts: number,
  signal: AbortSignal | undefined,
): Promise<Cut[]> {
  const isKept = (name: string) => Number(/\.experts\.(\d+)\./.exec(name)?.[1] ?? -1) < experts;
  const layout = new Map([...llmLayout({ ...whole, num_layers: layers })].filter(([name]) => isKept(name)));
  const entries = await findTensors(source, new Set(layout.keys()), { signal });
  checkTensors(entries, layout, source);
  return entries.map((entry) => {
    const { name, dtype, shape } = entry;
    const [routed, all] = [whole.n_routed_experts, whole.n_routed_experts + whole.zero_expert_num];
    if (!name.includes(".mlp.router.")) return { name, dtype, shape, source: entry, rows: [[0, shape[0]!]] };
    // A row per expert; those of zero experts follow those of the routed ones.
    const kept = [experts + whole.zero_expert_num, ...shape.slice(1)];
    return {
      name,
      dtype,
      shape: kept,
      source: entry,
      rows: [
        [0, experts],
        [routed, all],
      ],
    };
  });
}

const chunkBytes = 4 << 20;

async function* readCut({ source, rows }: Cut): AsyncGenerator<Uint8Array> {
  const row = source.byteLength / source.shape[0]!;
  for (const [first, end] of rows) {
    for (let at = first * row; at < end * row; at += chunkBytes) {
      const length = Math.min(chunkBytes, end * row - at);
      yield await BoundedFile.use(source.file, (file) => {
        checkVersion(source.file, source.version, file.version);
        return file.read(source.offset + at, length, source.name);
      });
    }
  }
}
