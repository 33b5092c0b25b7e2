// The device of a benchmark, and the options that choose it.
import type { Command } from "commander";
import { deviceOption, threadsOption } from "../lib/cli/options.js";
import { CaracalError } from "../lib/errors.js";
import { Device } from "../lib/tensor/tensor.js";
import { outputOptions } from "./output.js";

export interface DeviceOptions {
  readonly device: "auto" | "cpu" | "cuda";
  readonly threads?: number;
}

/** Adds a benchmark of a device. */
export const measured = (bench: Command, name: string, description: string): Command =>
  outputOptions(bench.command(name).description(description).addOption(deviceOption()).addOption(threadsOption()));

/**
 * Opens a device to time.
 * @throws {CaracalError} `UNSUPPORTED` for a virtual GPU; whatever `Device.open` throws
 */
export async function openMeasured({ device: backend, threads }: DeviceOptions): Promise<Device> {
  const device = await Device.open({ backend, ...(threads === undefined ? {} : { threads }) });
  if (!device.virtual) return device;
  device.dispose();
  throw new CaracalError(
    "UNSUPPORTED",
    `${device.name} is not a GPU, so its times mean nothing: \`caracal bench counters\` counts what kernels do there`,
  );
}
