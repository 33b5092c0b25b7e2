import { inputFile, runTool, type ToolOptions } from "./ffmpeg.js";

/** A stream in ffprobe's description. */
export interface Stream {
  readonly index: number;
  readonly codec_type?: string;
  readonly codec_name?: string;
  readonly codec_tag?: string;
  readonly channels?: number;
  readonly width?: number;
  readonly height?: number;
  readonly avg_frame_rate?: string;
  readonly r_frame_rate?: string;
  readonly nb_frames?: string;
  readonly start_time?: string;
  readonly duration?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly side_data_list?: readonly { readonly rotation?: number; readonly displaymatrix?: string }[];
  readonly disposition?: { readonly attached_pic?: number; readonly default?: number };
}

/** What ffprobe tells of a file without decoding it. */
export interface Description {
  readonly streams: readonly Stream[];
  readonly format: {
    readonly format_name?: string;
    readonly start_time?: string;
    readonly duration?: string;
    readonly size?: string;
  };
  /** Whether the durations are guessed from the size of the file, because it states none. */
  readonly isEstimated: boolean;
}

/** @throws {CaracalError} as `runTool` */
export async function probe(path: string, options: ToolOptions): Promise<Description> {
  let isEstimated = false;
  const onMessage = (message: string) => {
    isEstimated ||= message.includes("Estimating duration from bitrate");
  };
  const args = ["-show_format", "-show_streams", "-of", "json", ...inputFile(path)];
  const json = Buffer.from(await runTool("ffprobe", args, { ...options, onMessage })).toString();
  return { streams: [], format: {}, ...(JSON.parse(json) as Partial<Description>), isEstimated };
}

/** The sound that a player begins with: the first track that the file marks as default, else the first. */
export function audioStream(streams: readonly Stream[]): Stream | undefined {
  const audio = streams.filter((stream) => stream.codec_type === "audio");
  return audio.find((stream) => stream.disposition?.default === 1) ?? audio[0];
}

/** Whether the clock of a container, as that of broadcasts, may jump. Its duration then means nothing. */
export function hasJumpingClock(container: string): boolean {
  return /^mpeg(ts)?$/.test(container);
}

/** Seconds of a stream as the file states them; undefined when it does not. */
export function statedSeconds(stream: Stream, { streams, format, isEstimated }: Description): number | undefined {
  if (isEstimated || hasJumpingClock(format.format_name ?? "")) return undefined;
  const whole = Number(format.duration);
  const isAlone = streams.every((other) => other === stream || other.disposition?.attached_pic === 1);
  const own = [Number(stream.duration), taggedSeconds(stream), isAlone ? whole : Number.NaN].find(Number.isFinite);
  if (own === undefined) return undefined;
  return whole > 0 ? Math.min(own, whole) : own;
}

/** The duration by the tag that Matroska has for each track: "00:01:02.5", the time of its end. */
function taggedSeconds({ tags = {}, start_time: start }: Stream): number {
  const [, hours, minutes, seconds] = /^(\d+):(\d+):([\d.]+)$/.exec(tags.DURATION ?? "") ?? [];
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds) - Math.max(0, Number(start) || 0);
}
