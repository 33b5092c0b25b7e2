import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { LiveEvent } from "../../lib/live/events.js";
import type { LiveOptions } from "../../lib/live/options.js";
import type { LiveSession } from "../../lib/live/session.js";
import type { TurnEvent } from "../../lib/live/turnDetector.js";
import type { VoiceDetector } from "../../lib/live/voiceDetector.js";
import { OmniModel } from "../../lib/model/omni.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { randomArray } from "../support/numbers.js";
import { speech as spoken } from "./speech.js";

const directory = await tinyDirectory();
const rate = 16000;
/** Samples of so many seconds. */
const at = (seconds: number) => Math.round(seconds * rate);

let device: Device;
let model: OmniModel;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
  model = await OmniModel.load(directory, { device });
});
const open = new Set<LiveSession>();
afterEach(() => {
  for (const session of open) session.dispose();
  open.clear();
});
afterAll(() => {
  model.dispose();
  device.dispose();
});

/** When something is known, what it is, and the second when it was, if that was earlier. */
type Cue = readonly [when: number, type: "start" | "pause" | "resume" | "end", second?: number];

function eventOf([when, type, second = when]: Cue): TurnEvent {
  const position = at(when);
  if (type === "start") return { type: "speechStarted", position, start: at(second) };
  if (type === "pause") return { type: "speculativeEnd", position, end: at(second) };
  return type === "resume" ? { type: "speechResumed", position } : { type: "speechEnded", position, end: at(second) };
}

/** Says what it was told to say, once the samples up to there have been pushed. */
class Script implements VoiceDetector {
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
class Listener {
  readonly events: LiveEvent[] = [];
  readonly session: LiveSession;
  readonly clock = new StoppedClock();
  readonly #done: Promise<void>;
  #changed: () => void = () => {};

