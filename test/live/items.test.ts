import { describe, expect, test, vi } from "vitest";
import type { LiveEvent } from "../../lib/live/events.js";
import type { LiveOptions } from "../../lib/live/options.js";
import { OmniModel } from "../../lib/model/omni.js";
import type { Message } from "../../lib/model/prompt/messages.js";
import { at, type Cue, Listener, liveModel, oneTurn, push, rate, speech } from "./listener.js";

const live = await liveModel();
const { listen } = live;

/** A session that says nothing by itself. */
const quiet = (options: LiveOptions = {}) => listen([], { answer: false, ...options });

/** What `generate` answers to a conversation, in text. */
async function answer(messages: readonly Message[]): Promise<readonly number[]> {
  for await (const event of live.model.generate(messages, { maxTokens: 20, speech: false }))
    if (event.type === "end") return event.ids;
  throw new Error("there was no end");
}

/** The ids that a session's reply, in text, consists of. */
async function respond(listener: Listener): Promise<readonly number[]> {
  const item = listener.session.respond({ speech: false, maxTokens: 20 });
  return idsOf(await listener.until("replyEnd", item));
}

const idsOf = (event: LiveEvent | undefined) => (event?.type === "replyEnd" ? event.ids : []);

const user = (content: Message["content"]): Message => ({ role: "user", content });
const sound = (samples: Float32Array) => user([{ type: "audio", audio: { samples, sampleRate: rate } }]);
const image = { width: 60, height: 40, data: new Uint8Array(60 * 40 * 3).fill(77) };
const history: readonly Message[] = [
  { role: "system", content: "Be brief." },
  user("Hello!"),
  { role: "assistant", content: "Hi." },
  user([
    { type: "text", text: "Look:" },
    { type: "image", image },
  ]),
  sound(speech.subarray(0, at(1.3))),
];

describe("a conversation of messages", () => {
  test("is answered as by `generate`", async () => {
    const listener = quiet();
    const items = history.map((message) => listener.session.add(message));
    expect(new Set(items.map(({ item }) => item)).size).toBe(history.length);
    await Promise.all(items.map(({ added }) => added));
    expect(await respond(listener)).toEqual(await answer(history));
    listener.session.dispose();
  });

  test("is what is left when items are taken out, replies and turns among them", async () => {
    const ends = [];
    for (const hasMore of [true, false]) {
      const listener = quiet({ detector: null, bargeIn: false });
      const { session } = listener;
      const removed: string[] = [session.add(user("What is the time?")).item];
      session.add(user("Hello!"));
      await listener.until("replyEnd", session.respond()); // is spoken
      if (hasMore) {
        await push(session, speech.subarray(at(6), at(8.2)));
        removed.push(session.commit()!);
        removed.push(session.respond());
        await listener.until("replyEnd", removed.at(-1));
      }
      await push(session, speech.subarray(0, at(2.4)));
      session.commit();
      for (const item of removed) expect(await session.remove(item)).toBe(true);
      for (const item of [...removed, "item_99"]) expect(await session.remove(item)).toBe(false);
      ends.push(await respond(listener));
      session.dispose();
    }
    expect(ends[0]).toEqual(ends[1]);
  });

  test("forgets an item that is taken out before anything was said after it", async () => {
    const listener = quiet();
    const { session } = listener;
    const first = session.add(user("What is the time?")).item;
    for (const message of history) session.add(message);
    const last = session.add(user("Never mind.")).item;
    expect(await session.remove(first)).toBe(true);
    expect(await session.remove(last)).toBe(true);
    expect(await respond(listener)).toEqual(await answer(history));
    session.dispose();
  });

  test("goes on without a message that cannot be one", async () => {
    const listener = quiet();
    const { session } = listener;
    const wrong = session.add(user([{ type: "image", image: Buffer.from("no image") }]));
    const unknown = session.add({ role: "judge", content: "No." } as unknown as Message);
    const right = session.add(user("Hello!"));
    await expect(wrong.added).rejects.toMatchObject({ code: "MEDIA_INVALID" });
    await expect(unknown.added).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await right.added;
    expect(await respond(listener)).toEqual(await answer([user("Hello!")]));
    session.dispose();
  });

  test("takes another system text at any time", async () => {
    const told = (content: string): Message => ({ role: "system", content });
    const listener = quiet({ system: "Be verbose." });
    const { session } = listener;
    session.add(user("Hello!"));
    session.update({ system: "Be brief." });
    expect(await respond(listener)).toEqual(await answer([told("Be brief."), user("Hello!")]));
    session.update({ system: undefined });
    const other = quiet();
    const { item } = other.session.add(told("Be brief."));
    other.session.add(user("Hello!"));
    await respond(other);
    await other.session.remove(item);
    expect(await respond(listener)).toEqual(await respond(other));
    for (const { session } of [listener, other]) session.dispose();
  });
});

