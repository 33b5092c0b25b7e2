import { checkOptionNames } from "../options.js";
import { type AudioInput, decodeAudioTrack, loadAudio } from "./audio.js";
import { inputFile, runTool, toolOutput } from "./ffmpeg.js";
import { loadImage, type RgbImage } from "./image.js";
import { checkReadable, hasField, inputError, mediaError } from "./input.js";

/** Decoded frames of one size, with their rate and optional sound. */
export interface VideoClip {
  readonly frames: readonly RgbImage[];
  /** Frames per second. */
  readonly fps: number;
  readonly audio?: AudioInput;
}

/** A file's path, or decoded frames. */
export type VideoInput = string | VideoClip;

/** A video of known size and length, whose frames and sound are decoded on demand. */
export interface Video {
  readonly name: string;
  /** Width in pixels, as displayed: rotation applied. */
  readonly width: number;
  /** Height in pixels, as displayed. */
  readonly height: number;
  /** Average frames per second. */
  readonly fps: number;
  readonly frameCount: number;
  readonly hasAudio: boolean;
  /** Yields the frames at `indices` (ascending, may repeat) one by one, so that memory holds a single frame. */
  frames(indices: readonly number[], options?: { signal?: AbortSignal }): AsyncGenerator<RgbImage>;
  /** The sound track as mono samples at `sampleRate` Hz (default 16000); null when there is none. */
  audio(options?: { sampleRate?: number; signal?: AbortSignal }): Promise<Float32Array | null>;
}

