import { inputFile, toolOutput } from "./ffmpeg.js";
import type { RgbImage } from "./image.js";
import { mediaError, tolerableDamage } from "./input.js";
import type { Span } from "./timeline.js";
import type { VideoTrack } from "./videoTrack.js";

export interface FrameOptions {
  readonly signal?: AbortSignal;
  /** Whether each frame may overwrite the pixels of the one before. Default false. */
  readonly reuse?: boolean;
}

/** Pictures per run of ffmpeg: the selection is one argument, limited to 128 KiB. */
const picturesPerRun = 2000;
/** Pixels whose decoding takes longer than to start ffmpeg anew behind them: 65 frames of 1080p, measured with H.264. */
const pixelsWorthSkipping = 2 ** 27;

/**
 * Decodes the pictures of these numbers (ascending, distinct) to RGB, one by one. A picture that cannot be decoded is
 * replaced by the last one before it that can, or by the first one of all.
 * @throws {CaracalError} `MEDIA_INVALID` when too little can be decoded, and as `toolOutput`
 */
export async function* decodePictures(
  track: VideoTrack,
  pictures: readonly number[],
  { signal, reuse = false }: FrameOptions = {},
): AsyncGenerator<RgbImage> {
  const { path, width, height } = track;
  const bytes = width * height * 3;
  for (const run of runs(track, pictures)) {
    const maxBytes = bytes * run.pictures.length;
    const output = toolOutput("ffmpeg", decoderArgs(track, run), { name: path, signal, maxBytes });
    let decoded = 0;
    for await (const data of blocks(output, bytes, reuse)) {
      decoded++;
      yield { width, height, data };
    }
    if (decoded < run.pictures.length)
      throw mediaError(path, `frame ${run.pictures[decoded]} of ${track.times.length} cannot be decoded`);
  }
}

/** Pictures that one run of ffmpeg decodes. */
interface Run {
  /** The time of the picture to begin with; undefined begins with the first one. */
  readonly from?: number;
  readonly pictures: number[];
}

/** Begins a new run where so many pictures lie between a wanted one and the next that skipping them pays. */
function* runs(track: VideoTrack, pictures: readonly number[]): Generator<Run> {
  const { times, keyTimes, width, height } = track;
  let run: Run = { pictures: [] };
  let next = 0; // the picture after the last chosen one
  for (const picture of pictures) {
    const from = keyTimes[lastAtOrBefore(keyTimes, times[picture]!)];
    const skipped = from === undefined ? 0 : lastAtOrBefore(times, from) - next;
    if (run.pictures.length === picturesPerRun || skipped * width * height > pixelsWorthSkipping) {
      if (run.pictures.length > 0) yield run;
      run = { ...(from !== undefined && { from }), pictures: [] };
    }
    run.pictures.push(picture);
    next = picture + 1;
  }
  if (run.pictures.length > 0) yield run;
}

