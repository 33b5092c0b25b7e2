import { mediaError } from "./input.js";
import { largestStep, type Packet, readPackets, type Track } from "./packets.js";
import { hasJumpingClock } from "./probe.js";
import { checkFrames, checkSeconds, type VideoLimits } from "./videoLimits.js";

/** When the pictures of a file appear. */
export interface Timeline {
  /** All packets, also those that are decoded but not shown. */
  readonly count: number;
  /** The times of those that are shown, ascending: when to show them, else when to decode them, else null. */
  readonly times: Float64Array | null;
  /** Whether these are not the times to show them. */
  readonly isCounted: boolean;
  /** When the pictures appear that can be decoded without earlier ones. Empty if there are several recordings. */
  readonly keyTimes: Float64Array;
  readonly end: number;
  readonly recordings: readonly Span[];
}

/** A recording that may follow another one in the same file, with time stamps of its own. */
export interface Span {
  /** Its first and last time stamp. */
  readonly start: number;
  readonly end: number;
  /** What to add to them, so that it follows the recording before. */
  readonly offset: number;
}

/** The pictures of a recording. */
interface Recording {
  readonly pts: number[];
  readonly dts: number[];
  readonly keys: number[];
  start: number;
  /** The last time stamp. */
  last: number;
  /** The end of the last picture. */
  end: number;
}

/** More of them would make the arguments of ffmpeg too long. */
const maxRecordings = 100;

/**
 * Reads the times of a stream's pictures.
 * @throws {CaracalError} `MEDIA_INVALID` beyond a limit, and as `readPackets`
 */
export async function readTimeline(track: Track, limits: VideoLimits, signal?: AbortSignal): Promise<Timeline> {
  const { path, container } = track;
  // Other containers do not store when packets are decoded: ffmpeg guesses it, wrongly after a restart.
  const hasDecodingTimes = hasJumpingClock(container);
  const recordings = [emptyRecording()];
  let [count, secondsBefore, lastDecoded] = [0, 0, Number.NaN];
  for await (const packet of readPackets(track, { name: path, signal })) {
    checkFrames(++count, path, limits);
    let recording = recordings.at(-1)!;
    // A key picture is decoded after all that are shown before it.
    const isRestart = hasDecodingTimes
      ? packet.dts < lastDecoded || packet.dts > lastDecoded + largestStep
      : packet.isKey && packet.pts < recording.last;
    if (isRestart && !packet.isHidden) {
      secondsBefore += recording.end - recording.start;
      recording = emptyRecording();
      if (recordings.push(recording) > maxRecordings)
        throw mediaError(path, `its time stamps jump ${maxRecordings} times or more: encode it again with ffmpeg`);
    }
    if (Number.isFinite(packet.dts)) lastDecoded = packet.dts;
    add(packet, recording);
    checkSeconds(secondsBefore + recording.end - recording.start, path, limits);
  }
  return { count, ...joined(recordings) };
}

function emptyRecording(): Recording {
  return { pts: [], dts: [], keys: [], start: Infinity, last: -Infinity, end: -Infinity };
}

function add({ pts, dts, duration, isKey, isHidden }: Packet, recording: Recording): void {
  if (isKey) recording.keys.push(pts);
  if (isHidden) return;
  recording.pts.push(pts);
  recording.dts.push(dts);
  const time = Number.isFinite(pts) ? pts : dts;
  if (!Number.isFinite(time)) return;
  recording.start = Math.min(recording.start, time);
  recording.last = Math.max(recording.last, time);
  recording.end = Math.max(recording.end, time + (duration || 0));
}

/** When the last picture ends. If it states no duration, it lasts as long as the others do on average. */
function endOf({ pts, start, last, end }: Recording): number {
  return end > last ? end : last + (last - start) / Math.max(1, pts.length - 1);
}

/** Puts recordings one after another on the clock of the first. */
function joined(recordings: readonly Recording[]): Omit<Timeline, "count"> {
  const field = (["pts", "dts"] as const).find((name) => recordings.every((one) => one[name].every(Number.isFinite)));
  const isCounted = field !== "pts";
  const spans: Span[] = [];
  const times: number[] = [];
  let [offset, end] = [0, -Infinity];
  for (const recording of recordings) {
    const { start, last } = recording;
    const jump = start - (spans.at(-1)?.end ?? start);
    if (jump < 0 || jump > largestStep) offset = end - start;
    end = endOf(recording) + offset;
    spans.push({ start, end: last, offset });
    for (const time of field ? recording[field] : []) times.push(time + offset);
  }
  const isSearchable = !isCounted && spans.length === 1;
  const ascending = Float64Array.from(times).sort();
  const distinct = ascending.filter((time, i) => time !== ascending[i - 1]); // a Set takes twice as long
  return {
    times: field ? (isCounted ? ascending : distinct) : null,
    isCounted,
    keyTimes: isSearchable ? Float64Array.from(recordings[0]!.keys).sort() : new Float64Array(0),
    end,
    recordings: spans,
  };
}
