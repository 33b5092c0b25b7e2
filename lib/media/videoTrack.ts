import { inputFile, toolOutput } from "./ffmpeg.js";
import { checkPixels } from "./image.js";
import { mediaError, tolerableDamage } from "./input.js";
import { audioStream, probe, type Stream } from "./probe.js";

/** The bounds of a video. */
export interface VideoLimits {
  /** Pixels of a frame. */
  readonly maxPixels: number;
  readonly maxSeconds: number;
  readonly maxFrames: number;
}

/** What is known of a file's video without decoding it. Times are in seconds on the file's own clock. */
export interface VideoTrack {
  /** The stream's index in the file. */
  readonly index: number;
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
  checkSeconds(Number(format.duration), path, limits);
  const declared = Number(stream.nb_frames);
  checkFrames(declared, path, limits);

  const isExact = format.format_name?.startsWith("mov"); // other containers may count differently
  const rate = fraction(stream.avg_frame_rate) || fraction(stream.r_frame_rate);
  const packets = await readPackets(path, stream.index, limits, signal);
  const { count, isCounted, end } = packets;
  if (isExact && count < declared * (1 - tolerableDamage)) {
    throw mediaError(path, `it is cut short: ${count} of ${declared} frames are in it`);
  }
  const times = packets.times ?? Float64Array.from({ length: count }, (_, i) => i / rate);
  if (times.length === 0) throw mediaError(path, "it has no frames");
  if (!times.every(Number.isFinite)) throw mediaError(path, "neither the rate nor the times of its frames are known");
  const { quarterTurns, isSideways } = orientation(stream);
  const audio = audioStream(streams);
  return {
    index: stream.index,
    width: isSideways ? height : width,
    height: isSideways ? width : height,
    quarterTurns,
    times,
    isCounted,
    keyTimes: searchable.test(format.format_name ?? "") ? packets.keyTimes : new Float64Array(0),
    end: Math.max(end, times.at(-1)!),
    rate,
    fileStart: Number(format.start_time) || 0,
    audioStart: audio ? Number(audio.start_time) || 0 : null,
  };
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

interface Packets {
  /** All packets, also those that are decoded but not shown. */
  readonly count: number;
  /** The times of those that are shown, ascending: when to show them, else when to decode them, else null. */
  readonly times: Float64Array | null;
  /** Whether these are not the times to show them. */
  readonly isCounted: boolean;
  readonly keyTimes: Float64Array;
  readonly end: number;
}

async function readPackets(path: string, index: number, limits: VideoLimits, signal?: AbortSignal): Promise<Packets> {
  const entries = ["-show_entries", "packet=pts_time,dts_time,duration_time,flags", "-of", "compact=p=0"];
  const args = ["-v", "error", "-select_streams", `${index}`, ...entries, ...inputFile(path)];
  const shown: number[] = [];
  const decoded: number[] = [];
  const keys: number[] = [];
  let [count, start, end] = [0, Infinity, -Infinity];
  for await (const line of lines(toolOutput("ffprobe", args, { name: path, signal }))) {
    const { pts_time: pts, dts_time: dts, duration_time: duration, flags = "" } = fields(line);
    checkFrames(++count, path, limits);
    if (flags.includes("K")) keys.push(Number(pts));
    if (flags.includes("D")) continue; // outside the part that an edit list shows
    shown.push(Number(pts)); // NaN for "N/A" and undefined
    decoded.push(Number(dts));
    const time = [Number(pts), Number(dts)].find(Number.isFinite);
    if (time === undefined) continue;
    start = Math.min(start, time);
    end = Math.max(end, time + (Number(duration) || 0));
    checkSeconds(end - start, path, limits);
  }
  const times = [shown, decoded].find((list) => list.every(Number.isFinite));
  const isCounted = times !== shown;
  const ascending = times && Float64Array.from(times).sort();
  const distinct = ascending?.filter((time, i) => time !== ascending[i - 1]); // a Set takes twice as long
  return {
    count,
    times: (isCounted ? ascending : distinct) ?? null,
    isCounted,
    keyTimes: isCounted ? new Float64Array(0) : Float64Array.from(keys).sort(),
    end,
  };
}

/** "a=1|b=2" as an object. */
function fields(line: string): Partial<Record<string, string>> {
  return Object.fromEntries(line.split("|").map((field) => field.split("=")));
}

async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let pending = "";
  for await (const chunk of chunks) {
    const parts = (pending + Buffer.from(chunk).toString("latin1")).split("\n");
    pending = parts.pop()!;
    for (const part of parts) if (part.includes("=")) yield part;
  }
  if (pending.includes("=")) yield pending;
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
