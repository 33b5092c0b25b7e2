import { CaracalError } from "../../errors.js";

/** Height and width, in the unit that the context names (pixels, patches or tokens). */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/**
 * What bounds the visual input, from `vision/config.json`. Token limits count 14×14 patches, as published.
 * `…VideoVit` bounds what the ViT sees of a video, `…Video` what is left after the post-squeeze.
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
  const rest = x - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}

/** Reads the limits of a `vision/config.json`; absent keys take the published class defaults. */
export function visionLimits(config: Readonly<Record<string, unknown>> = {}): VisionLimits {
  const read = (key: string, fallback: number): number => {
    const value = config[key] ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    throw new CaracalError("CHECKPOINT_INVALID", `vision config: ${key} must be a positive integer, got ${value}`, {
      key,
      value,
    });
  };
  const minTokens = read("min_tokens", 576);
  const maxTokens = read("max_tokens", 16384);
  return {
    patchSize: read("patch_size", 14),
    spatialMergeSize: read("spatial_merge_size", 1),
    resizeFactor: read("resize_factor", 8), // the report trains on sides divisible by 112 = 14 * 8
    minTokens,
    maxTokens,
    minTokensVideo: read("min_tokens_video", 64),
    maxTokensVideo: read("max_tokens_video", 16384),
    minTokensVideoVit: read("min_tokens_video_vit", minTokens),
    maxTokensVideoVit: read("max_tokens_video_vit", maxTokens),
  };
}

/**
 * The size in pixels that an image is resized to: both sides divisible by `factor` (then 14 and 28), the area within
 * [minPixels, maxPixels], the aspect ratio kept as far as that allows. As in LongCat-Flash-Omni's published code.
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
  // Extreme aspect ratios: one side became 0.
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

/** Tokens of a grid of patches: one per two horizontally adjacent patches. */
export function gridTokens(grid: Size): number {
  return Math.floor((grid.height * grid.width) / patchesPerToken);
}

/**
 * How much the visual tokens of a whole request are compressed: to at most `maxTokensVideo`; where that still leaves
 * more than `maxVisionTokens`, to those, rounded up to a tenth.
 */
export function squeezeRatio(totalTokens: number, maxTokensVideo: number, maxVisionTokens: number): number {
  const ratio = Math.max(1, totalTokens / maxTokensVideo);
  if (totalTokens / ratio <= maxVisionTokens) return ratio;
  return Math.ceil((totalTokens / maxVisionTokens) * 10) / 10;
}

/**
 * The post-squeeze: for each unit's grid of patches, the grid that its projected tokens are interpolated to (bilinear)
 * and its token count. Grids are in patches; a token is 1×2 patches. A ratio of at most 1 changes nothing.
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
