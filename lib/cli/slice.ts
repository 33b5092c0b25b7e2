import { Command } from "commander";
import { slice } from "../synth/slice.js";
import type { SynthProgress } from "../synth/writer.js";
import { interruptible } from "./interrupt.js";
import { jsonOption, parsePositive } from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly layers?: number;
  readonly experts?: number;
  readonly force?: true;
  readonly json?: true;
}

/** `caracal slice SOURCE DIR`: writes a smaller model directory out of another one. */
export function sliceCommand(): Command {
  return new Command("slice")
    .description("write a smaller model directory: the first layers and experts of another one, to test real weights")
    .argument("<source>", "model directory; shards that hold nothing of the slice may be absent")
    .argument("<directory>", "model directory to create")
    .option("--layers <n>", "layers of the language model to keep (default: all)", parsePositive)
    .option("--experts <n>", "experts of each layer to keep, beside the zero experts (default: all)", parsePositive)
    .option("--force", "replace a model directory that synth or slice wrote")
    .addOption(jsonOption())
    .action(run);
}

async function run(source: string, directory: string, { json, ...options }: Options): Promise<void> {
  const progress = new ProgressBar(!json);
  const onProgress = ({ file, loaded, total }: SynthProgress) => progress.show(`writing ${file}`, loaded, total);
  try {
    const result = await interruptible((signal) => slice(source, directory, { ...options, signal, onProgress }));
    progress.clear();
    const summary = `${result.layers} layers, ${result.experts} experts, ${(result.bytes / 1e6).toFixed(1)} MB of language model`;
    process.stdout.write(`${json ? JSON.stringify(result) : `${result.directory}: ${summary}`}\n`);
  } finally {
    progress.clear();
  }
}