/** The index of the last of some ascending values that is not above `limit`, or −1. */
export function lastAtOrBefore(values: Float64Array, limit: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const turns = ["", "transpose=clock,", "hflip,vflip,", "transpose=cclock,"];

/**
 * The ffmpeg arguments that write a run's pictures as raw RGB. Each decoded picture gets the number of the first wanted
 * one that is not before it as its time stamp, so that a rate of 1 keeps exactly the wanted ones, repeats one where
 * others are missing, and nothing else is converted. The end is padded likewise.
 */
function decoderArgs(track: VideoTrack, { from, pictures }: Run): string[] {
  const { times, isCounted, recordings, width, height, quarterTurns, index } = track;
  const isSideways = quarterTurns !== null && quarterTurns % 2 === 1;
  // Half-way to the next picture, since time stamps may have been rounded; the last one ends later than a millisecond.
  const ends = pictures.map((n) =>
    isCounted ? n + 0.5 : Math.min((times[n]! + (times[n + 1] ?? Infinity)) / 2, times[n]! + 1e-3),
  );
  // The stream ends for the fps filter at the time of its last picture, in old or new time stamps, which depends on
  // ffmpeg's version: numbers must lie before both, hence the origin and the halves.
  const origin = Math.floor(times[0]!) - pictures.length - 10;
  const filters = [
    "settb=AVTB",
    ...(recordings.length > 1 && !isCounted ? [`setpts='(${continuedClock(recordings)})/TB'`] : []),
    `setpts='(${origin + 0.5}+${countBelow(ends, isCounted ? "N" : "T")})/TB'`,
    `fps=1:start_time=${origin}:round=down:eof_action=pass`,
    isSideways ? `scale=${height}:${width}` : `scale=${width}:${height}`, // the size may change within a stream
    `${turns[quarterTurns ?? 0]}format=rgb24`,
    "tpad=stop=-1:stop_mode=clone",
    "setpts=N",
  ];
  return [
    ...["-copyts", "-reinit_filter", "0", "-max_error_rate", `${tolerableDamage}`],
    ...(quarterTurns === null ? [] : ["-noautorotate"]),
    ...(from === undefined ? [] : ["-noaccurate_seek", "-ss", (from - track.fileStart).toFixed(6)]),
    ...inputFile(track.path, track.container),
    ...["-map", `0:${index}`, "-vf", filters.join(","), "-frames:v", `${pictures.length}`],
    ...["-f", "rawvideo", "pipe:1"],
  ];
}

/**
 * The expression "the time of a picture on a clock that goes on where another recording begins". Decoded pictures come
 * in the order of their times, so that a recording ends where these go back, or beyond its last one, to near the start
 * of the next. A picture of no such time, as decoders give out of order at such a point, gets that of the one before.
 * Variable 0 is the recording's number, 1 the last time in the file, 2 the last result.
 */
function continuedClock(recordings: readonly Span[]): string {
  const [first, ...others] = recordings;
  const back = Math.min(...others.map(({ start }, i) => Math.max(1e-3, recordings[i]!.end - start))) / 2;
  const number = (value: number) => value.toFixed(6);
  const of = (values: readonly number[]) => choice(values.map(number), (i) => `gte(ld(0),${i})`);
  const last = of(recordings.map(({ end }) => end + 1e-3));
  const start = of(recordings.map((recording) => recording.start - 1e-3));
  const next = of([...others.map((recording) => recording.start), 1e9]);
  const offset = of(recordings.map((recording) => recording.offset));
  const isOver = `(lt(T,ld(1)-${number(back)})+gt(T,${last}))*lt(abs(T-${next}),abs(T-ld(1)))`;
  return (
    `if(eq(N,0),st(1,${number(first!.start)}));st(0,ld(0)+${isOver});` +
    `if(between(T,${start},${last}),st(1,T);st(2,T+${offset}));ld(2)`
  );
}

/** The expression "how many of the ascending `values` are below `x`". */
function countBelow(values: readonly number[], x: string): string {
  const counts = Array.from({ length: values.length + 1 }, (_, i) => `${i}`);
  return choice(counts, (i) => `gt(${x},${values[i - 1]!.toFixed(6)})`);
}

/**
 * The expression "the last of some `results` whose condition holds, or the first one", if conditions hold up to some
 * index. It is a search tree: ffmpeg refuses a depth of 100.
 */
function choice(results: readonly string[], condition: (i: number) => string, from = 0, to = results.length): string {
  if (to - from === 1) return results[from]!;
  const middle = (from + to) >> 1;
  return `if(${condition(middle)},${choice(results, condition, middle, to)},${choice(results, condition, from, middle)})`;
}

/** Cuts a stream of bytes into blocks of one size; an incomplete last one is dropped. */
async function* blocks(chunks: AsyncIterable<Uint8Array>, size: number, reuse: boolean): AsyncGenerator<Uint8Array> {
  let block = new Uint8Array(size);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + size - filled);
      block.set(piece, filled);
      at += piece.length;
      filled += piece.length;
      if (filled < size) continue;
      yield block;
      if (!reuse) block = new Uint8Array(size);
      filled = 0;
    }
  }
}
