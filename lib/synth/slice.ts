import { join } from "node:path";
import { checkTensorsSteps } from "../checkpoint/checkTensors.js";
import { type LlmConfig, parseLlmConfig, readConfig } from "../checkpoint/config.js";
import { findTensors, tensorNames } from "../checkpoint/formats/safetensors.js";
import { type ExpectedTensor, type Layout, llmLayoutSteps } from "../checkpoint/layout.js";
import { isMlx, mlxLayoutSteps } from "../checkpoint/mlxLayout.js";
import {
  aFunction,
  checkOptions,
  checkPath,
  type OptionRule,
  oneOf,
  optional,
  positiveInteger,
  refuseValue,
  wholeNumber,
} from "../options.js";
import { type Steps, Turns } from "../turns.js";
import { type Derivation, type DerivedFrom, derive } from "./derive.js";
import { type Cut, cut, isKept, type SliceSizes, sliceConfig } from "./slicePlan.js";
import { storedBytes } from "./storedRows.js";
import type { SynthProgress } from "./writer.js";

/** Options of `sliceCheckpoint`. */
export interface SliceOptions {
  /** How many of the first layers to keep. Default: all. */
  readonly layers?: number | undefined;
  /** How many of the first routed experts of each layer to keep. Default: all. */
  readonly experts?: number | undefined;
  /**
   * How many of the first zero experts of each layer to keep. Default: the same share as of the routed experts, at least
   * one, so that a token still meets about as many routed experts as in the whole model.
   */
  readonly zeroExperts?: number | undefined;
  /** Allows beginning again, and replacing a directory that this library wrote, but never other files. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each part of a file. */
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
}

const sliceOptions = {
  layers: optional(positiveInteger),
  experts: optional(positiveInteger),
  zeroExperts: optional(wholeNumber),
  force: optional(oneOf(true, false)),
  signal: true,
  onProgress: optional(aFunction),
} satisfies Record<keyof SliceOptions, OptionRule | true>;

/** What `sliceCheckpoint` has written. */
export interface SliceResult {
  readonly directory: string;
  readonly layers: number;
  /** Routed experts of a layer, and zero experts. */
  readonly experts: number;
  readonly zeroExperts: number;
  /** The experts that the router picks for a token: fewer than before if fewer are left. */
  readonly topk: number;
  /** Bytes of the language model's tensors. */
  readonly bytes: number;
  /** Shards that an earlier, interrupted call had finished. */
  readonly resumed: number;
  /** Tensors of the source that the library does not use, and which the slice lacks: of MTP and n-gram embeddings, say. */
  readonly unused: readonly string[];
}

/**
 * Writes a smaller model directory: the first layers and experts of the language model of `source`, and all other files as
 * they are. It has the real model's sizes and weights, and runs where that does not fit; what it says means little. The
 * router's rows are cut with the experts, so that a layer computes what the whole one does whose other experts are masked.
 *
 * Reads only what it keeps: shards of `source` that hold nothing of the slice may be absent. Works in memory that does not
 * depend on the model's size. If it is interrupted, the same call goes on after the last complete shard, and the directory
 * gets the bytes that it would have had.
 * @param source a model directory of any format that can be loaded: bf16, f32, FP8, or as mlx-lm quantises it
 * @throws {CaracalError} `INVALID_ARGUMENT` for more layers or experts than there are, for a bad option, when `directory`
 *   exists and may not be replaced, was begun with other options or from another source, is being written by another call,
 *   or is, contains or lies inside `source`; `CHECKPOINT_INVALID` when `source` lacks a file or tensor of the slice, or
 *   holds links to folders, links that lead nowhere, or FIFOs; `IO_ERROR` when the parent of `directory` does not exist, or
 *   the disk is too small or full; `ABORTED`
 */
export async function sliceCheckpoint(
  source: string,
  directory: string,
  options: SliceOptions = {},
): Promise<SliceResult> {
  checkPath("sliceCheckpoint", "source", source);
  checkPath("sliceCheckpoint", "directory", directory);
  checkOptions("sliceCheckpoint", options, sliceOptions);
  const configFile = join(source, "config.json");
  const raw = (await readConfig(configFile)) as Readonly<Record<string, unknown>>;
  const whole = parseLlmConfig(raw, configFile);
  const sizes = sizesOf(source, whole, options);
  const { entries, unused, metadata } = await readTensors(source, whole, sizes, options.signal);
  const derivation: Derivation<Cut, never> = {
    job: jobOf(sizes),
    pieces: entries.map((entry) => cut(entry, whole, sizes)),
    write: writeCut,
    metadata,
    config: sliceConfig(raw, whole, sizes),
    isRecorded: (_): _ is never => false,
  };
  const result = await derive({ directory: source, raw, entries }, directory, derivation, options);
  return { directory: result.directory, ...sizes, bytes: result.bytes, resumed: result.resumed, unused };
}

function sizesOf(source: string, whole: LlmConfig, options: SliceOptions): SliceSizes {
  const { n_routed_experts: routed, zero_expert_num: zeros } = whole;
  const checked = (option: "layers" | "experts" | "zeroExperts", all: number, fallback = all): number => {
    const value = options[option] ?? fallback;
    if (value > all) refuseValue("sliceCheckpoint", option, `at most ${all}, as many as ${source} has`, value);
    return value;
  };
  const layers = checked("layers", whole.num_layers);
  const experts = checked("experts", routed);
  const share = Math.max(1, Math.round((zeros * experts) / routed));
  const zeroExperts = checked("zeroExperts", zeros, Math.min(zeros, share));
  return { layers, experts, zeroExperts, topk: Math.min(whole.moe_topk, experts + zeroExperts) };
}

function jobOf({ layers, experts, zeroExperts }: SliceSizes): Record<string, string> {
  const sizes = { layers, experts, "zero experts": zeroExperts };
  return { command: "slice", ...Object.fromEntries(Object.entries(sizes).map(([name, n]) => [name, String(n)])) };
}

/** The tensors of the source that are read, those that nothing reads, and how the shards are marked. */
async function readTensors(
  source: string,
  whole: LlmConfig,
  sizes: SliceSizes,
  signal: AbortSignal | undefined,
): Promise<Pick<DerivedFrom, "entries"> & Pick<SliceResult, "unused"> & Pick<Derivation<Cut, never>, "metadata">> {
  const names = await tensorNames(source, { signal });
  const turns = new Turns("slicing a checkpoint", signal);
  const mlx = isMlx(whole, names);
  const all = await turns.during(mlx ? mlxLayoutSteps(whole, names) : llmLayoutSteps(whole));
  const { layout, unused } = await turns.during(divide(all, names, sizes));
  const entries = await findTensors(source, new Set(layout.keys()), { signal });
  await turns.during(checkTensorsSteps(entries, layout, source));
  return { entries, unused, metadata: mlx ? "mlx" : "pt" };
}

/** The layout of what is kept, and the names that are not in the whole layout. */
function* divide(
  all: Layout,
  names: ReadonlySet<string>,
  sizes: SliceSizes,
): Steps<{ readonly layout: Layout; readonly unused: string[] }> {
  const layout = new Map<string, ExpectedTensor>();
  for (const [name, expected] of all) {
    if (isKept(name, sizes)) layout.set(name, expected);
    yield;
  }
  const unused: string[] = [];
  for (const name of names) {
    if (!all.has(name)) unused.push(name);
    yield;
  }
  return { layout, unused };
}

const writeCut: Derivation<Cut, never>["write"] = async ({ parts }, put) => {
  for (const part of parts) for await (const bytes of storedBytes(part)) await put([bytes]);
  return [];
};
