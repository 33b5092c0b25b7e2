import { afterAll, beforeAll } from "vitest";
import type { LiveEvent } from "../../lib/live/events.js";
import type { LiveOptions } from "../../lib/live/options.js";
import type { LiveSession } from "../../lib/live/session.js";
import type { TurnEvent } from "../../lib/live/turnDetector.js";
import type { VoiceDetector } from "../../lib/live/voiceDetector.js";
import { OmniModel } from "../../lib/model/omni.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { randomArray } from "../support/numbers.js";

export const rate = 16000;
/** Samples of so many seconds. */
export const at = (seconds: number) => Math.round(seconds * rate);
/** Something to hear. */
export const speech = randomArray(at(12), 3, 0.2);

/** Pushes samples in pieces of a length, each once the one before was heard. */
export async function push(session: LiveSession, samples: Float32Array, piece = at(0.1)): Promise<void> {
  for (let from = 0; from < samples.length; from += piece) await session.push(samples.subarray(from, from + piece));
}

/** A turn of 3.1 s that is over after 4 s. */
export const oneTurn = [
  [0.5, "start", 0.2],
  [3.3, "pause"],
  [3.7, "end", 3.3],
] as const;

/** A turn, and another that begins while its reply is being spoken. */
export const interruption = [...oneTurn, [5, "start", 4.8], [7, "pause"], [7.5, "end", 7]] as const;

/** When something is known, what it is, and the second when it was, if that was earlier. */
export type Cue = readonly [when: number, type: "start" | "pause" | "resume" | "end", second?: number];

function eventOf([when, type, second = when]: Cue): TurnEvent {
  const position = at(when);
  if (type === "start") return { type: "speechStarted", position, start: at(second) };
  if (type === "pause") return { type: "speculativeEnd", position, end: at(second) };
  return type === "resume" ? { type: "speechResumed", position } : { type: "speechEnded", position, end: at(second) };
}

/** Says what it was told to say, once the samples up to there have been pushed. */
export class Script implements VoiceDetector {
  readonly #events: TurnEvent[];
  #pushed = 0;
  disposed = false;

  constructor(script: readonly Cue[]) {
    this.#events = script.map(eventOf);
  }

  async push(samples: Float32Array): Promise<TurnEvent[]> {
    this.#pushed += samples.length;
    const due = this.#events.filter(({ position }) => position <= this.#pushed);
    return this.#events.splice(0, due.length);
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

/** Time that stands still unless it is moved. */
class StoppedClock {
  seconds = 100;
  now(): number {
    return this.seconds;
  }
}

/** A session whose events are kept. */
export class Listener {
  readonly events: LiveEvent[] = [];
  readonly session: LiveSession;
  readonly clock = new StoppedClock();
  readonly #done: Promise<void>;
  #changed: () => void = () => {};

  /** @param script without, the session finds the turns by itself */
  constructor(model: OmniModel, script: readonly Cue[] | undefined, options: LiveOptions = {}) {
    this.session = model.live({ detector: script && new Script(script), clock: this.clock, maxTokens: 20, ...options });
    this.#done = this.#listen();
    this.#done.catch(() => {});
  }

  async #listen(): Promise<void> {
    for await (const event of this.session) {
      this.events.push(event);
      this.#changed();
    }
  }

  /** Waits for an event of a type, of an item if one is given. */
  async until(type: LiveEvent["type"], item?: string): Promise<LiveEvent> {
    for (;;) {
      const isWanted = (event: LiveEvent) => !item || ("item" in event && event.item === item);
      const found = this.events.find((event) => event.type === type && isWanted(event));
      if (found) return found;
      const change = new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
      await Promise.race([change, this.#done.then(() => Promise.reject(new Error(`no ${type} came`)))]);
    }
  }

  types(): string[] {
    return this.events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
  }

  /** The text, ids and samples of a reply. */
  reply(item: string) {
    const of = this.events.filter((event) => "item" in event && event.item === item);
    const samples = of.flatMap((event) => (event.type === "audio" ? [...event.samples] : []));
    const ids = of.flatMap((event) => (event.type === "text" ? [...event.ids] : []));
    return { ids, samples };
  }
}

/** A model for a file's tests, on two threads. */
export async function liveModel() {
  const directory = await tinyDirectory();
  let device!: Device;
  let model!: OmniModel;
  beforeAll(async () => {
    device = await Device.open({ threads: 2 });
    model = await OmniModel.load(directory, { device });
  });
  afterAll(() => {
    model.dispose(); // ends the sessions of tests that failed
    device.dispose();
  });
  return {
    directory,
    get model() {
      return model;
    },
    /** A session of the model whose events are kept. */
    listen: (script: readonly Cue[] | undefined, options?: LiveOptions) => new Listener(model, script, options),
  };
}
