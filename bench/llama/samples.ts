import type { Answer } from "./engineProcess.js";

/** Samples of a time, in milliseconds. */
export interface Samples {
  readonly best: number;
  readonly median: number;
  readonly all: readonly number[];
}

/** What one engine needed for a work. */
export interface EngineTime {
  readonly wall: Samples;
  /** CPU time of all its threads. */
  readonly cpu: Samples;
}

export function timeOf(answers: readonly Answer[]): EngineTime {
  return { wall: samplesOf(answers.flatMap(({ wall }) => wall)), cpu: samplesOf(answers.flatMap(({ cpu }) => cpu)) };
}

export function samplesOf(all: readonly number[]): Samples {
  const sorted = [...all].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return { best: sorted[0]!, median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2, all };
}

/** The share of the machine's cores that other programs took while the engines worked, from 0 to 1. */
export function shareOfOthers(answers: readonly Answer[]): number {
  const total = (of: (answer: Answer) => number) => answers.reduce((sum, answer) => sum + of(answer), 0);
  return total(({ others }) => others) / total(({ cores }) => cores);
}
