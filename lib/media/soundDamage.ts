import { mediaError, tolerableDamage } from "./input.js";
import { largestStep, readPackets } from "./packets.js";
import { type Description, type Stream, statedSeconds } from "./probe.js";

/** Counts what ffmpeg says of damage while it decodes sound. */
export class DamageMessages {
  /** Whether it reported an error, or data that was damaged or lost on the way. */
  isDamaged = false;
  /** Frames whose checksum is wrong. It repeats the sound before them. */
  badFrames = 0;

  readonly add = (message: string): void => {
    this.isDamaged ||= message.includes("[error] ") || /\bcorrupt\b/i.test(message);
    if (message.includes("corrupt decoded frame")) this.badFrames++;
  };
}

/** A track that was decoded. */
export interface DecodedSound {
  readonly path: string;
  readonly stream: Stream;
  readonly description: Description;
  readonly messages: DamageMessages;
  readonly seconds: number;
  readonly name: string;
  readonly signal?: AbortSignal;
}

/** Containers in which sound may pause. In others, sound that is short is always damaged. */
const mayPause = /^(mov|matroska|ogg|flv|asf|mpeg)/;

/**
 * Refuses sound of which much is missing: of the duration that the file states, or else, if ffmpeg reported damage, of
 * what the packets tell.
 * @throws {CaracalError} `MEDIA_INVALID`, and as `readPackets`
 */
export async function checkDamage(sound: DecodedSound): Promise<void> {
  const { stream, description, messages, name } = sound;
  if (!messages.isDamaged && mayPause.test(description.format.format_name ?? "")) return;
  const stated = statedSeconds(stream, description);
  const packets = messages.isDamaged && (stated === undefined || messages.badFrames > 0) ? await measure(sound) : null;
  const whole = stated ?? packets?.seconds ?? 0;
  const got = sound.seconds - messages.badFrames * (packets?.frameSeconds ?? 0);
  if (!(got < whole * (1 - tolerableDamage))) return;
  const reason = `it is damaged or cut short: ${Math.max(0, got).toFixed(1)} of ${whole.toFixed(1)} s of sound can be decoded`;
  throw mediaError(name, `${reason}; copy or encode it again`);
}

interface Measure {
  readonly seconds: number;
  /** Seconds of a frame, on average. */
  readonly frameSeconds: number;
}

/** The most bytes of a frame, for the codings that are files without a container. */
function largestFrame({ codec_name: codec, channels = 1 }: Stream): number {
  if (codec === "aac") return 768 * channels + 9; // 6144 bits of each channel, behind a header
  return { ac3: 3840, mp2: 1729, mp3: 1441 }[codec ?? ""] ?? Infinity;
}

/**
 * How long sound is by its packets: where the clock runs ahead of them, others are missing. A file without container has
 * no clock, but bytes of no packet, or beyond the largest frame in one of a packet, were sound.
 */
async function measure({ path, stream, description, name, signal }: DecodedSound): Promise<Measure> {
  const { format_name: container = "", size } = description.format;
  const largest = largestFrame(stream);
  const clock: Point[] = [];
  let [count, seconds, bytes, start, position] = [0, 0, 0, Infinity, 0];
  for await (const packet of readPackets({ path, container, index: stream.index }, { name, signal })) {
    count++;
    position = packet.position || position; // MPEG-TS tells it of some
    if (Number.isFinite(packet.pts)) clock.push({ ahead: packet.pts - seconds, position });
    seconds += packet.duration || 0;
    bytes += Math.min(packet.size, largest);
    start = Math.min(start, position);
  }
  const frameSeconds = seconds / count;
  const isRaw = /^(aac|ac3|mp3)$/.test(container);
  if (isRaw) return { frameSeconds, seconds: (seconds * (Number(size) - start)) / bytes };
  return { frameSeconds, seconds: seconds + missing(clock, Number(size) / seconds) };
}

/** How far the time stamp of a packet is ahead of the sound before it, in seconds, and where the packet lies. */
interface Point {
  readonly ahead: number;
  readonly position: number;
}

/** Seconds that the clock steps ahead. If it jumps, sound is missing only where there are bytes for it. */
function missing(clock: readonly Point[], bytesPerSecond: number): number {
  const points = medians(clock);
  return points.reduce((sum, { ahead, position }, i) => {
    const before = points[i - 1] ?? { ahead, position };
    const step = ahead - before.ahead;
    const isLost = step <= largestStep || position - before.position > (step / 2) * bytesPerSecond;
    return isLost ? sum + Math.max(0, step) : sum;
  }, 0);
}

/** The medians of every 25 points, which drop single time stamps that are damaged. */
function medians(points: readonly Point[]): Point[] {
  return Array.from({ length: Math.ceil(points.length / 25) }, (_, i) => {
    const some = points.slice(i * 25, (i + 1) * 25).sort((a, b) => a.ahead - b.ahead);
    return some[some.length >> 1]!;
  });
}
