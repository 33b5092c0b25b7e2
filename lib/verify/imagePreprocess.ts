import { parseVisionConfig } from "../checkpoint/config.js";
import * as ops from "../ops/index.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Golden, Measure } from "./golden.js";

type Rgb = readonly [number, number, number];

/** Resizes 8-bit images, and normalises the expected pixels and cuts them into patches. */
export async function verifyImagePreprocess(golden: Golden): Promise<void> {
  const config = golden.config(parseVisionConfig);
  const { patch_size: patch, temporal_patch_size: temporal, spatial_merge_size: mergeSize } = config;
  for (let i = 0; golden.hasInput(`${i}.image`); i++) {
    const image = golden.input(`${i}.image`, "u8") as Tensor<"u8", Rgb>;
    const [height, width] = await golden.input(`${i}.size`, "i32").read();
    using resized = ops.resizeBicubic(image, [height!, width!]);
    golden.compare(`${i}.resized`, resized, pixelsOff);
    const pixels = golden.expected(`${i}.resized`, "u8"); // not `resized`, so that a pixel off by 1 does not count twice
    using patches = ops.patchify(pixels, {
      patch,
      temporal,
      mergeSize,
      mean: config.image_mean as Rgb,
      std: config.image_std as Rgb,
    });
    golden.compare(`${i}.patches`, patches, golden.f32);
  }
}

/** Resizing in 8 bits may occasionally round the other way: at most 1 % of the values may differ, by at most 1. */
const pixelsOff: Measure = (actual, expected) => {
  let off = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    largest = Math.max(largest, difference);
    if (difference > 0) off++;
  }
  const error = off / expected.length;
  const passed = error <= 0.01 && largest <= 1;
  return { measure: "share of pixels off", error, tolerance: 0.01, passed, note: `off by at most ${largest}` };
};
