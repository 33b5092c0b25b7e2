import type { RgbImage } from "../../media/image.js";
import type { Video } from "../../media/video.js";
import type { VisionUnit } from "./plan.js";

/**
 * Yields the two frames of each unit in order (an image is both), decoded on demand: each video is read once,
 * with one pair of frames in memory at a time.
 */
export async function* unitFrames(
  units: readonly VisionUnit[],
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<readonly [RgbImage, RgbImage]> {
  for (let at = 0; at < units.length; ) {
    const { source } = units[at]!;
    if (!isVideo(source)) {
      yield [source, source];
      at++;
      continue;
    }
    const first = at;
    while (at < units.length && units[at]!.source === source && continues(units, first, at)) at++;
    yield* pairs(
      source.frames(
        units.slice(first, at).flatMap((unit) => unit.frames!),
        options,
      ),
    );
  }
}

function isVideo(source: RgbImage | Video): source is Video {
  return "frameCount" in source;
}

/** Whether unit `at` follows its predecessor in the video: a request may contain the same video twice. */
function continues(units: readonly VisionUnit[], first: number, at: number): boolean {
  return at === first || units[at - 1]!.frames![1] <= units[at]!.frames![0];
}

async function* pairs(frames: AsyncIterable<RgbImage>): AsyncGenerator<readonly [RgbImage, RgbImage]> {
  let first: RgbImage | null = null;
  for await (const frame of frames) {
    if (first === null) {
      first = frame;
    } else {
      yield [first, frame];
      first = null;
    }
  }
}
