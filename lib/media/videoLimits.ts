import { mediaError } from "./input.js";

/** The bounds of a video. */
export interface VideoLimits {
  /** Pixels of a frame. */
  readonly maxPixels: number;
  readonly maxSeconds: number;
  readonly maxFrames: number;
}

/** Refuses a video of more than `maxSeconds`; NaN, an unknown duration, passes. */
export function checkSeconds(seconds: number, name: string, { maxSeconds }: Pick<VideoLimits, "maxSeconds">): void {
  if (!(seconds > maxSeconds)) return;
  throw mediaError(name, `it lasts ${seconds.toFixed(1)} s, the limit is ${maxSeconds} s: cut it, or raise maxSeconds`);
}

/** Refuses a video of more than `maxFrames`; NaN, an unknown number, passes. */
export function checkFrames(frames: number, name: string, { maxFrames }: Pick<VideoLimits, "maxFrames">): void {
  if (!(frames > maxFrames)) return;
  throw mediaError(name, `it has ${frames} frames or more, the limit is ${maxFrames}: cut it, or raise maxFrames`);
}
