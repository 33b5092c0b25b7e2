import { Command } from "commander";
import { type SliceResult, sliceCheckpoint } from "../synth/slice.js";
import type { SynthProgress } from "../synth/writer.js";
import { interruptible } from "./interrupt.js";
import { jsonOption, parseCount, parsePositive } from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly layers?: number;
  readonly experts?: number;
  readonly zeroExperts?: number;
  readonly force?: true;
  readonly json?: true;
}

/** `caracal slice SOURCE DIR`: writes a smaller model directory out of another one. */
export function sliceCommand(): Command {
  return new Command("slice")
    .description(
      "write a smaller model directory, the first layers and experts of another one, to run real weights on a small " +
        "machine; an interrupted call goes on where it was",
    )
    .argument("<source>", "model directory, quantised or not; shards that hold nothing of the slice may be absent")
    .argument("<directory>", "model directory to create, or to go on with")
    .option("--layers <n>", "layers of the language model to keep (default: all)", parsePositive)
    .option("--experts <n>", "routed experts of each layer to keep (default: all)", parsePositive)
    .option(
      "--zero-experts <n>",
      "zero experts of each layer to keep (default: the same share as of the routed ones)",
      parseCount,
    )
    .option("--force", "begin again, and replace a model directory that synth, slice or quantize wrote")
    .addOption(jsonOption())
    .action(run);
}

async function run(source: string, directory: string, { json, ...options }: Options): Promise<void> {
  const progress = new ProgressBar(!json);
  const onProgress = ({ file, loaded, total }: SynthProgress) => progress.show(`writing ${file}`, loaded, total);
  try {
    const result = await interruptible((signal) =>
      sliceCheckpoint(source, directory, { ...options, signal, onProgress }),
    );
    progress.clear();
    process.stdout.write(`${json ? JSON.stringify(result) : describe(result)}\n`);
  } finally {
    progress.clear();
  }
}

function describe({ directory, layers, experts, zeroExperts, topk, bytes, resumed, unused }: SliceResult): string {
  const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  const kept = `${count(layers, "layer")} of ${count(experts, "expert")} and ${count(zeroExperts, "zero expert")}`;
  const before = resumed > 0 ? `, ${count(resumed, "shard")} of which were there` : "";
  const summary = `${kept}, of which the router picks ${topk}, ${(bytes / 1e6).toFixed(1)} MB of language model${before}`;
  const left = unused.length > 0 ? `\nleft out, since it is not used: ${list(unused)}` : "";
  return `${directory}: ${summary}${left}`;
}

/** The first names of a list that may be long. */
function list(names: readonly string[]): string {
  const most = 3;
  const more = names.length > most ? `, and ${names.length - most} more` : "";
  return names.slice(0, most).join(", ") + more;
}
