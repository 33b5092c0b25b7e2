import { parseVisionConfig } from "../../../lib/checkpoint/config.js";
import { type VisionLimits, visionLimits } from "../../../lib/model/vision/resize.js";

/** The limits of a `vision/config.json` with these fields and defaults for the others. */
export const limitsOf = (config: Record<string, unknown> = {}): VisionLimits =>
  visionLimits(parseVisionConfig(config, "vision/config.json"));
