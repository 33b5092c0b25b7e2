import { parseVisionConfig } from "../checkpoint/config.js";
import { visionEncoderLayout, visionProjectorLayout } from "../checkpoint/layout.js";
import { VisionEncoder } from "../model/vision/encoder.js";
import type { Grid } from "../model/vision/units.js";
import type { Golden } from "./golden.js";

/** Runs the packed patches of several images through the ViT and its projector. */
export async function verifyVision(golden: Golden): Promise<void> {
  const config = golden.config(parseVisionConfig);
  const outputSize = golden.weights.shape("vision_projector.proj.weight")[0]!;
  golden.checkWeights("vision_encoder", visionEncoderLayout(config));
  golden.checkWeights("vision_projector", visionProjectorLayout(config, outputSize));
  const encoder = await VisionEncoder.load(golden.weights, config, { activations: golden.activations });
  const values = await golden.input("grid_shapes", "i32").read();
  const grids = Array.from({ length: values.length / 3 }, (_, i): Grid => {
    return [values[3 * i]!, values[3 * i + 1]!, values[3 * i + 2]!];
  });
  const patches = golden.input("pixel_values", "f32");
  using tokens = encoder.encode(patches, grids, { tap: (name, value) => golden.compareLayer(name, value) });
  golden.compare("projector", tokens, golden.tolerance("final"));
}