describe("a turn", () => {
  test("without a detector begins with a sample and ends when it is committed", async () => {
    const listener = listen(undefined, { detector: null, speech: false });
    const { session } = listener;
    expect(session.commit()).toBe(undefined);
    await push(session, speech.subarray(0, at(2.7)));
    const item = session.commit();
    await listener.until("replyEnd");
    expect(listener.types().filter((type) => type !== "text")).toEqual([
      "speechStart",
      "speechEnd",
      "reply",
      "replyEnd",
    ]);
    expect(listener.events[0]).toEqual({ type: "speechStart", item, sample: 0 });
    const [end] = listener.events.filter(({ type }) => type === "replyEnd");
    expect(idsOf(end)).toEqual(await answer([sound(speech.subarray(0, at(2.7)))]));
    session.dispose();
  });

  test("that is dropped leaves nothing, and another may begin", async () => {
    const listener = quiet({ detector: null });
    const { session } = listener;
    expect(session.clear()).toBe(false);
    session.add(user("Hello!"));
    await push(session, speech.subarray(at(5), at(7.5)));
    expect(session.clear()).toBe(true);
    await push(session, speech.subarray(0, at(1.3)));
    session.commit();
    expect(await respond(listener)).toEqual(await answer([user("Hello!"), sound(speech.subarray(0, at(1.3)))]));
    session.dispose();
  });

  test("comes after a message that was added meanwhile", async () => {
    const listener = listen(oneTurn, { speech: false });
    await push(listener.session, speech.subarray(0, at(3.4))); // a reply is being prepared
    await listener.session.add(user("Hello!")).added;
    await push(listener.session, speech.subarray(at(3.4), at(4)));
    const end = await listener.until("replyEnd");
    const whole = [user("Hello!"), sound(speech.subarray(at(0.2), at(3.3)))];
    expect(idsOf(end)).toEqual(await answer(whole));
    listener.session.dispose();
  });

  test("that is not answered by itself is part of the conversation", async () => {
    const listener = listen(oneTurn, { answer: false });
    await push(listener.session, speech.subarray(0, at(4)));
    listener.session.add(user("Well?"));
    expect(listener.types()).toEqual(["speechStart", "speechPause", "speechEnd"]);
    const whole = [sound(speech.subarray(at(0.2), at(3.3))), user("Well?")];
    expect(await respond(listener)).toEqual(await answer(whole));
    listener.session.dispose();
  });

  test("does not interrupt where it must not, and is not answered then", async () => {
    const script: readonly Cue[] = [...oneTurn, [4.5, "start", 4.3], [5.6, "pause"], [5.9, "end", 5.6]];
    const ids = [];
    for (const isEarly of [true, false]) {
      const listener = listen(script, { bargeIn: false, maxTokens: 60, ...(isEarly ? {} : { answer: false }) });
      const { session } = listener;
      await push(session, speech.subarray(0, at(4)));
      const first = isEarly ? undefined : session.respond();
      if (first) await listener.until("replyEnd", first);
      else await listener.until("audio");
      await push(session, speech.subarray(at(4), at(6)));
      await listener.until("replyEnd");
      expect(listener.types()).not.toContain("interrupted");
      expect(listener.types().filter((type) => type === "reply").length).toBe(1);
      ids.push(await respond(listener));
      session.dispose();
    }
    expect(ids[0]).toEqual(ids[1]);
  });

  test("that goes on is not part of what is answered, and comes after the reply", async () => {
    const replies = [];
    for (const isEarly of [true, false]) {
      const listener = quiet({ detector: null, bargeIn: false });
      const { session } = listener;
      session.add(user("Hello!"));
      if (isEarly) await push(session, speech.subarray(0, at(1.5)));
      const first = await respond(listener);
      expect(first).toEqual(await answer([user("Hello!")]));
      await push(session, speech.subarray(isEarly ? at(1.5) : 0, at(2.4)));
      session.commit();
      replies.push(await respond(listener));
      session.dispose();
    }
    expect(replies[0]).toEqual(replies[1]);
  });

  test("of the model that goes on is in the way of another one", async () => {
    const listener = quiet({ detector: null, maxTokens: 400 });
    const { session } = listener;
    const refusal = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    await session.push(speech.subarray(0, at(0.5)));
    session.commit();
    const item = session.respond({ temperature: 2, seed: 3 });
    expect(() => session.respond()).toThrow(refusal);
    expect(() => session.respond({ tokens: 3 } as object)).toThrow(refusal);
    await listener.until("audio", item);
    expect(await session.remove(item)).toBe(true); // interrupts it
    expect(await respond(listener)).toEqual(await answer([sound(speech.subarray(0, at(0.5)))]));
    session.dispose();
  });
});

