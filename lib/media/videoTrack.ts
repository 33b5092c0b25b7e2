import { checkPixels } from "./image.js";
import { mediaError, tolerableDamage } from "./input.js";
import type { Track } from "./packets.js";
import { audioStream, hasJumpingClock, probe, type Stream } from "./probe.js";
import { readTimeline, type Span } from "./timeline.js";
import { checkFrames, checkSeconds, type VideoLimits } from "./videoLimits.js";

/**
 * What is known of a file's video without decoding it. Times are in seconds on the file's own clock, which goes on where
 * another recording was appended.
 */
export interface VideoTrack extends Track {
  /** As displayed: rotation applied. */
  readonly width: number;
  readonly height: number;
  /** How to turn the decoded pictures upright, in quarter turns clockwise; null leaves it to ffmpeg. */
  readonly quarterTurns: number | null;
  /** When the pictures appear, ascending. */
  readonly times: Float64Array;
  /** Whether pictures must be counted to find them, because the file does not tell their times. */
  readonly isCounted: boolean;
  /** When the pictures appear that can be decoded without earlier ones. Empty if the container cannot be searched. */
  readonly keyTimes: Float64Array;
  /** One, or several that were appended to one another. */
  readonly recordings: readonly Span[];
  /** When the last picture ends. */
  readonly end: number;
  /** Pictures per second as the file declares them, or on average; 0 when unknown. */
  readonly rate: number;
  /** The file's start on its own clock, from which ffmpeg counts when it searches. */
  readonly fileStart: number;
  /** When the sound starts; null without sound. */
  readonly audioStart: number | null;
}

/** Containers in which ffmpeg finds every picture by its time. */
const searchable = /^(mov|matroska)\b/;

/**
 * Reads a file's description and the times of its pictures. Nothing is decoded.
 * @throws {CaracalError} `MEDIA_INVALID` for a file without usable video or beyond a limit, and as `runTool`
 */
export async function readVideoTrack(path: string, limits: VideoLimits, signal?: AbortSignal): Promise<VideoTrack> {
  const { streams, format } = await probe(path, { name: path, signal });
  const stream = streams.find((s) => s.codec_type === "video" && s.disposition?.attached_pic !== 1);
  if (stream === undefined) throw mediaError(path, "it has no video");
  const { width = 0, height = 0 } = stream;
  if (!(width > 0 && height > 0)) throw mediaError(path, `its video has the size ${width}x${height}`);
  checkPixels({ width, height }, { name: path, maxPixels: limits.maxPixels });
  const declared = Number(stream.nb_frames);
  checkFrames(declared, path, limits);

  const container = format.format_name ?? "";
  if (!hasJumpingClock(container)) checkSeconds(Number(format.duration), path, limits);
  const isExact = container.startsWith("mov"); // other containers may count differently
  const rate = fraction(stream.avg_frame_rate) || fraction(stream.r_frame_rate);
  const track = { path, container, index: stream.index };
  const timeline = await readTimeline(track, limits, signal);
  const { count, isCounted, end, recordings } = timeline;
  if (isExact && count < declared * (1 - tolerableDamage)) {
    throw mediaError(path, `it is cut short: ${count} of ${declared} frames are in it`);
  }
  const times = timeline.times ?? Float64Array.from({ length: count }, (_, i) => i / rate);
  if (times.length === 0) throw mediaError(path, "it has no frames");
  if (!times.every(Number.isFinite)) throw mediaError(path, "neither the rate nor the times of its frames are known");
  const { quarterTurns, isSideways } = orientation(stream);
  const audio = audioStream(streams);
  return {
    ...track,
    width: isSideways ? height : width,
    height: isSideways ? width : height,
    quarterTurns,
    times,
    isCounted,
    keyTimes: searchable.test(container) ? timeline.keyTimes : new Float64Array(0),
    recordings,
    end: Math.max(end, times.at(-1)!),
    rate,
    fileStart: Number(format.start_time) || 0,
    audioStart: audio ? Number(audio.start_time) || 0 : null,
  };
}

/** A rate such as "30000/1001" as a number; 0 when ffprobe does not know it. */
function fraction(text = "0/0"): number {
  const [numerator, denominator] = text.split("/").map(Number);
  const value = numerator! / denominator!;
  return Number.isFinite(value) ? value : 0;
}

/**
 * How a stream is displayed. Whole quarter turns are done here, to the chosen frames only; ffmpeg would turn every frame
 * that it decodes. Mirrored and slanted pictures are left to it.
 */
function orientation(stream: Stream): { quarterTurns: number | null; isSideways: boolean } {
  const { rotation = 0, displaymatrix = "" } = stream.side_data_list?.find((data) => data.rotation !== undefined) ?? {};
  const quarters = Math.round(-rotation / 90);
  const isSideways = Math.abs(quarters % 2) === 1;
  const isPlain = Math.abs(rotation + 90 * quarters) < 1 && !isMirrored(displaymatrix);
  return { quarterTurns: isPlain ? ((quarters % 4) + 4) % 4 : null, isSideways };
}

/** Whether a display matrix, printed as rows of "00000000: a b u", has a negative determinant. */
function isMirrored(matrix: string): boolean {
  const [first = [], second = []] = [...matrix.matchAll(/^\d{8}:(.*)$/gm)].map(([, row]) =>
    row!.trim().split(/\s+/).map(Number),
  );
  return first[0]! * second[1]! - first[1]! * second[0]! < 0;
}