export interface VideoOptions {
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const videoOptions = { name: true, signal: true } satisfies Record<keyof VideoOptions, true>;

/**
 * Opens a video without decoding it. Files are read through ffmpeg.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for a damaged file or frames of several sizes, `IO_ERROR`, `MISSING_TOOL` with
 *   the command that installs ffmpeg, `ABORTED`, `INVALID_ARGUMENT` when an option is unknown
 */
export async function openVideo(input: VideoInput, options: VideoOptions = {}): Promise<Video> {
  checkOptionNames("openVideo", options, videoOptions);
  if (typeof input === "string") return openFile(input, options.signal);
  const { name = "video" } = options;
  if (!hasField(input, "frames")) throw inputError(input, name, "a path, or { frames, fps }");
  return openClip(input, name);
}

async function openClip(clip: VideoClip, name: string): Promise<Video> {
  const first = clip.frames[0];
  if (first === undefined) throw mediaError(name, "it has no frames");
  if (!(clip.fps > 0 && Number.isFinite(clip.fps))) throw mediaError(name, `its rate is ${clip.fps} frames/s`);
  for (const [i, frame] of clip.frames.entries()) {
    await loadImage(frame, { name: `${name}, frame ${i}` });
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

/** The streams of a file in ffprobe's description. */
interface Probe {
  readonly streams: readonly {
    readonly codec_type: string;
    readonly width?: number;
    readonly height?: number;
    readonly avg_frame_rate?: string;
    readonly r_frame_rate?: string;
    readonly nb_frames?: string;
    readonly nb_read_packets?: string;
    readonly side_data_list?: readonly { readonly rotation?: number }[];
    readonly disposition?: { readonly attached_pic?: number };
  }[];
}

async function probe(path: string, extra: readonly string[], signal?: AbortSignal): Promise<Probe["streams"]> {
  const args = ["-v", "error", ...extra, "-show_streams", "-of", "json", ...inputFile(path)];
  const json = Buffer.from(await runTool("ffprobe", args, { name: path, signal })).toString();
  return (JSON.parse(json) as Partial<Probe>).streams ?? [];
}

async function openFile(path: string, signal?: AbortSignal): Promise<Video> {
  await checkReadable(path);
  const streams = await probe(path, [], signal);
  const stream = streams.find((s) => s.codec_type === "video" && s.disposition?.attached_pic !== 1);
  if (stream === undefined) throw mediaError(path, "it has no video");
  let frameCount = Number(stream.nb_frames);
  if (!(frameCount > 0)) {
    // Containers such as WebM do not store the frame count.
    const counted = await probe(path, ["-count_packets", "-select_streams", "V:0"], signal);
    frameCount = Number(counted[0]?.nb_read_packets);
  }
  const fps = rate(stream.avg_frame_rate) || rate(stream.r_frame_rate);
  const { width = 0, height = 0 } = stream;
  if (!(frameCount > 0 && fps > 0 && width > 0 && height > 0)) {
    throw mediaError(path, `unusable video: ${frameCount} frames of ${width}x${height} at ${fps} frames/s`);
  }
  const isTurned = (stream.side_data_list ?? []).some(({ rotation = 0 }) => Math.abs(rotation % 180) === 90);
  return {
    name: path,
    width: isTurned ? height : width,
    height: isTurned ? width : height,
    fps,
    frameCount,
    hasAudio: streams.some((s) => s.codec_type === "audio"),
    frames: (indices, options = {}) => decodeFrames(path, frameCount, indices, options.signal),
    audio: ({ sampleRate = 16000, signal: audioSignal } = {}) =>
      decodeAudioTrack(path, { name: path, sampleRate, signal: audioSignal }),
  };
}

/** A rate such as "30000/1001" as a number; 0 when ffprobe does not know it. */
function rate(fraction = "0/0"): number {
  const [numerator, denominator] = fraction.split("/").map(Number);
  return numerator! / denominator! || 0;
}

/** Frames selected per run of ffmpeg: the selection is one argument, limited to 128 KiB. */
const framesPerRun = 2000;

async function* decodeFrames(
  path: string,
  frameCount: number,
  indices: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<RgbImage> {
  checkIndices(indices, frameCount, path);
  const distinct = [...new Set(indices)];
  let at = 0;
  for (let from = 0; from < distinct.length; from += framesPerRun) {
    const chosen = distinct.slice(from, from + framesPerRun);
    let decoded = 0;
    for await (const frame of readPpm(toolOutput("ffmpeg", selectArgs(path, chosen), { name: path, signal }), path)) {
      const index = chosen[decoded++];
      for (; at < indices.length && indices[at] === index; at++) yield frame;
    }
    if (decoded < chosen.length) throw mediaError(path, `frame ${chosen[decoded]} of ${frameCount} cannot be decoded`);
  }
}

/** The ffmpeg arguments that write the frames at `indices` as PPM images, which carry their own size. */
function selectArgs(path: string, indices: readonly number[]): string[] {
  // Without even time stamps, ffmpeg would repeat frames to fill the gaps.
  const filter = `select='${isOneOf(indices)}',setpts=N/FRAME_RATE/TB`;
  const output = ["-frames:v", `${indices.length}`, "-f", "image2pipe", "-c:v", "ppm", "pipe:1"];
  return ["-v", "error", ...inputFile(path), "-map", "0:V:0", "-an", "-vf", filter, ...output];
}

/** The expression "frame n is one of `indices`" as a search tree: ffmpeg refuses expressions deeper than 100. */
function isOneOf(indices: readonly number[]): string {
  if (indices.length === 1) return `eq(n,${indices[0]})`;
  const middle = indices.length >> 1;
  const [left, right] = [indices.slice(0, middle), indices.slice(middle)];
  return `if(lt(n,${right[0]}),${isOneOf(left)},${isOneOf(right)})`;
}

function checkIndices(indices: readonly number[], frameCount: number, name: string): void {
  const bad = indices.findIndex(
    (index, i) => !Number.isInteger(index) || index < (indices[i - 1] ?? 0) || index >= frameCount,
  );
  if (bad >= 0) throw mediaError(name, `frame indices must ascend within 0…${frameCount - 1}, got ${indices[bad]}`);
}

/** Splits a stream of binary PPM images ("P6 width height 255", then the pixels). */
async function* readPpm(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<RgbImage> {
  const pending: Uint8Array[] = [];
  let available = 0;
  const take = (): Buffer => Buffer.concat(pending.splice(0));
  let image: { width: number; height: number; from: number } | null = null;
  for await (const chunk of chunks) {
    pending.push(chunk);
    available += chunk.length;
    for (;;) {
      if (image === null) {
        const head = take();
        pending.push(head);
        const match = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(head.toString("latin1", 0, 64));
        if (match === null && head.length >= 64) throw mediaError(name, "ffmpeg returned something other than frames");
        if (match === null) break;
        image = { width: Number(match[1]), height: Number(match[2]), from: match[0].length };
      }
      const end = image.from + image.width * image.height * 3;
      if (available < end) break;
      const whole = take();
      const data = new Uint8Array(whole.subarray(image.from, end));
      pending.push(whole.subarray(end));
      available -= end;
      yield { width: image.width, height: image.height, data };
      image = null;
    }
  }
}
