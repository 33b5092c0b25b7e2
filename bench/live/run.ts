import { cpus } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { LiveSession } from "../../lib/live/session.js";
import type { RgbImage } from "../../lib/media/image.js";
import type { OmniModel } from "../../lib/model/omni.js";
import { idleTime } from "../idle.js";
import { Conversation, type ConversationResult, type TurnMarks } from "./conversation.js";
import { type Distribution, distribution } from "./distribution.js";
import { loadFrame, loadSpeech } from "./speech.js";

export interface LiveBenchOptions {
  readonly sessions: number;
  /** Of all phases together. */
  readonly seconds: number;
  /** Of a listener, in milliseconds. */
  readonly buffer: number;
  /** Of a user's turn. */
  readonly speechSeconds: number;
  /** Whether users have a camera. */
  readonly frames: boolean;
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
  /** The turns that were still waiting for their replies at the end, for more than two seconds. */
  readonly unanswered: number;
  /** The gaps of each listener, and their seconds. */
  readonly listeners: readonly {
    readonly turns: number;
    readonly underruns: number;
    readonly missingSeconds: number;
  }[];
  /** Gaps of all listeners, how many of them had any, and the seconds of the gaps. */
  readonly underruns: number;
  readonly disturbed: number;
  readonly missingSeconds: number;
  /** Users who spoke at a time, and users who heard a reply. */
  readonly speaking: Count;
  readonly listening: Count;
  /** Milliseconds. */
  readonly loopDelay: { readonly p50: number; readonly p99: number; readonly most: number };
  /** The share of the time in which JavaScript ran. */
  readonly loopBusy: number;
  /** Seconds of processor time of the process. */
  readonly processor: number;
  /** The share of the machine's cores that other programs took. */
  readonly others: number;
  /** The largest delay of a packet of a microphone, in milliseconds. */
  readonly latestPacket: number;
  /** Bytes over time: seconds of the phase, resident set size. */
  readonly memory: readonly (readonly [second: number, bytes: number])[];
  /** What was done. */
  readonly work: { readonly audioSeconds: number; readonly spokenSeconds: number };
}

export interface Count {
  readonly mean: number;
  readonly most: number;
}

/** With and without speculation alternate, so that both meet the same machine. */
export const phases = [true, false, true, false];

/** Of the text of replies: so hot that a model hardly ever ends one by itself, and all have their whole length. */
export const temperature = 3;

/** Seconds of a reply and the pauses around it: users who begin together must not go on together. */
const answering = 5;

/** @throws whatever `OmniModel.live` and its sessions throw */
export async function* runPhases(model: OmniModel, options: LiveBenchOptions): AsyncGenerator<Phase> {
  const media = {
    speech: await loadSpeech(options.speechSeconds),
    frame: options.frames ? await loadFrame() : undefined,
  };
  await warmUp(model, media, options);
  for (const speculate of phases) yield await runPhase(model, media, { ...options, speculate });
}

interface Media {
  readonly speech: Float32Array;
  readonly frame: RgbImage | undefined;
}

type PhaseOptions = LiveBenchOptions & { readonly speculate: boolean };

/** Lets V8 compile the code and the model map its weights. */
async function warmUp(model: OmniModel, media: Media, options: LiveBenchOptions): Promise<void> {
  const seconds = (options.speechSeconds + 2) * phases.length;
  const short = { ...options, sessions: Math.min(2, options.sessions), seconds, interruptEvery: 1 };
  await runPhase(model, media, { ...short, speculate: true });
}

async function runPhase(model: OmniModel, media: Media, options: PhaseOptions): Promise<Phase> {
  const { sessions, seconds, buffer, steps, interruptEvery, speculate, signal } = options;
  signal?.throwIfAborted();
  const began = performance.now();
  const now = () => (performance.now() - began) / 1000;
  const length = seconds / phases.length;
  const open: LiveSession[] = [];
  const endAll = () => {
    for (const session of open) session.dispose();
  };
  signal?.addEventListener("abort", endAll);
  const conversations = Array.from({ length: sessions }, (_, i) => {
    const session = model.live({ speculate, maxTokens: steps, temperature, seed: i });
    open.push(session);
    const delay = (i * (options.speechSeconds + answering)) / sessions;
    const sound = { ...media, sampleRate: model.framing.sampleRate, buffer: buffer / 1000 };
    const interrupts = (reply: number) => (reply + i) % interruptEvery === 0; // not all users the same ones
    return new Conversation(session, { ...sound, delay, interrupts, end: length, now });
  });
  const watch = new Watch(now, conversations);
  const talks = conversations.map((conversation) => conversation.run());
  try {
    const results = await Promise.all(talks);
    signal?.throwIfAborted();
    return { speculate, seconds: now(), ...summaryOf(results), ...watch.end() };
  } finally {
    signal?.removeEventListener("abort", endAll);
    watch.end();
    endAll(); // if one has failed, the others go on
    await Promise.allSettled(talks);
  }
}

function summaryOf(results: readonly ConversationResult[]) {
  const turns = results.flatMap((result) => result.turns);
  const sum = (of: (result: ConversationResult) => number) => results.reduce((total, result) => total + of(result), 0);
  return {
    turns,
    afterT4: distribution(turns.map(({ t4, firstAudio }) => firstAudio - t4)),
    afterT2: distribution(turns.map(({ t2, firstAudio }) => firstAudio - t2)),
    unanswered: results.filter(({ unanswered }) => unanswered).length,
    listeners: results.map(({ turns, underruns, missingSeconds }) => {
      return { turns: turns.length, underruns, missingSeconds };
    }),
    underruns: sum(({ underruns }) => underruns),
    disturbed: results.filter(({ underruns }) => underruns > 0).length,
    missingSeconds: sum(({ missingSeconds }) => missingSeconds),
    latestPacket: 1000 * Math.max(...results.map(({ latestPacket }) => latestPacket)),
    work: {
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
  readonly #idle = idleTime();
  readonly #began = performance.now();
  readonly #memory: [number, number][] = [];
  readonly #speaking: number[] = [];
  readonly #listening: number[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(now: () => number, users: readonly Conversation[]) {
    this.#now = now;
    this.#delay.enable();
    this.#timer = setInterval(() => this.#look(users), tickMilliseconds);
  }

  end() {
    clearInterval(this.#timer);
    this.#delay.disable();
    const { user, system } = process.cpuUsage(this.#processor);
    const cores = (performance.now() - this.#began) * cpus().length;
    const milliseconds = (nanoseconds: number) => nanoseconds / 1e6;
    return {
      speaking: countOf(this.#speaking),
      listening: countOf(this.#listening),
      loopDelay: {
        p50: milliseconds(this.#delay.percentile(50)),
        p99: milliseconds(this.#delay.percentile(99)),
        most: milliseconds(this.#delay.max),
      },
      loopBusy: performance.eventLoopUtilization(this.#loop).utilization,
      processor: (user + system) / 1e6,
      others: Math.max(0, (cores - (idleTime() - this.#idle) - (user + system) / 1000) / cores),
      memory: this.#memory,
    };
  }

  #look(users: readonly Conversation[]): void {
    this.#speaking.push(users.filter(({ speaks }) => speaks).length);
    this.#listening.push(users.filter(({ listens }) => listens).length);
    this.#memory.push([this.#now(), process.memoryUsage.rss()]);
  }
}

function countOf(counts: readonly number[]): Count {
  const sum = counts.reduce((total, count) => total + count, 0);
  return { mean: sum / Math.max(1, counts.length), most: counts.reduce((most, count) => Math.max(most, count), 0) };
}
