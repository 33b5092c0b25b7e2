import { basename } from "node:path";
import { Command } from "commander";
import { plural } from "../checkpoint/problems.js";
import { printable } from "../errors.js";
import type { DeviceOptions } from "../tensor/open.js";
import { Device } from "../tensor/tensor.js";
import type { TensorReport } from "../verify/golden.js";
import { type FileReport, type VerifyOptions, verifyFile } from "../verify/verify.js";
import { activationsOption, deviceOption, jsonOption } from "./options.js";
import { alignColumns } from "./table.js";

interface Options {
  readonly device: NonNullable<DeviceOptions["backend"]>;
  readonly activations: NonNullable<VerifyOptions["activations"]>;
  readonly json?: true;
}

/** `caracal verify [options] <files...>`: ends with exit code 1 if any comparison fails. */
export function verifyCommand(): Command {
  return new Command("verify")
    .description("run golden files through the library and compare every result")
    .argument("<files...>", "golden .safetensors files, or preprocess.json")
    .addOption(deviceOption())
    .addOption(activationsOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(files: string[], options: Options): Promise<void> {
  const write = (text: string) => process.stdout.write(`${text}\n`);
  await using device = await Device.open({ backend: options.device });
  const reports: FileReport[] = [];
  for (const file of files) {
    const report = await verifyFile(file, { device, activations: options.activations });
    reports.push(report);
    if (!options.json) write(describe(report).join("\n"));
  }
  const failed = reports.filter(({ passed }) => !passed).length;
  if (options.json) write(JSON.stringify({ device: device.name, passed: failed === 0, files: reports }, null, 2));
  else write(`${plural(files.length, "file")} on ${device.name}: ${failed === 0 ? "all pass" : `${failed} FAIL`}`);
  if (failed > 0) process.exitCode = 1;
}

function describe({ file, module, tensors, error }: FileReport): string[] {
  const head = printable(`${basename(file)}${module ? `  (${module})` : ""}`);
  if (error) return [head, printable(`  FAIL  ${error.code}: ${error.message}`)];
  return [head, ...alignColumns(tensors.map(describeTensor)).map((line) => `  ${line}`)];
}

function describeTensor({ name, measure, error, tolerance, passed, note }: TensorReport): string[] {
  const number = (value: number) => (measure === "relative error" ? value.toExponential(1) : `${value}`);
  const numbers = `${measure} ${number(error)}, tolerance ${number(tolerance)}`;
  return [passed ? "pass" : "FAIL", name, `${numbers}${note ? ` (${note})` : ""}`];
}
