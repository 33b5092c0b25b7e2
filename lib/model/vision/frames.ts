import { CaracalError } from "../../errors.js";
import { roundHalfEven } from "./resize.js";

/** One visual unit: two frame indices, possibly equal, and the time stamp of the first frame in seconds. */
export interface FrameUnit {
  readonly frames: readonly [number, number];
  readonly seconds: number;
}

/** The prompt text before a unit's image tokens. */
export function timestampText(seconds: number): string {
  return `second{${seconds.toFixed(1)}}:`;
}

/** Frames at a file's end that the published code avoids, because decoding often fails there. */
const abandonedFrames = 5;

/** Rounds the exact binary value to one decimal, halves up, like Python's `Decimal`; `toFixed` does exactly that. */
const tenthHalfUp = (x: number): number => Number(x.toFixed(1));

/**
 * Rounds to one decimal, halves to even (Python's `%.1f`). An exact tie ends in .25 or .75, and for .75 both rules
 * agree.
 */
const tenthHalfEven = (x: number): number => (x % 1 === 0.25 ? x - 0.05 : Number(x.toFixed(1)));

/** The published code's rounding of non-negative numbers: halves up. */
const roundHalfUp = (x: number): number => {
  const below = Math.floor(x);
  return x - below >= 0.5 ? below + 1 : below;
};

/** The most frames that are chosen of one video, more than any prompt has tokens: a rate near 0 would give billions. */
const maxChosen = 2 ** 18;

function checkCount(frames: number): void {
  if (frames <= maxChosen) return;
  const message = `${frames} frames of one video are too many, at most ${maxChosen} can be chosen; cut it`;
  throw new CaracalError("INVALID_ARGUMENT", message, { frames, limit: maxChosen });
}

/** numpy.arange(start, stop, step). */
function arange(start: number, stop: number, step: number): number[] {
  const length = Math.max(0, Math.ceil((stop - start) / step));
  checkCount(length);
  return Array.from({ length }, (_, i) => start + i * step);
}

/** numpy.linspace(0, last, count, dtype=int). */
function integerLinspace(last: number, count: number): number[] {
  const step = last / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? last : Math.floor(i * step)));
}

/** torch.linspace(0, last, count): in single precision, computed from both ends. */
function torchLinspace(last: number, count: number): number[] {
  if (count === 1) return [0];
  checkCount(count);
  const end = Math.fround(last);
  const step = Math.fround(end / (count - 1));
  return Array.from({ length: count }, (_, i) =>
    i < Math.floor(count / 2) ? Math.fround(step * i) : Math.fround(end - Math.fround(step * (count - 1 - i))),
  );
}

function checkVideo(fps: number, frameCount: number): void {
  if (!(fps > 0 && Number.isFinite(fps) && Number.isInteger(frameCount) && frameCount >= 1)) {
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `expected a video with frames and a rate, got ${frameCount} at ${fps} fps`,
      { fps, frameCount },
    );
  }
}

export interface DurationConditionedOptions {
  readonly fps: number;
  /** Frames to choose from: indices 0 … frameCount − 1. */
  readonly frameCount: number;
  readonly sampleFps: number;
  /** Longer videos give this many frames, spread evenly. */
  readonly maxFrames?: number;
  /** Upper bound on the denser sampling of short clips, which aims at `minFrames`. */
  readonly maxFps?: number;
  readonly minFrames?: number;
}

/**
 * Duration-conditioned sampling: the middle frame of segments of 1/sampleFps seconds, paired into units.
 * As in LongCat-Flash-Omni's published code.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for a video without frames or rate, or a `maxFps` above what its rate allows
 */
