import { monitorEventLoopDelay } from "node:perf_hooks";
import type { LiveSession } from "../../lib/live/session.js";
import type { OmniModel } from "../../lib/model/omni.js";
import { Conversation, type ConversationResult, type TurnMarks } from "./conversation.js";
import { type Distribution, distribution } from "./distribution.js";
import { loadSpeech } from "./speech.js";

export interface LiveBenchOptions {
  readonly sessions: number;
  /** Of all phases together. */
  readonly seconds: number;
  /** Of a listener, in milliseconds. */
  readonly buffer: number;
  /** Steps of a reply. */
  readonly steps: number;
  /** Every which reply is interrupted. */
  readonly interruptEvery: number;
  readonly signal?: AbortSignal | undefined;
}

/** Sessions that talk for a while, all of them with speculation or all without. */
export interface Phase {
  readonly speculate: boolean;
  readonly seconds: number;
  readonly turns: readonly TurnMarks[];
  /** Seconds from t4 and from t2 to the first audio. */
  readonly afterT4: Distribution;
  readonly afterT2: Distribution;
  /** Gaps of all listeners, how many of them had any, and the seconds of the gaps. */
  readonly underruns: number;
  readonly disturbed: number;
  readonly missingSeconds: number;
  /** Users who spoke at a time. */
  readonly speaking: { readonly mean: number; readonly most: number };
  /** Milliseconds. */
  readonly loopDelay: { readonly p50: number; readonly p99: number; readonly most: number };
  /** The share of the time in which JavaScript ran. */
  readonly loopBusy: number;
  /** Seconds of processor time of the process. */
  readonly processor: number;
  /** The largest delay of a packet of a microphone, in milliseconds. */
  readonly latestPacket: number;
  /** Bytes over time: seconds of the phase, resident set size. */
  readonly memory: readonly (readonly [second: number, bytes: number])[];
  /** What was done. */
  readonly work: { readonly steps: number; readonly audioSeconds: number; readonly spokenSeconds: number };
}

/** With and without speculation alternate, so that both meet the same machine. */
export const phases = [true, false, true, false];

/** Seconds of a user's turn, its reply and the pauses between: those that begin together must not go on together. */
const cycle = 8;

/** @throws whatever `OmniModel.live` and its sessions throw */
export async function* runPhases(model: OmniModel, options: LiveBenchOptions): AsyncGenerator<Phase> {
  const speech = await loadSpeech();
  await warmUp(model, speech, options);
  for (const speculate of phases) yield await runPhase(model, speech, { ...options, speculate });
}

type PhaseOptions = LiveBenchOptions & { readonly speculate: boolean };

/** Lets V8 compile the code and the model map its weights. */
async function warmUp(model: OmniModel, speech: Float32Array, options: LiveBenchOptions): Promise<void> {
  const short = { ...options, sessions: Math.min(2, options.sessions), seconds: 4 * phases.length, interruptEvery: 1 };
  await runPhase(model, speech, { ...short, speculate: true });
}

async function runPhase(model: OmniModel, speech: Float32Array, options: PhaseOptions): Promise<Phase> {
  const { sessions, seconds, buffer, steps, interruptEvery, speculate, signal } = options;
  signal?.throwIfAborted();
  const began = performance.now();
  const now = () => (performance.now() - began) / 1000;
  const length = seconds / phases.length;
  const watch = new Watch(now);
  const open: LiveSession[] = [];
  const endAll = () => {
    for (const session of open) session.dispose();
  };
  signal?.addEventListener("abort", endAll);
  const conversations = Array.from({ length: sessions }, (_, i) => {
    const session = model.live({ speculate, maxTokens: steps, seed: i });
    open.push(session);
    const script = {
      ...{ speech, sampleRate: model.framing.sampleRate, delay: (i * cycle) / sessions, buffer: buffer / 1000 },
      ...{ interruptEvery, end: length, now, onSpeaking: (speaks: boolean) => watch.speaking(speaks ? 1 : -1) },
    };
    return new Conversation(session, script).run();
  });
  try {
    const results = await Promise.all(conversations);
    signal?.throwIfAborted();
    return { speculate, seconds: now(), ...summaryOf(results), ...watch.end() };
  } finally {
    signal?.removeEventListener("abort", endAll);
    watch.end();
    endAll(); // if one has failed, the others go on
    await Promise.allSettled(conversations);
  }
}

function summaryOf(results: readonly ConversationResult[]) {
  const turns = results.flatMap((result) => result.turns);
  const sum = (of: (result: ConversationResult) => number) => results.reduce((total, result) => total + of(result), 0);
  return {
    turns,
    afterT4: distribution(turns.map(({ t4, firstAudio }) => firstAudio - t4)),
    afterT2: distribution(turns.map(({ t2, firstAudio }) => firstAudio - t2)),
    underruns: sum(({ underruns }) => underruns),
    disturbed: results.filter(({ underruns }) => underruns > 0).length,
    missingSeconds: sum(({ missingSeconds }) => missingSeconds),
    latestPacket: 1000 * Math.max(...results.map(({ latestPacket }) => latestPacket)),
    work: {
      steps: sum(({ steps }) => steps),
      audioSeconds: sum(({ audioSeconds }) => audioSeconds),
      spokenSeconds: sum(({ spokenSeconds }) => spokenSeconds),
    },
  };
}

const tickMilliseconds = 100;

/** Watches the process during a phase. */
class Watch {
  readonly #now: () => number;
  readonly #delay = monitorEventLoopDelay({ resolution: 1 });
  readonly #loop = performance.eventLoopUtilization();
  readonly #processor = process.cpuUsage();
  readonly #memory: [number, number][] = [];
  readonly #counts: number[] = [];
  readonly #timer: NodeJS.Timeout;
  #speaking = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#delay.enable();
    this.#timer = setInterval(() => this.#look(), tickMilliseconds);
  }

  speaking(change: number): void {
    this.#speaking += change;
  }

  end() {
    clearInterval(this.#timer);
    this.#delay.disable();
    const { user, system } = process.cpuUsage(this.#processor);
    const milliseconds = (nanoseconds: number) => nanoseconds / 1e6;
    return {
      speaking: {
        mean: this.#counts.reduce((sum, count) => sum + count, 0) / Math.max(1, this.#counts.length),
        most: Math.max(0, ...this.#counts),
      },
      loopDelay: {
        p50: milliseconds(this.#delay.percentile(50)),
        p99: milliseconds(this.#delay.percentile(99)),
        most: milliseconds(this.#delay.max),
      },
      loopBusy: performance.eventLoopUtilization(this.#loop).utilization,
      processor: (user + system) / 1e6,
      memory: this.#memory,
    };
  }

  #look(): void {
    this.#counts.push(this.#speaking);
    this.#memory.push([this.#now(), process.memoryUsage.rss()]);
  }
}
