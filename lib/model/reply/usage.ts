import { type ReplyUsage, type Stage, type StageUsage, stages } from "./options.js";

/** Measures a reply. All times are of `performance.now()`. */
export class UsageMeter {
  promptTokens = 0;
  textTokens = 0;
  steps = 0;
  audioSeconds = 0;
  readonly #start = performance.now();
  readonly #stages = new Map<Stage, StageUsage>();
  #firstText: number | null = null;
  #firstAudio: number | null = null;
  /** When the device last finished something that this reply's speech decoder asked for. */
  #spoken = 0;

  /** Adds to a stage. */
  add(stage: Stage, milliseconds: number, tokens: number, audioSeconds = 0): void {
    const before = this.#stage(stage);
    this.#stages.set(stage, {
      seconds: before.seconds + milliseconds / 1000,
      tokens: before.tokens + tokens,
      audioSeconds: before.audioSeconds + audioSeconds,
    });
  }

  step(): void {
    this.steps++;
  }

  text(): void {
    this.#firstText ??= this.#elapsed();
  }

  /** The speech decoder, given some frames at `start`, is done with them. */
  speech(start: number, frames: number, audioSeconds: number): void {
    const now = performance.now();
    this.add("speech decoder", now - Math.max(start, this.#spoken), frames, audioSeconds);
    this.#spoken = now;
    this.audioSeconds += audioSeconds;
    if (audioSeconds > 0) this.#firstAudio ??= this.#elapsed();
  }

  /** A step of the language model was queued at `start` and is done: speech that ran before it does not count. */
  decode(start: number): void {
    this.add("decode", performance.now() - Math.max(start, this.#spoken), 1);
  }

  report(): ReplyUsage {
    const { promptTokens, textTokens, steps, audioSeconds } = this;
    return {
      promptTokens,
      textTokens,
      steps,
      audioSeconds,
      stages: Object.fromEntries(stages.map((stage) => [stage, this.#stage(stage)])) as Record<Stage, StageUsage>,
      firstText: this.#firstText,
      firstAudio: this.#firstAudio,
      total: this.#elapsed(),
    };
  }

  #stage(stage: Stage): StageUsage {
    return this.#stages.get(stage) ?? { seconds: 0, tokens: 0, audioSeconds: 0 };
  }

  #elapsed(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
