// When things happened in a spoken turn, in milliseconds of performance.now().

/** Chunks over which the least delay counts: two seconds of them. */
const window = 64;

/** Tells when a sample was recorded, from the times at which chunks of samples reached the page. */
export class SampleClock {
  readonly #rate: number;
  /** When the recording would have begun, by each of the latest chunks. */
  readonly #beginnings: number[] = [];
  #samples = 0;

  /** @param rate in Hz */
  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Notes that so many more samples were recorded by now. */
  heard(samples: number, now: number): void {
    this.#samples += samples;
    this.#beginnings.push(now - (1000 * this.#samples) / this.#rate);
    if (this.#beginnings.length > window) this.#beginnings.shift();
  }

  /** Notes samples that no microphone recorded, such as silence after its end. */
  skip(samples: number): void {
    this.#samples += samples;
    this.#beginnings.length = 0;
  }

  /** When the sample so many milliseconds after the first was recorded; undefined if that is not known. */
  timeOf(milliseconds: number): number | undefined {
    // A busy page gets chunks late, but none early.
    return this.#beginnings.length > 0 ? Math.min(...this.#beginnings) + milliseconds : undefined;
  }
}

/** Moments of a turn and its reply. Those that have not come yet are absent. */
export interface TurnTimes {
  /** The end of the user's speech, by the microphone's samples. */
  readonly speechEnd: number;
  /** The server said that the turn has ended. */
  confirmed?: number | undefined;
  /** The server said that it replies. */
  created?: number | undefined;
  /** The first sound of the reply, or its first word if it is written, arrived. */
  received?: number | undefined;
  /** The first sound of the reply left the loudspeaker. */
  audible?: number | undefined;
}

export interface Stage {
  readonly key: "confirmed" | "created" | "received" | "audible";
  /** What it lasts for, or until. */
  readonly label: string;
  readonly milliseconds: number;
}

const labels: Record<Stage["key"], string> = {
  // The server waits for silence before it believes that the user has finished.
  confirmed: "silence heard",
  created: "reply begins",
  received: "sound arrives",
  audible: "sound plays",
};

/** The stages that are over, from the end of speech on. */
export function stagesOf(times: TurnTimes): Stage[] {
  const stages: Stage[] = [];
  let before = times.speechEnd;
  for (const key of Object.keys(labels) as Stage["key"][]) {
    const time = times[key];
    if (time === undefined) break;
    const milliseconds = Math.max(0, Math.round(time - before));
    stages.push({ key, label: labels[key], milliseconds });
    before = Math.max(time, before);
  }
  return stages;
}

export const totalOf = (stages: readonly Stage[]): number =>
  stages.reduce((total, { milliseconds }) => total + milliseconds, 0);