  /** @param script without, the session finds the turns by itself */
  constructor(script: readonly Cue[] | undefined, options: LiveOptions = {}) {
    this.session = model.live({ detector: script && new Script(script), clock: this.clock, maxTokens: 20, ...options });
    open.add(this.session);
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

const speech = randomArray(at(12), 3, 0.2);

/** Pushes samples in pieces of a length, each once the one before was heard. */
async function push(session: LiveSession, samples: Float32Array, piece = at(0.1)): Promise<void> {
  for (let from = 0; from < samples.length; from += piece) await session.push(samples.subarray(from, from + piece));
}

/** What `generate` answers to a recording. */
async function answer(samples: Float32Array) {
  const [ids, audio]: [number[], number[]] = [[], []];
  const content = [{ type: "audio" as const, audio: { samples, sampleRate: rate } }];
  for await (const event of model.generate([{ role: "user", content }], { maxTokens: 20 })) {
    if (event.type === "text") ids.push(...event.ids);
    if (event.type === "audio") audio.push(...event.samples);
  }
  return { ids, samples: audio };
}

/** A turn of 3.1 s that is over after 4 s. */
const oneTurn = [
  [0.5, "start", 0.2],
  [3.3, "pause"],
  [3.7, "end", 3.3],
] as const;

describe("a turn", () => {
  test.each([0.033, 0.1, 1.5, 4])(
    "that is streamed in pieces of %d s is answered as the same recording",
    async (piece) => {
      const listener = new Listener(oneTurn);
      await push(listener.session, speech.subarray(0, at(4)), at(piece));
      await listener.until("replyEnd");
      expect(listener.types().slice(0, 4)).toEqual(["speechStart", "speechPause", "speechEnd", "reply"]);
      const whole = await answer(speech.subarray(at(0.2), at(3.3)));
      expect(listener.reply("item_1")).toEqual(whole);
      expect(Math.min(whole.ids.length, whole.samples.length)).toBeGreaterThan(0);
      listener.session.dispose();
    },
  );

  test("is answered to the bit as if no reply had been prepared in its pauses", async () => {
    const script = [
      [0.5, "start", 0.2],
      [1.4, "pause"],
      [1.6, "resume"],
      [2.7, "pause"],
      [2.8, "resume"],
      [4.0, "pause"],
      [4.4, "end", 4.0],
    ] as const;
    const replies = [];
    for (const speculate of [true, false]) {
      const listener = new Listener(script, { speculate });
      for (let from = 0; from < at(5); from += at(0.1)) {
        await listener.session.push(speech.subarray(from, from + at(0.1)));
        await model.device.synchronize(); // so that a reply has begun when it is dropped
        for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
      await listener.until("replyEnd");
      replies.push(listener.reply("item_1"));
      expect(listener.types().filter((type) => type === "speechResume").length).toBe(2);
      listener.session.dispose();
    }
    expect(replies[0]).toEqual(replies[1]);
    expect(replies[0]).toEqual(await answer(speech.subarray(at(0.2), at(4.0))));
  });

  test("that has not ended is not answered, however long it pauses", async () => {
    const listener = new Listener([...oneTurn.slice(0, 2), [7, "end", 3.3]]);
    await push(listener.session, speech.subarray(0, at(6)));
    for (let { used } = model.stats().cache; ; used = model.stats().cache.used) {
      await model.device.synchronize();
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (used === model.stats().cache.used && model.stats().active === 0) break; // the reply is complete
    }
    expect(listener.types()).toEqual(["speechStart", "speechPause"]);
    await push(listener.session, speech.subarray(at(6), at(7)));
    await listener.until("replyEnd");
    expect(listener.reply("item_1")).toEqual(await answer(speech.subarray(at(0.2), at(3.3))));
    listener.session.dispose();
  });

  test("is over when it is too long, with what was said so far", async () => {
    const listener = new Listener([[0.1, "start", 0]], { maxTurnSeconds: 2 });
    await push(listener.session, speech.subarray(0, at(3)));
    await listener.until("replyEnd");
    expect(listener.reply("item_1")).toEqual(await answer(speech.subarray(0, at(2))));
    listener.session.dispose();
  });
});

describe("a session without a detector of its own", () => {
  test("finds speech by the network that comes with the library", async () => {
    const listener = new Listener(undefined, { maxTokens: 4 });
    await push(listener.session, spoken());
    await push(listener.session, new Float32Array(at(1)));
    await listener.until("replyEnd");
    expect(listener.types().slice(0, 2)).toEqual(["speechStart", "speechPause"]);
    expect(listener.types()).toContain("speechEnd");
    listener.session.dispose();
  });

  test("refuses to be told when turns end in a wrong way", () => {
    expect(() => model.live({ turns: { threshold: 2 } })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("a conversation", () => {
  test("goes on: the next turn's reply follows from the first's", async () => {
    const twoTurns = [...oneTurn, [6, "start", 5.8], [8, "pause"], [8.5, "end", 8]] as const;
    const replies = [];
    for (const speculate of [true, false]) {
      const listener = new Listener(twoTurns, { speculate });
      await push(listener.session, speech.subarray(0, at(5)));
      await listener.until("replyEnd");
      listener.clock.seconds += 60; // it was heard
      await push(listener.session, speech.subarray(at(5), at(9)));
      await listener.until("replyEnd", "item_2");
      expect(listener.types()).not.toContain("interrupted");
      replies.push([listener.reply("item_1"), listener.reply("item_2")]);
      listener.session.dispose();
    }
    expect(replies[0]).toEqual(replies[1]);
    expect(replies[0]![1]).not.toEqual(await answer(speech.subarray(at(5.8), at(8)))); // it remembers
  });

  test("several at a time are each as if there were no other, and give their memory back", async () => {
    const listeners = [0, 1, 2].map(() => new Listener(oneTurn));
    await Promise.all(listeners.map(({ session }, i) => push(session, speech.subarray(at(i), at(i + 4)), at(0.2))));
    for (const [i, listener] of listeners.entries()) {
      await listener.until("replyEnd");
      expect(listener.reply("item_1")).toEqual(await answer(speech.subarray(at(i + 0.2), at(i + 3.3))));
    }
    expect(model.stats().cache.used).toBeGreaterThan(0);
    for (const { session } of listeners) session.dispose();
    await vi.waitFor(() => expect(model.stats().cache.used).toBe(0), 20_000);
  });

  test("takes typed text as a turn, and at the end of a spoken one", async () => {
    const listener = new Listener(oneTurn, { speech: false });
    listener.session.say("What do you see?");
    await listener.until("replyEnd");
    let text = "";
    for await (const event of model.generate([{ role: "user", content: "What do you see?" }], {
      maxTokens: 20,
      speech: false,
    }))
      if (event.type === "end") text = event.text;
    expect((await listener.until("replyEnd")) as object).toMatchObject({ item: "item_1", text });
    await push(listener.session, speech.subarray(0, at(2)));
    listener.session.say("And now?");
    await push(listener.session, speech.subarray(at(2), at(4)));
    await listener.until("replyEnd", "item_2");
    expect(listener.types().filter((type) => type === "reply").length).toBe(2);
    listener.session.dispose();
  });
});

/** A turn, and another that begins while its reply is being spoken. */
const interruption = [...oneTurn, [5, "start", 4.8], [7, "pause"], [7.5, "end", 7]] as const;

describe("a reply", () => {
  /** @param heard seconds of the first reply's speech, by the clock @param told seconds that the listener reports */
  async function interrupted(heard: number, told?: number, options: LiveOptions = {}): Promise<Listener> {
    const listener = new Listener(interruption, { maxTokens: 400, ...options });
    await push(listener.session, speech.subarray(0, at(4)));
    const frames = () => listener.events.filter(({ type }) => type === "audio").length;
    await vi.waitFor(() => expect(frames()).toBeGreaterThan(10), 20_000);
    listener.clock.seconds += heard;
    await push(listener.session, speech.subarray(at(4), at(6.5)));
    if (told !== undefined) expect(await listener.session.truncate("item_1", told)).toBe(true);
    await push(listener.session, speech.subarray(at(6.5), at(8)));
    await listener.until("replyEnd", "item_2");
    return listener;
  }

  test("that speech interrupts stops, and is kept as far as it was heard", async () => {
    const listener = await interrupted(0.31);
    const cut = listener.events.findIndex(({ type }) => type === "interrupted");
    expect(listener.events[cut]).toMatchObject({ item: "item_1", heardSeconds: expect.closeTo(0.31, 5) });
    const later = listener.events.slice(cut + 1);
    expect(later.filter((event) => "item" in event && event.item === "item_1")).toEqual([]);
    listener.session.dispose();
  });

  test("leaves what was heard of it in the conversation, whoever says how much that was", async () => {
    const second = async (...how: Parameters<typeof interrupted>) => {
      const listener = await interrupted(...how);
      listener.session.dispose();
      return listener.reply("item_2");
    };
    const heard = await second(0.31);
    expect(await second(0.31, undefined, { speculate: false })).toEqual(heard);
    expect(await second(0.6, 0.31)).toEqual(heard);
    expect(await second(0.6)).not.toEqual(heard);
  });

  test("can be stopped without speech, and truncated only while it is the last", async () => {
    const listener = new Listener(oneTurn, { maxTokens: 400 });
    listener.session.interrupt(); // there is none
    await push(listener.session, speech.subarray(0, at(4)));
    await listener.until("audio");
    expect(await listener.session.truncate("item_7", 0)).toBe(false);
    listener.session.interrupt();
    expect(await listener.until("interrupted")).toMatchObject({ item: "item_1", heardSeconds: 0 });
    expect(model.stats().active).toBe(0);
    listener.session.say("Go on.");
    await listener.until("reply", "item_2");
    expect(await listener.session.truncate("item_1", 0)).toBe(false);
    listener.session.dispose();
  });
});

describe("a session", () => {
  test("has ended once it is disposed, and then takes nothing", async () => {
    const script = new Script(oneTurn);
    const session = model.live({ detector: script });
    const next = session.next();
    session.dispose();
    session.dispose();
    expect(await next).toEqual({ done: true, value: undefined });
    expect([script.disposed, session.ended.aborted]).toEqual([true, true]);
    await expect(session.push(new Float32Array(1))).rejects.toMatchObject({ code: "DISPOSED" });
    expect(() => session.say("x")).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  test("ends at any moment, and gives its memory back", async () => {
    for (let end = 0; end < 40; end++) {
      const listener = new Listener(interruption, { maxTokens: 60 });
      for (let piece = 0; piece < 2 * end; piece++) {
        await listener.session.push(speech.subarray(at(piece / 10), at((piece + 1) / 10)));
        if (piece % 7 === end % 7) await model.device.synchronize();
      }
      listener.session.dispose();
    }
    await vi.waitFor(() => expect(model.stats()).toMatchObject({ active: 0, waiting: 0, cache: { used: 0 } }), 20_000);
  });

  test("ends with the error of its detector, and no other session does", async () => {
    const other = new Listener(oneTurn);
    const detector = new Script([]);
    detector.push = () => Promise.reject(new Error("deaf"));
    const session = model.live({ detector });
    const next = session.next();
    await expect(session.push(new Float32Array(1))).rejects.toThrow("deaf");
    await expect(next).rejects.toThrow("deaf");
    expect(session.ended.aborted).toBe(true);
    await push(other.session, speech.subarray(0, at(4)));
    await other.until("replyEnd");
    other.session.dispose();
  });

  test("ends when its model is disposed", async () => {
    const own = await OmniModel.load(directory, { device });
    const session = own.live({ detector: new Script(oneTurn) });
    const events = (async () => {
      for await (const _ of session);
    })();
    await session.push(speech.subarray(0, at(2)));
    own.dispose();
    await expect(events).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
