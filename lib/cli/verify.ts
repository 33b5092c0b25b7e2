import { basename } from "node:path";
import { Command, Option } from "commander";
import { printable } from "../checkpoint/problems.js";
import { Device, type DeviceOptions } from "../tensor/device.js";
import type { TensorReport } from "../verify/golden.js";
import { type FileReport, type VerifyOptions, verifyFile } from "../verify/verify.js";

interface Options {
  readonly device: NonNullable<DeviceOptions["backend"]>;
  readonly activations: NonNullable<VerifyOptions["activations"]>;
  readonly json?: true;
}

/** `caracal verify [options] <files...>`; the process ends with 1 when anything failed. */
export function verifyCommand(): Command {
  const command = new Command("verify")
    .description("run golden files through the library and compare every result")
    .argument("<files...>", "golden .safetensors files, or a preprocess.json")
    .addOption(new Option("--device <device>", "backend").choices(["auto", "cpu", "cuda"]).default("auto"))
    .addOption(new Option("--activations <dtype>", "between operations").choices(["f32", "bf16"]).default("f32"))
    .option("--json", "print the reports as JSON");
  return command.action(async (files: string[], options: Options) => {
    const write = command.configureOutput().writeOut!;
    await using device = await Device.open({ backend: options.device });
    const reports: FileReport[] = [];
    for (const file of files) {
      const report = await verifyFile(file, { device, activations: options.activations });
      reports.push(report);
      if (!options.json) write(`${describe(report).map(printable).join("\n")}\n`);
    }
    const failed = reports.filter(({ passed }) => !passed).length;
    const outcome = failed === 0 ? "all pass" : `${failed} of them FAIL`;
    if (options.json)
      write(`${JSON.stringify({ device: device.name, passed: failed === 0, files: reports }, null, 2)}\n`);
    else write(`${files.length} ${files.length === 1 ? "file" : "files"} on ${device.name}: ${outcome}\n`);
    if (failed > 0) process.exitCode = 1;
  });
}

function describe({ file, module, tensors, error }: FileReport): string[] {
  const head = `${basename(file)}${module ? `  (${module})` : ""}`;
  if (error) return [head, `  FAIL  ${error.code}: ${error.message}`];
  const width = Math.max(...tensors.map(({ name }) => name.length));
  return [head, ...tensors.map((tensor) => describeTensor(tensor, width))];
}

function describeTensor({ name, measure, error, tolerance, passed, note }: TensorReport, width: number): string {
  const number = (value: number) => (measure === "relative error" ? value.toExponential(1) : `${value}`);
  const numbers = `${measure} ${number(error)}, tolerance ${number(tolerance)}`;
  return `  ${passed ? "pass" : "FAIL"}  ${name.padEnd(width)}  ${numbers}${note ? ` (${note})` : ""}`;
}
