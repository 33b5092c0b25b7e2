import {
  checkOption,
  checkOptionNames,
  checkOptions,
  type OptionRule,
  positiveNumber,
  refuseValue,
} from "../options.js";
import { Turns } from "../turns.js";
import { type AudioInput, decodeAudioTrack, joinSamples, loadAudio } from "./audio.js";
import { checkImage, checkPixels, type RgbImage } from "./image.js";
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
  return openClip(input, name, limits, signal);
}

async function openClip(clip: VideoClip, name: string, limits: VideoLimits, signal?: AbortSignal): Promise<Video> {
  checkOptionNames(name, clip, clipFields, "field");
  const { frames, fps, audio } = clip;
  if (!Array.isArray(frames)) refuseValue(name, "frames", "a list of { width, height, data }", frames);
  checkOption(name, "fps", fps, positiveNumber);
  const { length } = frames;
  if (length === 0) throw mediaError(name, "it has no frames");
  checkFrames(length, name, limits);
  checkSeconds(length / fps, name, limits);
  const { width, height } = frameAt(frames, 0, name);
  checkPixels({ width, height }, { name, maxPixels: limits.maxPixels });
  // Checked here as well as when it is used, which may be much later.
  const checkedFrame = (i: number): RgbImage => {
    const frame = frameAt(frames, i, name);
    if (frame.width === width && frame.height === height) return frame;
    throw mediaError(name, `frame ${i} is ${frame.width}x${frame.height}, frame 0 ${width}x${height}`);
  };
  const turns = new Turns(`reading ${name}`, signal);
  for (let i = 0; i < length; i++) {
    checkedFrame(i);
    if (turns.due) await turns.next();
  }
  return {
    name,
    width,
    height,
    fps,
    frameCount: length,
    hasAudio: audio !== undefined,
    async *frames(indices) {
      checkIndices(indices, length, name);
      for (const index of indices) yield checkedFrame(index);
    },
    audio: async (options = {}) =>
      audio === undefined ? null : loadAudio(audio, { name: `${name}, audio`, ...options }),
  };
}

function frameAt(frames: readonly RgbImage[], index: number, name: string): RgbImage {
  const frame: unknown = frames[index];
  const frameName = `${name}, frame ${index}`;
  if (!hasField(frame, "data")) throw inputError(frame, frameName, "{ width, height, data }");
  return checkImage(frame as RgbImage, frameName);
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
