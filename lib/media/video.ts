import { checkOption, checkOptionNames, checkOptions, type OptionRule, positiveNumber } from "../options.js";
import { type AudioInput, decodeAudioTrack, joinSamples, loadAudio } from "./audio.js";
import { checkPixels, loadImage, type RgbImage } from "./image.js";
import { checkReadable, hasField, inputError, limit, mediaError, nameRule } from "./input.js";
import { decodePictures, type FrameOptions, lastAtOrBefore } from "./videoFrames.js";
import { checkFrames, checkSeconds, type VideoLimits } from "./videoLimits.js";
import { readVideoTrack, type VideoTrack } from "./videoTrack.js";

/** Decoded frames of one size, with their rate and optional sound. */
export interface VideoClip {
  readonly frames: readonly RgbImage[];
  /** Frames per second. */
  readonly fps: number;
  readonly audio?: AudioInput;
}

/** A file's path, or decoded frames. */
export type VideoInput = string | VideoClip;

/**
 * A video of known size and length, whose frames and sound are decoded on demand. Its clock starts at its first frame,
 * or with its sound where that starts noticeably earlier. Frame i is the picture that is shown in the i-th step of
 * 1/fps seconds: if the pictures come at a constant rate, these are all of them, in order.
 *
 * Pictures of another size than the first are scaled to it. Pixels count as square, whatever aspect ratio the file states
 * for them. Recordings that were appended to one another follow one another, where the
 * container allows it: MPEG-TS and MPEG-PS, in which the clock never pauses for more than 10 s, and live WebM.
 */
export interface Video {
  readonly name: string;
  /** Width in pixels, as displayed: rotation applied. */
  readonly width: number;
  /** Height in pixels, as displayed. */
  readonly height: number;
  /** Frames per second: the rate of the pictures where it is constant, otherwise 30. */
  readonly fps: number;
  readonly frameCount: number;
  readonly hasAudio: boolean;
  /**
   * Yields the frames at `indices` (ascending, may repeat) one by one, so that memory holds a single frame. Where a
   * frame cannot be decoded, the last one before it that can is shown, as a player does, or the first one of all. With
   * `reuse`, a frame of a file is valid until the next one is asked for, and all of them take the memory of one.
   */
  frames(indices: readonly number[], options?: FrameOptions): AsyncGenerator<RgbImage>;
  /** The sound track from the start of the clock, as mono samples at `sampleRate` Hz (default 16000); null if none. */
  audio(options?: { sampleRate?: number; signal?: AbortSignal }): Promise<Float32Array | null>;
}

