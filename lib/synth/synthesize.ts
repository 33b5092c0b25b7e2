import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syntheticNote } from "../checkpoint/config.js";
import { elementCount } from "../checkpoint/entry.js";
import { aFunction, checkOptions, checkPath, type OptionRule, oneOf, optional, wholeNumber } from "../options.js";
import { type MatrixDType, type Plan, planTensors } from "./plan.js";
import { type Preset, type PresetName, presetNames, preset as presetOf } from "./presets.js";
import { tensorBytes } from "./random.js";
import { totalBytes, writeShards } from "./safetensors.js";
import { createCheckpoint } from "./target.js";
import { makeTokenizer, type TokenizerFiles } from "./tokenizer.js";
import { writeTorchArchive } from "./torch.js";
import { Progress, type SynthProgress, writeNew, writing } from "./writer.js";

export type { SynthProgress } from "./writer.js";

export interface SynthOptions {
  /** The sizes of the modules. Default `tiny`. */
  readonly preset?: PresetName | undefined;
  /** The dtype of the language model's attention, dense and expert matrices: bf16 (default) or f8e4m3 with scales. */
  readonly matrices?: MatrixDType | undefined;
  /** A whole number from 0. The same seed gives the same bytes. Default 0. */
  readonly seed?: number | undefined;
  /** Allows replacing a checkpoint that this library wrote, but never other files. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
}

const synthOptions = {
  preset: optional(oneOf(...presetNames)),
  matrices: optional(oneOf("bf16", "f8e4m3")),
  seed: optional(wholeNumber),
  force: optional(oneOf(true, false)),
  signal: true,
  onProgress: optional(aFunction),
} satisfies Record<keyof SynthOptions, OptionRule | true>;

export interface SynthResult {
  readonly directory: string;
  readonly parameters: number;
  /** Bytes of tensor data. */
  readonly bytes: number;
}

/**
 * Writes a complete model directory in the published layout, with random weights: it runs like the real model, but its
 * output means nothing. The directory appears complete or not at all.
 * @throws {CaracalError} `INVALID_ARGUMENT` when `directory` exists and may not be replaced, or for a bad option;
 *   `IO_ERROR` when the parent of `directory` does not exist, or the disk is too small or full; `ABORTED`
 */
export async function synthesize(directory: string, options: SynthOptions = {}): Promise<SynthResult> {
  checkPath("synthesize", "directory", directory);
  checkOptions("synthesize", options, synthOptions);
  const { preset: name = "tiny", matrices = "bf16", seed = 0, force = false, signal, onProgress } = options;
  const preset = presetOf(name);
  const tokenizer = makeTokenizer(Math.min(preset.llm.vocab_size, 1 << 14), preset.llm.max_position_embeddings);
  const plan = planTensors(preset, tokenizer.size, matrices);
  const tensors = [...plan.llm, ...[...plan.archives.values()].flat()];
  const bytes = totalBytes(tensors);
  const target = await createCheckpoint(directory, { force, bytes }, (partial) =>
    writeAll(partial, { preset, plan, tokenizer, seed }, new Progress(bytes, onProgress, signal)),
  );
  return { directory: target, parameters: tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0), bytes };
}

interface Contents {
  readonly preset: Preset;
  readonly plan: Plan;
  readonly tokenizer: TokenizerFiles;
  readonly seed: number;
}

async function writeAll(directory: string, { preset, plan, tokenizer, seed }: Contents, progress: Progress) {
  const files = { ...(await configFiles(preset)), ...tokenizerFiles(tokenizer) };
  for (const [file, text] of Object.entries(files)) {
    const path = join(directory, file);
    await writing(path, mkdir(dirname(path), { recursive: true }));
    await writeNew(path, text);
  }
  await writeShards(directory, plan.llm, (tensor) => tensorBytes(tensor, seed), progress);
  for (const [file, tensors] of plan.archives) {
    await writeTorchArchive(join(directory, file), tensors, seed, (bytes) => progress.advance(file, bytes));
  }
}

function tokenizerFiles({ model, config }: TokenizerFiles) {
  return { "tokenizer.json": json(model), "tokenizer_config.json": json(config) };
}

async function configFiles({ llm, vision, audio, codec }: Preset): Promise<Record<string, string>> {
  const { stringify: toYaml } = await import("yaml");
  const note = { _note: syntheticNote };
  const fixed = {
    architectures: ["LongcatFlashOmniForCausalLM"],
    torch_dtype: "bfloat16",
    hidden_act: "silu",
    attention_method: "MLA",
    attention_bias: false,
    router_bias: false,
    tie_word_embeddings: false,
    zero_expert_type: "identity",
  };
  return {
    "config.json": json({ ...note, ...fixed, ...llm }),
    "vision/config.json": json({ ...note, resolution_mode: "native", ...vision }),
    "audio/config.json": json({ ...note, ...audio, right_stride: 1 }),
    "audio/preprocessor_config.json": json(featureConfig),
    "audio/global_cmvn": cmvnStats(featureConfig.fbank.num_mel_bins),
    "audio_codec/config.yaml": toYaml({ codec_config: codec }),
  };
}

const featureConfig = {
  fbank: {
    dither: 0,
    frame_length: 25,
    frame_shift: 10,
    preemphasis: 0.97,
    freq: 16000,
    low_freq: 40,
    high_freq: -200,
    num_mel_bins: 80,
  },
  delta: { delta_order: 0, window_size: 2 },
  cmvn: { global_cmvn: "global_cmvn" },
  splice: { left: 7, right: 7, stride: 8, random_start: false, seed: 0 },
};

/** Kaldi statistics of log mel energies like those of speech: mean about 10, falling with frequency, variance 12. */
function cmvnStats(bins: number): string {
  const frames = 1e6;
  const means = Array.from({ length: bins }, (_, i) => 11.5 - (3 * i) / bins);
  const sums = means.map((mean) => mean * frames);
  const squares = means.map((mean) => (mean * mean + 12) * frames);
  return ` [\n  ${[...sums, frames].join(" ")}\n  ${[...squares, 0].join(" ")} ]\n`;
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
