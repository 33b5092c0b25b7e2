import type { VisionConfig } from "../../checkpoint/config.js";
import { CaracalError } from "../../errors.js";

/** Height and width, in the unit that the context names (pixels, patches or tokens). */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/**
 * The bounds on visual input, from `vision/config.json`. Token limits count 14×14 patches, as published.
 * `…VideoVit` bounds a video's input to the ViT, `…Video` its tokens after the post-squeeze.
 */
export interface VisionLimits {
  readonly patchSize: number;
  readonly spatialMergeSize: number;
  readonly resizeFactor: number;
  readonly minTokens: number;
  readonly maxTokens: number;
  readonly minTokensVideo: number;
  readonly maxTokensVideo: number;
  readonly minTokensVideoVit: number;
  readonly maxTokensVideoVit: number;
}

/** Two horizontally adjacent patches make one token. */
const patchesPerToken = 2;

/** Python's `round`: halves go to the even neighbour. */
export function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const fraction = x - below;
  if (fraction === 0.5) return below % 2 === 0 ? below : below + 1;
  return fraction < 0.5 ? below : below + 1;
}

/** The limits that a configuration sets. */
export function visionLimits(config: VisionConfig): VisionLimits {
  return {
    patchSize: config.patch_size,
    spatialMergeSize: config.spatial_merge_size,
    resizeFactor: config.resize_factor,
    minTokens: config.min_tokens,
    maxTokens: config.max_tokens,
    minTokensVideo: config.min_tokens_video,
    maxTokensVideo: config.max_tokens_video,
    minTokensVideoVit: config.min_tokens_video_vit,
    maxTokensVideoVit: config.max_tokens_video_vit,
  };
}

/**
 * The size in pixels to resize an image to: both sides divisible by `factor` (then by 14 and 28), the area within
 * [minPixels, maxPixels], the aspect ratio preserved as far as that allows. As in LongCat-Flash-Omni's published code.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` when a side is below 1 pixel
 */
export function smartResize(
  height: number,
  width: number,
  limits: { factor: number; minPixels: number; maxPixels: number },
): Size {
  const { factor, minPixels, maxPixels } = limits;
  if (!(height >= 1 && width >= 1)) {
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `smartResize: expected sides of at least 1 pixel, got ${width}x${height}`,
    );
  }
  if (height < factor) {
    width = Math.trunc((factor / height) * width) + 1;
    height = factor;
  }
  if (width < factor) {
    height = Math.trunc((factor / width) * height) + 1;
    width = factor;
  }
  let h = roundHalfEven(height / factor) * factor;
  let w = roundHalfEven(width / factor) * factor;
  if (h * w > maxPixels) {
    const beta = Math.sqrt((height * width) / maxPixels);
    h = Math.floor(height / beta / factor) * factor;
    w = Math.floor(width / beta / factor) * factor;
  } else if (h * w < minPixels) {
    const beta = Math.sqrt(minPixels / (height * width));
    h = Math.ceil((height * beta) / factor) * factor;
    w = Math.ceil((width * beta) / factor) * factor;
  }
  // Extreme aspect ratios round one side down to 0.
  if (h < factor) [h, w] = [factor, Math.floor(maxPixels / factor)];
  if (w < factor) [h, w] = [Math.floor(maxPixels / factor), factor];
  return { height: h - (h % 14), width: w - (w % 28) };
}

/**
 * The size in pixels at which one image, or every frame of a video of `units` frame pairs, enters the ViT.
 * A video shares its patch budget among its units.
 */
export function visionInputSize(source: Size, limits: VisionLimits, video?: { units: number }): Size {
  const area = limits.patchSize ** 2;
  const maxPixels = limits.maxTokens * area;
  const factor = limits.patchSize * limits.spatialMergeSize * limits.resizeFactor;
  return smartResize(source.height, source.width, {
    factor,
    minPixels: (video ? limits.minTokensVideoVit : limits.minTokens) * area,
    maxPixels: video ? Math.min(Math.floor((limits.maxTokensVideoVit * area) / video.units), maxPixels) : maxPixels,
  });
}

/** The grid of tokens that a grid of patches becomes. */
export function tokenGrid(patches: Size): Size {
  return { height: patches.height, width: patches.width / patchesPerToken };
}

/** The number of tokens that a grid of patches becomes. */
export function gridTokens(patches: Size): number {
  return Math.floor((patches.height * patches.width) / patchesPerToken);
}

/**
 * The factor by which the visual tokens of a whole request are compressed: to at most `maxTokensVideo`, or, if that
 * leaves more than `maxVisionTokens`, to that many, rounded up to a tenth.
 */
export function squeezeRatio(totalTokens: number, maxTokensVideo: number, maxVisionTokens: number): number {
  const ratio = Math.max(1, totalTokens / maxTokensVideo);
  if (totalTokens / ratio <= maxVisionTokens) return ratio;
  return Math.ceil((totalTokens / maxVisionTokens) * 10) / 10;
}

/**
 * The post-squeeze: for each unit's grid of patches, the grid that its projected tokens are interpolated to (bilinear)
 * and the resulting token count. Grids count patches; a token is 1×2 patches. A ratio of at most 1 changes nothing.
 */
export function postSqueeze(
  grids: readonly Size[],
  options: { ratio: number; minTokensVideo: number; maxTokens: number; patchSize?: number },
): { grid: Size; tokens: number }[] {
  const { ratio, minTokensVideo, maxTokens, patchSize = 14 } = options;
  return grids.map((grid) => {
    const tokens = gridTokens(grid);
    if (ratio <= 1) return { grid, tokens };
    const area = patchSize ** 2;
    const size = smartResize(grid.height * patchSize, Math.floor(grid.width / patchesPerToken) * patchSize, {
      factor: 2 * patchSize,
      minPixels: minTokensVideo * area,
      maxPixels: Math.min(Math.trunc(tokens / ratio), maxTokens) * area,
    });
    const height = Math.floor(size.height / patchSize);
    const width = Math.floor(size.width / patchSize);
    return { grid: { height, width: width * patchesPerToken }, tokens: height * width };
  });
}
