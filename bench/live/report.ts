import type { Cell } from "../../lib/cli/table.js";
import { type Distribution, distribution, slope } from "./distribution.js";
import type { Count, Phase } from "./run.js";
import type { StageShare } from "./stages.js";

/** All phases with speculation, or all without. */
export interface ModeResult extends Omit<Phase, "turns" | "memory" | "listeners"> {
  readonly turns: number;
}

export function modeResult(all: readonly Phase[], speculate: boolean): ModeResult | undefined {
  const phases = all.filter((phase) => phase.speculate === speculate);
  if (phases.length === 0) return undefined;
  const turns = phases.flatMap((phase) => phase.turns);
  const sum = (of: (phase: Phase) => number) => phases.reduce((total, phase) => total + of(phase), 0);
  const most = (of: (phase: Phase) => number) => Math.max(...phases.map(of));
  const count = (of: (phase: Phase) => Count) => ({
    mean: sum((phase) => of(phase).mean) / phases.length,
    most: most((phase) => of(phase).most),
  });
  return {
    speculate,
    seconds: sum(({ seconds }) => seconds),
    turns: turns.length,
    afterT4: distribution(turns.map(({ t4, firstAudio }) => firstAudio - t4)),
    afterT2: distribution(turns.map(({ t2, firstAudio }) => firstAudio - t2)),
    unanswered: sum(({ unanswered }) => unanswered),
    underruns: sum(({ underruns }) => underruns),
    disturbed: most(({ disturbed }) => disturbed),
    missingSeconds: sum(({ missingSeconds }) => missingSeconds),
    speaking: count(({ speaking }) => speaking),
    listening: count(({ listening }) => listening),
    loopDelay: {
      p50: most(({ loopDelay }) => loopDelay.p50),
      p99: most(({ loopDelay }) => loopDelay.p99),
      most: most(({ loopDelay }) => loopDelay.most),
    },
    loopBusy: sum(({ loopBusy }) => loopBusy) / phases.length,
    processor: sum(({ processor }) => processor),
    others: sum(({ others }) => others) / phases.length,
    latestPacket: most(({ latestPacket }) => latestPacket),
    work: {
      audioSeconds: sum(({ work }) => work.audioSeconds),
      spokenSeconds: sum(({ work }) => work.spokenSeconds),
    },
  };
}

/** The resident set size: bytes at the end of the first and the last phase, and bytes per minute in between. */
export function memoryOf(phases: readonly Phase[]): { first?: number; last?: number; perMinute?: number } {
  let began = 0;
  const points = phases.flatMap(({ memory, seconds }) => {
    const phase = memory.map(([second, bytes]) => [began + second, bytes] as const);
    began += seconds;
    return phase;
  });
  const later = points.slice(phases[0]?.memory.length ?? 0); // in the first one, caches and compiled code grow
  const [first, last, perSecond] = [later[0]?.[1], later.at(-1)?.[1], slope(later)];
  return {
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
    ...(perSecond === undefined ? {} : { perMinute: 60 * perSecond }),
  };
}

const milliseconds = (seconds: number | undefined) => (seconds === undefined ? undefined : Math.round(1000 * seconds));
const inMilliseconds = ({ p50, p95, p99 }: Distribution) => [p50, p95, p99].map(milliseconds);

export const modeHeader = [
  "speculation",
  "turns",
  ...["t4 → audio p50 ms", "p95", "p99"],
  ...["t2 → audio p50 ms", "p95", "p99"],
  ...["gaps", "their s", "listeners with gaps", "loop delay p99 ms", "most", "loop busy", "processors"],
];

/** @param processors which the process could use */
export const modeRow = (r: ModeResult, processors: number): Cell[] => [
  r.speculate ? "with" : "without",
  r.turns,
  ...inMilliseconds(r.afterT4),
  ...inMilliseconds(r.afterT2),
  r.underruns,
  r.missingSeconds,
  r.disturbed,
  r.loopDelay.p99,
  r.loopDelay.most,
  percent(r.loopBusy),
  percent(r.processor / (processors * r.seconds)),
];

export const stageHeader = ["stage, alone", "work", "processor ms", "of all processors"];

export const stageRow = ({ stage, work, milliseconds, share }: StageShare): Cell[] => [
  stage,
  work,
  milliseconds,
  percent(share),
];

const percent = (share: number) => `${Math.round(100 * share)} %`;
