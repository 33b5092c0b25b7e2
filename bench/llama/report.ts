import type { Cell } from "../../lib/cli/table.js";
import { preset } from "../../lib/synth/presets.js";
import { type LimitName, limitOf, peakWarnings } from "../limits.js";
import type { MachinePeaks } from "../peaks.js";
import type { Compared, ComparedMemory, ComparedTime } from "./compare.js";
import { equalWorkModel } from "./deepseek2.js";
import { describePair, type Pair, rowsOf } from "./rows.js";
import type { EngineTime } from "./samples.js";
import { type Used, usedByCaracal, usedByLlamaCpp } from "./work.js";

export const isTime = (result: Compared): result is ComparedTime => "others" in result;
export const isMemory = (result: Compared): result is ComparedMemory => !isTime(result);

/** A line of the table of times. */
export interface TimeResult {
  readonly model: string;
  readonly work: string;
  readonly ours: EngineTime;
  readonly theirs: EngineTime;
  /** Their wall time ÷ ours: above 1, Caracal is faster. */
  readonly ratio: { readonly best: number; readonly median: number };
  /** The share of the cores that other programs took meanwhile. */
  readonly others: number;
  /** What bounds our time from below; absent for loading. */
  readonly limit?: LimitName;
  /** The limit's time ÷ our best time. */
  readonly ofLimit?: number;
}

export function timeResult({ pair, work, name, ours, theirs, others }: ComparedTime, peaks: MachinePeaks): TimeResult {
  const ratio = { best: theirs.wall.best / ours.wall.best, median: theirs.wall.median / ours.wall.median };
  const result = { model: describePair(pair), work: name, ours, theirs, ratio, others };
  if (!work) return result;
  const { ours: weights } = pair;
  const rows = rowsOf(work);
  const { llm } = preset(pair.preset);
  const { bytes } = usedByCaracal(llm, weights.bytes, rows);
  const { parameters } = usedByCaracal(llm, weights.bytes);
  const unit = weights.f32 ? "fma" : "scalar";
  const { limit, milliseconds } = limitOf({ unit, work: { bytes, flops: 2 * parameters * rows } }, peaks);
  return { ...result, limit, ...(milliseconds === undefined ? {} : { ofLimit: milliseconds / ours.wall.best }) };
}

export const timeHeader = [
  "model",
  "work",
  "ms",
  "median",
  "CPU ms",
  "llama.cpp ms",
  "median",
  "CPU ms",
  "samples",
  "× best",
  "× median",
  "limit",
  "of limit",
];

export const timeRow = (r: TimeResult): Cell[] => [
  r.model,
  r.work,
  ...engineCells(r.ours),
  ...engineCells(r.theirs),
  r.ours.wall.all.length,
  r.ratio.best,
  r.ratio.median,
  r.limit,
  r.ofLimit === undefined ? undefined : `${(100 * r.ofLimit).toFixed(0)} %`,
];

const engineCells = ({ wall, cpu }: EngineTime): Cell[] => [wall.best, wall.median, cpu.best];

/** A result in a line. */
export function comparedLine(result: Compared): string {
  const name = `${describePair(result.pair)} ${result.name}`;
  if (isTime(result))
    return `${name}: ${result.ours.wall.best.toFixed(1)} ms, ${result.theirs.wall.best.toFixed(1)} ms`;
  return `${name}: ${mebibytes(result.ours.end.peak)} MiB, ${mebibytes(result.theirs.end.peak)} MiB`;
}

const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20);

/** Memory as JSON, with the weights that each engine multiplies a token with. */
export const memoryResult = ({ pair, ours, theirs }: ComparedMemory) => ({
  model: describePair(pair),
  usedPerToken: usedPerToken(pair),
  ours,
  theirs,
});

/** Memory, and the weights that each token uses. */
export const memoryHeader = [
  "model",
  "M weights per token",
  "GB",
  "llama.cpp GB",
  "loaded MiB",
  "anonymous",
  "peak",
  "llama.cpp loaded MiB",
  "anonymous",
  "peak",
  "× peak",
];

export function memoryRow({ pair, ours, theirs }: ComparedMemory): Cell[] {
  const { ours: used, theirs: peers } = usedPerToken(pair);
  const cells = ({ loaded, end }: ComparedMemory["ours"]) => [loaded.now, loaded.anonymous, end.peak].map(mebibytes);
  const weights = [used.parameters / 1e6, used.bytes / 1e9, peers.bytes / 1e9];
  return [describePair(pair), ...weights, ...cells(ours), ...cells(theirs), theirs.end.peak / ours.end.peak];
}

/** The weights that each engine multiplies a token with. */
export function usedPerToken({ preset: name, ours, theirs }: Pair): { readonly ours: Used; readonly theirs: Used } {
  const { llm } = preset(name);
  return { ours: usedByCaracal(llm, ours.bytes), theirs: usedByLlamaCpp(llm, equalWorkModel(llm, theirs)) };
}

/** More than this share of the cores in the hands of others is worth a warning. */
const busy = 0.05;

/** What a reader must know before trusting the times. */
export function timeWarnings(results: readonly TimeResult[], peaks: MachinePeaks, threads: number): string[] {
  const shares = results.map(({ ofLimit }) => ofLimit);
  const disturbed = results.filter(({ others }) => others > busy);
  if (disturbed.length === 0) return peakWarnings(peaks, shares);
  const most = disturbed.reduce((most, { others }) => Math.max(most, others), 0);
  const advice =
    threads === 1
      ? "compare the CPU times instead, which do not count waiting for a core"
      : "llama.cpp's threads wait for one another by spinning, so it loses more by that than Caracal, and these ratios are " +
        "too high. Run it again on an idle machine, or with --threads 1, and compare the CPU times";
  return [
    ...peakWarnings(peaks, shares),
    `other programs took more than ${100 * busy} % of the cores during ${disturbed.length} of ${results.length} results, ` +
      `at most ${Math.round(100 * most)} %: ${advice}`,
  ];
}
