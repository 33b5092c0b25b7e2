import { Command } from "commander";
import { OmniModel } from "../model/omni.js";
import type { OmniPackedCacheNote } from "../model/packed/cache.js";
import { Device } from "../tensor/tensor.js";
import { interruptible } from "./interrupt.js";
import { jsonOption, speechDtypeOption } from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly to?: string;
  readonly speechDtype: "stored" | "bf16";
  readonly json?: true;
}

/** `caracal pack DIR`: writes the packed weights of a model directory. */
export function packCommand(): Command {
  return new Command("pack")
    .description(
      "write the weights of a model directory in the layout of the CPU backend, so that loading it is opening files",
    )
    .argument("<directory>", "model directory")
    .option("--to <folder>", "where to write them (default: caracal-packed beside the weights)")
    .addOption(speechDtypeOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, { to, speechDtype, json }: Options): Promise<void> {
  const progress = new ProgressBar(!json);
  try {
    await using device = await Device.open({ backend: "cpu" });
    const notes = await interruptible(async (signal) => {
      await using model = await OmniModel.load(directory, {
        device,
        signal,
        speechDtype,
        packedCache: to ?? true,
        onProgress: ({ module, loaded, total }) => progress.show(`packing ${module}`, loaded, total),
      });
      return model.packedCache;
    });
    progress.clear();
    process.stdout.write(json ? `${JSON.stringify(notes)}\n` : notes.map(line).join(""));
    if (notes.some(({ outcome }) => outcome === "packed")) process.exitCode = 1;
  } finally {
    progress.clear();
  }
}

function line({ module, file, outcome, reason }: OmniPackedCacheNote): string {
  const text = { mapped: "is up to date", written: "written", packed: `not written: ${reason}` }[outcome];
  return `${module}: ${file}: ${text}\n`;
}