export interface VideoOptions {
  /** Videos with larger frames are refused before decoding. Default 2^26 pixels. */
  readonly maxPixels?: number;
  /** Longer videos are refused before decoding. Default 14400 s. */
  readonly maxSeconds?: number;
  /** Videos of more frames are refused before decoding. Default 2^20. */
  readonly maxFrames?: number;
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const videoOptions = {
  maxPixels: limit,
  maxSeconds: limit,
  maxFrames: limit,
  name: nameRule,
  signal: true,
} satisfies Record<keyof VideoOptions, OptionRule | true>;
const clipFields = { frames: true, fps: true, audio: true } satisfies Record<keyof VideoClip, true>;
const frameList: OptionRule = { accepts: Array.isArray, expected: "a list of { width, height, data }" };

/**
 * Opens a video without decoding it. Files are read through ffmpeg, up to the containers that it may read.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for a damaged file, decoded frames of several sizes or a video beyond a limit;
 *   `IO_ERROR`; `MISSING_TOOL` with the command that installs ffmpeg; `ABORTED`; `INVALID_ARGUMENT` when an option or
 *   field is unknown or has a wrong value
 */
export async function openVideo(input: VideoInput, options: VideoOptions = {}): Promise<Video> {
  checkOptions("openVideo", options, videoOptions);
  const { maxPixels = 2 ** 26, maxSeconds = 14400, maxFrames = 2 ** 20, name = "video", signal } = options;
  const limits = { maxPixels, maxSeconds, maxFrames };
  if (typeof input === "string") return openFile(input, limits, signal);
  if (!hasField(input, "frames")) throw inputError(input, name, "a path, or { frames, fps }");
  return openClip(input, name, limits);
}

async function openClip(clip: VideoClip, name: string, limits: VideoLimits): Promise<Video> {
  checkOptionNames(name, clip, clipFields, "field");
  checkOption(name, "frames", clip.frames, frameList);
  checkOption(name, "fps", clip.fps, positiveNumber);
  if (clip.frames.length === 0) throw mediaError(name, "it has no frames");
  const first = clip.frames[0]!;
  checkFrames(clip.frames.length, name, limits);
  checkSeconds(clip.frames.length / clip.fps, name, limits);
  for (const [i, frame] of clip.frames.entries()) {
    const frameName = `${name}, frame ${i}`;
    if (!hasField(frame, "data")) throw inputError(frame, frameName, "{ width, height, data }");
    await loadImage(frame, { name: frameName });
    if (i === 0) checkPixels(frame, { name, maxPixels: limits.maxPixels });
    if (frame.width !== first.width || frame.height !== first.height) {
      throw mediaError(name, `frame ${i} is ${frame.width}x${frame.height}, frame 0 ${first.width}x${first.height}`);
    }
  }
  return {
    name,
    width: first.width,
    height: first.height,
    fps: clip.fps,
    frameCount: clip.frames.length,
    hasAudio: clip.audio !== undefined,
    async *frames(indices) {
      checkIndices(indices, clip.frames.length, name);
      for (const index of indices) yield clip.frames[index]!;
    },
    audio: async (options = {}) =>
      clip.audio === undefined ? null : loadAudio(clip.audio, { name: `${name}, audio`, ...options }),
  };
}

async function openFile(path: string, limits: VideoLimits, signal?: AbortSignal): Promise<Video> {
  await checkReadable(path);
  const track = await readVideoTrack(path, limits, signal);
  const { start, fps, frameCount } = clockOf(track);
  checkFrames(frameCount, path, limits);
  const { times } = track;
  const pictureAt = (index: number): number => Math.max(0, lastAtOrBefore(times, start + (index + 0.5) / fps));
  return {
    name: path,
    width: track.width,
    height: track.height,
    fps,
    frameCount,
    hasAudio: track.audioStart !== null,
    async *frames(indices, options = {}) {
      checkIndices(indices, frameCount, path);
      const pictures = indices.map(pictureAt);
      let at = 0;
      for await (const frame of decodePictures(track, [...new Set(pictures)], options)) {
        const picture = pictures[at];
        for (; at < pictures.length && pictures[at] === picture; at++) yield frame;
      }
    },
    audio: async ({ sampleRate = 16000, signal: audioSignal } = {}) => {
      if (track.audioStart === null) return null;
      const samples = await decodeAudioTrack(path, {
        name: path,
        sampleRate,
        maxSeconds: limits.maxSeconds,
        signal: audioSignal,
      });
      const silence = Math.round((track.audioStart - start) * sampleRate);
      return samples === null || silence <= 0 ? samples : joinSamples([new Float32Array(silence), samples]);
    },
  };
}

/** Steps per second of a video whose pictures come irregularly. */
const irregularFps = 30;
/** Seconds by which sound may start before the first picture without moving the clock: encoders begin so. */
const audioLead = 0.1;

/** When a file's clock starts, on the file's own, and how its time is divided into frames. */
function clockOf({ times, rate, end, audioStart }: VideoTrack): {
  start: number;
  fps: number;
  frameCount: number;
} {
  const [first, last] = [times[0]!, times.at(-1)!];
  const start = audioStart !== null && audioStart < first - audioLead ? audioStart : first;
  const isConstant = (fps: number): boolean =>
    fps > 0 && times.every((time, i) => Math.abs(time - first - i / fps) < 0.5 / fps);
  const fps = [rate, (times.length - 1) / (last - first)].find(isConstant);
  if (fps === undefined) {
    const untilLast = Math.ceil((last - start) * irregularFps - 0.5) + 1; // its duration may be unknown
    const untilEnd = Math.round((end - start) * irregularFps);
    return { start, fps: irregularFps, frameCount: Math.max(untilLast, untilEnd) };
  }
  return { start, fps, frameCount: times.length + Math.round((first - start) * fps) };
}

function checkIndices(indices: readonly number[], frameCount: number, name: string): void {
  const bad = indices.findIndex(
    (index, i) => !Number.isInteger(index) || index < (indices[i - 1] ?? 0) || index >= frameCount,
  );
  if (bad >= 0) throw mediaError(name, `frame indices must ascend within 0…${frameCount - 1}, got ${indices[bad]}`);
}