export function durationConditionedFrames(options: DurationConditionedOptions): FrameUnit[] {
  const { fps, frameCount, sampleFps, maxFrames = 256, maxFps = 4, minFrames = 16 } = options;
  checkVideo(fps, frameCount);
  const last = frameCount - 1;
  const middles = (rate: number): number[] => {
    const segment = roundHalfUp(fps / rate);
    if (segment === 0) {
      throw new CaracalError("INVALID_ARGUMENT", `cannot sample ${rate} frames/s of a video of ${fps}; lower maxFps`);
    }
    return arange(segment / 2, frameCount, segment).map((middle) => Math.min(roundHalfUp(middle), last));
  };
  let indices: number[];
  if (fps <= sampleFps) {
    indices = arange(0, frameCount, 1 / sampleFps).map(Math.floor);
  } else {
    const denser = Math.min(minFrames / (frameCount / fps), maxFps);
    indices = middles(Math.max(sampleFps, denser));
    if (indices.length > maxFrames) indices = integerLinspace(last, maxFrames);
  }
  if (indices.length === 0) indices = [last]; // shorter than half a segment
  return pairs(indices).map((frames) => ({ frames, seconds: tenthHalfUp(frames[0] / fps) }));
}

/** Pairs consecutive frames; an odd last frame is repeated. */
function pairs(indices: readonly number[]): [number, number][] {
  return arange(0, indices.length, 2).map((i) => [indices[i]!, indices[i + 1] ?? indices[i]!]);
}

/**
 * The units of a video without interleaved audio: 0.5 frames/s up to 8 s, then 1 frame/s, at least about 16 frames and
 * at most `maxFrames`.
 */
export function sampleVideo(video: { fps: number; frameCount: number; maxFrames?: number }): FrameUnit[] {
  const { fps, frameCount, maxFrames = 256 } = video;
  checkVideo(fps, frameCount);
  const last = frameCount - 1; // the published code omits the very last frame
  if (last === 0) return [{ frames: [0, 0], seconds: 0 }];
  const duration = last / fps;
  const sampleFps = duration <= 8 ? 0.5 : Math.ceil(duration / maxFrames);
  // A video below 2 frames/s cannot be sampled at 4 frames/s; the published code divides by zero there.
  const units = durationConditionedFrames({
    fps,
    frameCount: last,
    sampleFps,
    maxFrames,
    maxFps: Math.min(4, 2 * fps),
  });
  const clamp = (index: number): number => Math.max(0, Math.min(index, last - abandonedFrames));
  return units.map(({ frames, seconds }) => ({ frames: [clamp(frames[0]), clamp(frames[1])], seconds }));
}

export interface InterleavedSampling {
  readonly units: readonly FrameUnit[];
  /** `average` when `maxUnits` was reached: audio is then spread over the units instead of following the clock. */
  readonly strategy: "sequential" | "average";
}

/**
 * The units of a video interleaved with its audio: `unitsPerSecond` pairs for each started second, evenly spaced over
 * the whole seconds, and at most `maxUnits`. `timeOffset` (s) shifts the time stamps.
 */
export function sampleInterleavedVideo(video: {
  fps: number;
  frameCount: number;
  unitsPerSecond?: number;
  maxUnits?: number;
  timeOffset?: number;
}): InterleavedSampling {
  const { fps, frameCount, unitsPerSecond = 1, maxUnits = Number.POSITIVE_INFINITY, timeOffset = 0 } = video;
  checkVideo(fps, frameCount);
  const last = frameCount - 1;
  const wantedUnits = Math.ceil(unitsPerSecond * Math.ceil(frameCount / fps));
  const capped = wantedUnits > maxUnits;
  const end = capped ? last : Math.floor(wantedUnits / unitsPerSecond) * fps;
  const indices = torchLinspace(end, 2 * (capped ? maxUnits : wantedUnits)).map((x) =>
    Math.min(roundHalfEven(x), last),
  );
  const units = pairs(indices).map((frames) => ({ frames, seconds: tenthHalfEven(frames[0] / fps + timeOffset) }));
  return { units, strategy: capped ? "average" : "sequential" };
}
