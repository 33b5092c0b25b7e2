import { Command, InvalidArgumentError, Option } from "commander";
import { type QuantizeResult, quantizeCheckpoint, type TensorError } from "../synth/quantize.js";
import { type QuantizeFormat, type QuantizeLayout, quantizeFormats } from "../synth/quantizePlan.js";
import type { SynthProgress } from "../synth/writer.js";
import { Device } from "../tensor/tensor.js";
import { interruptible } from "./interrupt.js";
import { deviceOption, jsonOption, threadsOption } from "./options.js";
import { ProgressBar } from "./progress.js";
import { formatTable } from "./table.js";

interface Options {
  /** Required; the library refuses to work without. */
  readonly format: QuantizeFormat;
  readonly group?: 32 | 64 | 128;
  readonly layout?: QuantizeLayout;
  readonly device: "auto" | "cpu" | "cuda";
  readonly threads?: number;
  readonly force?: true;
  readonly json?: true;
}

/** `caracal quantize SOURCE DIR`: writes a model directory with a quantised language model. */
export function quantizeCommand(): Command {
  return new Command("quantize")
    .description("write a model directory with a quantised language model; an interrupted call goes on where it was")
    .argument("<source>", "model directory in its published layout")
    .argument("<directory>", "model directory to create, or to go on with")
    .addOption(
      new Option(
        "--format <name>",
        "fp8 in blocks of 128×128, or integers of 8 or 4 bits in the format of MLX (required)",
      ).choices(quantizeFormats),
    )
    .addOption(
      new Option("--group <n>", "columns that share a scale, for int8 and int4 (default: 64)").argParser(parseGroup),
    )
    .addOption(
      new Option(
        "--layout <name>",
        "names of the tensors: as published (default), or as mlx-lm saves int8 and int4",
      ).choices(["published", "mlx"]),
    )
    .addOption(deviceOption())
    .addOption(threadsOption())
    .option("--force", "begin again, and replace a model directory that synth, slice or quantize wrote")
    .addOption(jsonOption())
    .action(run);
}

const parseGroup = (text: string): 32 | 64 | 128 => {
  const group = Number(text);
  if (group === 32 || group === 64 || group === 128) return group;
  throw new InvalidArgumentError("Expected 32, 64 or 128.");
};

async function run(source: string, directory: string, options: Options): Promise<void> {
  const { device: backend, threads, json, ...rest } = options;
  const progress = new ProgressBar(!json);
  const onProgress = ({ file, loaded, total }: SynthProgress) => progress.show(`writing ${file}`, loaded, total);
  await using device = await Device.open({ backend, threads });
  try {
    const result = await interruptible((signal) =>
      quantizeCheckpoint(source, directory, { ...rest, device, signal, onProgress }),
    );
    progress.clear();
    process.stdout.write(`${json ? JSON.stringify(result) : describe(result, options)}\n`);
  } finally {
    progress.clear();
  }
}

function describe({ directory, sourceBytes, bytes, resumed, errors }: QuantizeResult, { format }: Options): string {
  const size = (n: number) => `${(n / 1e6).toFixed(1)} MB`;
  const before = resumed > 0 ? `, ${resumed} shards of which were there` : "";
  const rows = byKind(errors).map(({ kind, tensors, mean, worst }) => [
    kind,
    tensors,
    percent(mean),
    percent(worst.error),
    worst.name,
  ]);
  return [
    `${directory}: ${format}, ${size(bytes)} of language model instead of ${size(sourceBytes)}${before}`,
    "",
    "The RMS of the weights' errors, relative to the RMS of the weights:",
    "",
    formatTable(["tensor", "tensors", "mean", "worst", "in"], rows),
  ].join("\n");
}

const percent = (error: number) => `${(100 * error).toPrecision(3)} %`;

interface KindOfTensor {
  readonly kind: string;
  readonly tensors: number;
  readonly mean: number;
  readonly worst: TensorError;
}

/** The errors of tensors that differ in numbers only, such as that of the layer. */
function byKind(errors: readonly TensorError[]): KindOfTensor[] {
  const kinds = new Map<string, TensorError[]>();
  for (const error of errors) {
    const kind = error.name
      .replace(/\.weight$/, "")
      .replace(/\.\d+(?=\.)/g, "")
      .replace(/^model\.(layers\.)?/, "");
    const all = kinds.get(kind);
    if (all) all.push(error);
    else kinds.set(kind, [error]);
  }
  return [...kinds].map(([kind, all]) => ({
    kind,
    tensors: all.length,
    mean: all.reduce((sum, { error }) => sum + error, 0) / all.length,
    worst: all.reduce((worst, tensor) => (tensor.error > worst.error ? tensor : worst)),
  }));
}
