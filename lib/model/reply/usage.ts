import { promptStages } from "../prompt/progress.js";

/** The stages of a reply, in order; the last three overlap. */
export const stages = [...promptStages, "prefill", "decode", "speech decoder"] as const;
/** The name of a stage of a reply. */
export type Stage = (typeof stages)[number];

/** The input, output and time of a stage. */
export interface StageUsage {
  readonly seconds: number;
  /** Tokens that the stage produced (`decode`: steps; `speech decoder`: frames). */
  readonly tokens: number;
  /** Seconds of audio that the stage read or wrote. */
  readonly audioSeconds: number;
}

/** What a reply took: tokens, and seconds by stage. */
export interface ReplyUsage {
  readonly promptTokens: number;
  /** Rows of the prompt that were in the KV cache already, of a prompt that begins alike; the others were computed. */
  readonly cachedTokens: number;
  readonly textTokens: number;
  /** Steps of the language model. */
  readonly steps: number;
  /** Seconds of speech in the reply. */
  readonly audioSeconds: number;
  readonly stages: Readonly<Record<Stage, StageUsage>>;
  /** Seconds from the call to the first text; null if there was none. */
  readonly firstText: number | null;
  /** Seconds from the call to the first audio; null if there was none. */
  readonly firstAudio: number | null;
  /** Seconds from the call to the end. */
  readonly total: number;
  /** Seconds that the reply waited for room in the KV cache, before its start and after every preemption. */
  readonly queued: number;
  /** How often the reply was preempted: its room in the KV cache went to others, and its rows were computed again. */
  readonly preemptions: number;
  /** Rows of the prompt and of the reply that were computed again; they count in the seconds of `prefill` alone. */
  readonly recomputedTokens: number;
}

/** Measures a reply. All times are values of `performance.now()`. */
export class UsageMeter {
  promptTokens = 0;
  cachedTokens = 0;
  textTokens = 0;
  steps = 0;
  audioSeconds = 0;
  preemptions = 0;
  recomputedTokens = 0;
  readonly #start = performance.now();
  readonly #stages = new Map<Stage, StageUsage>();
  #firstText: number | null = null;
  #firstAudio: number | null = null;
  #queuedSince: number | null = null;
  #queued = 0;
  /** When the device last finished work of this reply's speech decoder. */
  #speechDone = 0;

  /** Adds to a stage. */
  add(stage: Stage, milliseconds: number, tokens: number, audioSeconds = 0): void {
    const sum = this.#stage(stage);
    this.#stages.set(stage, {
      seconds: sum.seconds + milliseconds / 1000,
      tokens: sum.tokens + tokens,
      audioSeconds: sum.audioSeconds + audioSeconds,
    });
  }

  /** Seconds of the present wait for room in the KV cache; 0 when there is none. */
  get waiting(): number {
    return this.#queuedSince === null ? 0 : (performance.now() - this.#queuedSince) / 1000;
  }

  /** Notes whether the reply waits for room in the KV cache. */
  wait(waits: boolean): void {
    if (waits) this.#queuedSince ??= performance.now();
    else {
      this.#queued += this.waiting;
      this.#queuedSince = null;
    }
  }

  /** Counts a step of the language model. */
  step(): void {
    this.steps++;
  }

  /** Notes the time of a text event. */
  text(): void {
    this.#firstText ??= this.#elapsed();
  }

  /** Notes that the speech decoder finished frames that it received at `start`. */
  speech(start: number, frames: number, audioSeconds: number): void {
    const now = performance.now();
    this.add("speech decoder", now - Math.max(start, this.#speechDone), frames, audioSeconds);
    this.#speechDone = now;
    this.audioSeconds += audioSeconds;
    if (audioSeconds > 0) this.#firstAudio ??= this.#elapsed();
  }

  /** Notes that a step queued at `start` finished. Speech decoded before it on the device does not count. */
  decode(start: number): void {
    this.add("decode", performance.now() - Math.max(start, this.#speechDone), 1);
  }

  report(): ReplyUsage {
    const { promptTokens, cachedTokens, textTokens, steps, audioSeconds } = this;
    return {
      promptTokens,
      cachedTokens,
      textTokens,
      steps,
      audioSeconds,
      stages: Object.fromEntries(stages.map((stage) => [stage, this.#stage(stage)])) as Record<Stage, StageUsage>,
      firstText: this.#firstText,
      firstAudio: this.#firstAudio,
      total: this.#elapsed(),
      queued: this.#queued,
      preemptions: this.preemptions,
      recomputedTokens: this.recomputedTokens,
    };
  }

  #stage(stage: Stage): StageUsage {
    return this.#stages.get(stage) ?? { seconds: 0, tokens: 0, audioSeconds: 0 };
  }

  #elapsed(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
