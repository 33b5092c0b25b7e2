import { openSafetensors } from "../../lib/checkpoint/formats/safetensors.js";
import type { LoadOptions } from "../../lib/model/weightSource.js";
import { Weights } from "../../lib/model/weights.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { goldenPath } from "../support/golden.js";

/** The weights of a golden file, under their published names. */
export async function goldenWeights(device: Device, name: string, options: LoadOptions = {}): Promise<Weights> {
  const { entries } = await openSafetensors(goldenPath(name));
  return Weights.of(device, { "": entries }, options).part("weight");
}
