import { CaracalError } from "../../errors.js";
import type { RgbImage } from "../../media/image.js";
import type { Video } from "../../media/video.js";
import type { Steps } from "../../turns.js";
import { type InterleavedSampling, sampleInterleavedVideo, sampleVideo } from "./frames.js";
import {
  gridTokens,
  postSqueeze,
  type Size,
  squeezeRatio,
  tokenGrid,
  type VisionLimits,
  visionInputSize,
} from "./resize.js";

/** The plan of one encoder input: two frames of a video, or an image that serves as both frames. */
export interface VisionUnit {
  readonly source: RgbImage | Video;
  /** Frame indices of a video; null for an image. */
  readonly frames: readonly [number, number] | null;
  /** Time stamp in seconds; 0 for an image. */
  readonly seconds: number;
  /** The size in pixels to resize the source to. */
  readonly inputSize: Size;
  /** Patches of the resized source. */
  readonly patches: Size;
  /** The grid to interpolate the projected tokens (patches.height × patches.width / 2) to, or that grid itself. */
  readonly tokenGrid: Size;
  /** tokenGrid.height · tokenGrid.width: rows in the prompt. */
  readonly tokens: number;
}

/** One image or video of the request, with its units. */
export interface VisionItem {
  readonly units: readonly VisionUnit[];
  readonly strategy: "sequential" | "average";
}

/** Visual input: an image, or a video with or without its sound interleaved. */
export type VisionSource =
  | { readonly type: "image"; readonly image: RgbImage }
  | { readonly type: "video"; readonly video: Video; readonly interleaved: boolean };

/** The number of units of an image or video. @throws {CaracalError} `INVALID_ARGUMENT` when a video has too many */
export function unitCount(source: VisionSource): number {
  return source.type === "image" ? 1 : chooseFrames(source).units.length;
}

/**
 * Chooses frames and sizes for all images and videos of a request, in steps. They are planned together, because the post-squeeze
 * compresses all of them by one ratio so that at most `maxVisionTokens` remain.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` when a unit would be left without tokens
 */
export function* planVision(
  sources: readonly VisionSource[],
  limits: VisionLimits,
  maxVisionTokens: number,
): Steps<VisionItem[]> {
  const items: UnsqueezedItem[] = [];
  for (const source of sources) items.push(yield* planItem(source, limits));
  const units = items.flatMap((item) => item.units);
  const total = units.reduce((sum, unit) => sum + gridTokens(unit.patches), 0);
  const ratio = squeezeRatio(total, limits.maxTokensVideo, maxVisionTokens);
  const planned: VisionItem[] = [];
  for (const item of items) {
    const itemUnits: VisionUnit[] = [];
    for (const unit of item.units) {
      yield;
      const [squeezed] = postSqueeze([unit.patches], { ...limits, ratio });
      const { grid, tokens } = squeezed!;
      if (tokens === 0) {
        throw new CaracalError(
          "INVALID_ARGUMENT",
          `${units.length} images and frame pairs are too many for ${maxVisionTokens} visual tokens; send fewer`,
        );
      }
      itemUnits.push({ ...unit, tokenGrid: tokenGrid(grid), tokens });
    }
    planned.push({ units: itemUnits, strategy: item.strategy });
  }
  return planned;
}

type UnsqueezedUnit = Omit<VisionUnit, "tokenGrid" | "tokens">;
interface UnsqueezedItem extends Pick<VisionItem, "strategy"> {
  readonly units: readonly UnsqueezedUnit[];
}

function* planItem(source: VisionSource, limits: VisionLimits): Steps<UnsqueezedItem> {
  yield;
  if (source.type === "image") {
    const units = [sizedUnit({ source: source.image, frames: null, seconds: 0 }, limits)];
    return { units, strategy: "sequential" };
  }
  const { units, strategy } = chooseFrames(source);
  const sized: UnsqueezedUnit[] = [];
  for (const unit of units) {
    sized.push(sizedUnit({ ...unit, source: source.video }, limits, { units: units.length }));
    yield;
  }
  return { units: sized, strategy };
}

function chooseFrames({ video, interleaved }: VisionSource & { type: "video" }): InterleavedSampling {
  return interleaved ? sampleInterleavedVideo(video) : { units: sampleVideo(video), strategy: "sequential" };
}

function sizedUnit(
  unit: Pick<VisionUnit, "source" | "frames" | "seconds">,
  limits: VisionLimits,
  video?: { units: number },
): UnsqueezedUnit {
  const inputSize = visionInputSize(unit.source, limits, video);
  const patches = { height: inputSize.height / limits.patchSize, width: inputSize.width / limits.patchSize };
  return { ...unit, inputSize, patches };
}
