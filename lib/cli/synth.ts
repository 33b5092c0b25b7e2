import { SingleBar } from "cli-progress";
import { Command, InvalidArgumentError, Option } from "commander";
import { type PresetName, presetNames } from "../synth/presets.js";
import { type SynthProgress, synthesize } from "../synth/synthesize.js";

interface Options {
  readonly preset: PresetName;
  readonly seed: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `caracal synth DIR`: writes a complete model directory with random weights. */
export function synthCommand(): Command {
  return new Command("synth")
    .description("write a complete model directory with random weights: it runs like the real one and means nothing")
    .argument("<directory>", "where to; it must not exist yet")
    .addOption(new Option("--preset <name>", "sizes of the modules").choices(presetNames).default("tiny"))
    .option("--seed <number>", "the same seed gives the same bytes", parseSeed, 0)
    .option("--force", "replace a checkpoint that is there already")
    .option("--json", "print one JSON object, and no progress")
    .action(run);
}

async function run(directory: string, { preset, seed, force, json }: Options): Promise<void> {
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort(new Error("interrupted"));
  process.once("SIGINT", onInterrupt); // so that Ctrl-C leaves nothing half-made behind
  const bar = json ? undefined : progressBar();
  try {
    const { signal } = interrupt;
    const result = await synthesize(directory, { preset, seed, force, signal, onProgress: bar?.update });
    bar?.stop();
    const { parameters, bytes } = result;
    const sum = `${(parameters / 1e6).toFixed(1)} M parameters, ${(bytes / 1e6).toFixed(1)} MB`;
    console.log(json ? JSON.stringify({ preset, seed, ...result }) : `${result.directory}: ${sum}, preset ${preset}`);
  } finally {
    bar?.stop();
    process.off("SIGINT", onInterrupt);
  }
}

/** Drawn on stderr, and only where somebody can see it. */
function progressBar() {
  const format = "writing [{bar}] {percentage}% {file}";
  const bar = new SingleBar({ format, hideCursor: true, clearOnComplete: true, stream: process.stderr });
  return {
    update({ file, loaded, total }: SynthProgress) {
      if (!bar.isActive) bar.start(total, 0, { file });
      bar.update(loaded, { file });
    },
    stop: () => bar.stop(),
  };
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!Number.isSafeInteger(seed)) throw new InvalidArgumentError("expected a whole number");
  return seed;
}
