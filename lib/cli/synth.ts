import { Command, Option } from "commander";
import type { MatrixDType } from "../synth/plan.js";
import { type PresetName, presetNames } from "../synth/presets.js";
import { type SynthProgress, synthesize } from "../synth/synthesize.js";
import { interruptible } from "./interrupt.js";
import { jsonOption, parseCount } from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly preset: PresetName;
  readonly matrices: MatrixDType;
  readonly seed: number;
  readonly force?: true;
  readonly json?: true;
}

/** `caracal synth DIR`: writes a complete model directory with random weights. */
export function synthCommand(): Command {
  return new Command("synth")
    .description("write a complete model directory with random weights: it runs like the real model, but says nothing")
    .argument("<directory>", "model directory to create")
    .addOption(new Option("--preset <name>", "sizes of the modules").choices(presetNames).default("tiny"))
    .addOption(
      new Option("--matrices <dtype>", "dtype of the language model's matrices")
        .choices(["bf16", "f8e4m3"])
        .default("bf16"),
    )
    .option("--seed <n>", "seed of the weights; the same seed gives the same bytes", parseCount, 0)
    .option("--force", "replace a model directory that synth, slice or quantize wrote")
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, { preset, matrices, seed, force, json }: Options): Promise<void> {
  const progress = new ProgressBar(!json);
  const onProgress = ({ file, loaded, total }: SynthProgress) => progress.show(`writing ${file}`, loaded, total);
  try {
    const result = await interruptible((signal) =>
      synthesize(directory, { preset, matrices, seed, force, signal, onProgress }),
    );
    progress.clear();
    const { parameters, bytes } = result;
    const summary = `preset ${preset}, ${(parameters / 1e6).toFixed(1)} M parameters, ${(bytes / 1e6).toFixed(1)} MB`;
    const text = json ? JSON.stringify({ preset, matrices, seed, ...result }) : `${result.directory}: ${summary}`;
    process.stdout.write(`${text}\n`);
  } finally {
    progress.clear();
  }
}