describe("options", () => {
  test("can be changed, all or none of them", () => {
    const { session } = listen([]);
    const refused = (update: object) =>
      expect(() => session.update(update)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    refused({ temperature: -1, speech: false });
    refused({ maxTurnSeconds: 3 });
    refused({ detector: { push() {}, [Symbol.dispose]() {} } });
    session.update({ temperature: 1, answer: false, turns: { threshold: 0.6 } });
    session.dispose();
    expect(() => session.update({})).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  test("switch the finding of turns off and on", async () => {
    const listener = listen(oneTurn, { answer: false });
    const { session } = listener;
    session.update({ detector: null });
    await push(session, speech.subarray(0, at(1)));
    expect(listener.types()).toEqual(["speechStart"]);
    session.commit();
    session.update({ detector: undefined });
    await push(session, speech.subarray(0, at(4)));
    expect(listener.types()).toEqual(["speechStart", "speechEnd", "speechStart", "speechPause", "speechEnd"]);
    session.dispose();
  });
});

test.each([8192, 96])(
  "whatever is asked in whatever order, a session goes on or ends, and gives its memory back, of %d rows",
  async (rows) => {
    await using own = await OmniModel.load(live.directory, { device: live.model.device, kvCacheTokens: rows });
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    for (let round = 0; round < 25; round++) {
      const options = {
        answer: random(2) === 0,
        bargeIn: random(2) === 0,
        maxTokens: 1 + random(60),
        speech: random(3) > 0,
      };
      const listener = new Listener(own, undefined, { detector: null, ...options });
      const { session } = listener;
      const items: string[] = [];
      for (let call = 0; call < 30 && !session.ended.aborted; call++) {
        const item = items[random(items.length)] ?? "none";
        const pending: Promise<unknown>[] = [];
        switch (random(11)) {
          case 0:
            items.push(session.commit() ?? "none");
            break;
          case 1:
            session.clear();
            break;
          case 2:
            items.push(session.add(history[1 + random(4)]!).item);
            break;
          case 3:
            pending.push(session.remove(item));
            break;
          case 4:
            session.interrupt();
            break;
          case 5:
            pending.push(session.truncate(item, random(3) / 4));
            break;
          case 6:
            session.say("And?");
            break;
          case 7:
            session.update({ system: ["a", "b", undefined][random(3)], answer: random(2) === 0 });
            break;
          case 8:
            try {
              items.push(session.respond());
            } catch {} // it is not the time
            break;
          default:
            await session.push(speech.subarray(0, at(random(14) / 10))).catch(() => {}); // as it may here
        }
        for (const { type, ...event } of listener.events)
          if (type === "reply" && "item" in event) items.push(event.item);
        for (const promise of pending) promise.catch(() => {}); // the session may end before
        if (random(4) === 0) await Promise.allSettled(pending);
        if (random(6) === 0) await own.device.synchronize();
      }
      if (rows === 8192) expect(session.ended.aborted).toBe(false);
      session.dispose();
    }
    await vi.waitFor(() => expect(own.stats()).toMatchObject({ active: 0, waiting: 0, cache: { used: 0 } }), 20_000);
  },
);
