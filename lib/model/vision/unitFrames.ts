import type { RgbImage } from "../../media/image.js";
import type { Video } from "../../media/video.js";
import type { VisionUnit } from "./plan.js";

/**
 * Yields the two frames of each unit in order (an image is both), decoded on demand: each video is read once,
 * with one pair of frames in memory at a time.
 */
export function unitFrames(
  units: readonly VisionUnit[],
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<readonly [RgbImage, RgbImage]> {
  return mapUnitFrames(units, (frame) => frame, options);
}

/**
 * As `unitFrames`, but yields what `map` makes of each frame. It is called once a frame, so that one is in memory. With
 * `reuse`, the next frame may overwrite the one that `map` was given.
 */
export async function* mapUnitFrames<T>(
  units: readonly VisionUnit[],
  map: (frame: RgbImage, unit: VisionUnit) => T | Promise<T>,
  options: { signal?: AbortSignal; reuse?: boolean } = {},
): AsyncGenerator<readonly [T, T]> {
  for (let at = 0; at < units.length; ) {
    const { source } = units[at]!;
    if (!isVideo(source)) {
      const mapped = await map(source, units[at]!);
      yield [mapped, mapped];
      at++;
      continue;
    }
    const first = at;
    while (at < units.length && units[at]!.source === source && continues(units, first, at)) at++;
    const run = units.slice(first, at);
    const indices = run.flatMap((unit) => unit.frames!);
    let pending: T | null = null;
    let frames = 0;
    for await (const frame of source.frames(indices, options)) {
      const mapped: T = await map(frame, run[frames++ >> 1]!);
      if (pending === null) {
        pending = mapped;
        continue;
      }
      yield [pending, mapped];
      pending = null;
    }
  }
}

function isVideo(source: RgbImage | Video): source is Video {
  return "frameCount" in source;
}

/** Whether unit `at` follows its predecessor in the video: a request may contain the same video twice. */
function continues(units: readonly VisionUnit[], first: number, at: number): boolean {
  return at === first || units[at - 1]!.frames![1] <= units[at]!.frames![0];
}
