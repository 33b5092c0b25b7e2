import { describe, expect, test, vi } from "vitest";
import type { LiveOptions } from "../../lib/live/options.js";
import { at, interruption, liveModel, oneTurn, push, rate, speech } from "./listener.js";
import { speech as spoken } from "./speech.js";

const live = await liveModel();
const { listen } = live;

/** What `generate` answers to a recording. */
async function answer(samples: Float32Array) {
  const [ids, audio]: [number[], number[]] = [[], []];
  const content = [{ type: "audio" as const, audio: { samples, sampleRate: rate } }];
  for await (const event of live.model.generate([{ role: "user", content }], { maxTokens: 20 })) {
    if (event.type === "text") ids.push(...event.ids);
    if (event.type === "audio") audio.push(...event.samples);
  }
  return { ids, samples: audio };
}

describe("a turn", () => {
  test.each([0.033, 0.1, 1.5, 4])(
    "that is streamed in pieces of %d s is answered as the same recording",
    async (piece) => {
      const listener = listen(oneTurn);
      await push(listener.session, speech.subarray(0, at(4)), at(piece));
      await listener.until("replyEnd");
      expect(listener.types().slice(0, 4)).toEqual(["speechStart", "speechPause", "speechEnd", "reply"]);
      const whole = await answer(speech.subarray(at(0.2), at(3.3)));
      expect(listener.reply("item_2")).toEqual(whole);
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
      const listener = listen(script, { speculate });
      for (let from = 0; from < at(5); from += at(0.1)) {
        await listener.session.push(speech.subarray(from, from + at(0.1)));
        await live.model.device.synchronize(); // so that a reply has begun when it is dropped
        for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
      await listener.until("replyEnd");
      replies.push(listener.reply("item_2"));
      expect(listener.types().filter((type) => type === "speechResume").length).toBe(2);
      listener.session.dispose();
    }
    expect(replies[0]).toEqual(replies[1]);
    expect(replies[0]).toEqual(await answer(speech.subarray(at(0.2), at(4.0))));
  });

  test("that has not ended is not answered, however long it pauses", async () => {
    const listener = listen([...oneTurn.slice(0, 2), [7, "end", 3.3]]);
    await push(listener.session, speech.subarray(0, at(6)));
    for (let { used } = live.model.stats().cache; ; used = live.model.stats().cache.used) {
      await live.model.device.synchronize();
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (used === live.model.stats().cache.used && live.model.stats().active === 0) break; // the reply is complete
    }
    expect(listener.types()).toEqual(["speechStart", "speechPause"]);
    await push(listener.session, speech.subarray(at(6), at(7)));
    await listener.until("replyEnd");
    expect(listener.reply("item_2")).toEqual(await answer(speech.subarray(at(0.2), at(3.3))));
    listener.session.dispose();
  });

  test("is over when it is too long, with what was said so far", async () => {
    const listener = listen([[0.1, "start", 0]], { maxTurnSeconds: 2 });
    await push(listener.session, speech.subarray(0, at(3)));
    await listener.until("replyEnd");
    expect(listener.reply("item_2")).toEqual(await answer(speech.subarray(0, at(2))));
    listener.session.dispose();
  });
});

describe("a session without a detector of its own", () => {
  test("finds speech by the network that comes with the library", async () => {
    const listener = listen(undefined, { maxTokens: 4 });
    await push(listener.session, spoken());
    await push(listener.session, new Float32Array(at(1)));
    await listener.until("replyEnd");
    expect(listener.types().slice(0, 2)).toEqual(["speechStart", "speechPause"]);
    expect(listener.types()).toContain("speechEnd");
    listener.session.dispose();
  });

  test("refuses to be told when turns end in a wrong way", () => {
    expect(() => live.model.live({ turns: { threshold: 2 } })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("a conversation", () => {
  test("goes on: the next turn's reply follows from the first's", async () => {
    const twoTurns = [...oneTurn, [6, "start", 5.8], [8, "pause"], [8.5, "end", 8]] as const;
    const replies = [];
    for (const speculate of [true, false]) {
      const listener = listen(twoTurns, { speculate });
      await push(listener.session, speech.subarray(0, at(5)));
      await listener.until("replyEnd");
      listener.clock.seconds += 60; // it was heard
      await push(listener.session, speech.subarray(at(5), at(9)));
      await listener.until("replyEnd", "item_4");
      expect(listener.types()).not.toContain("interrupted");
      replies.push([listener.reply("item_2"), listener.reply("item_4")]);
      listener.session.dispose();
    }
    expect(replies[0]).toEqual(replies[1]);
    expect(replies[0]![1]).not.toEqual(await answer(speech.subarray(at(5.8), at(8)))); // it remembers
  });

  test("several at a time are each as if there were no other, and give their memory back", async () => {
    const listeners = [0, 1, 2].map(() => listen(oneTurn));
    await Promise.all(listeners.map(({ session }, i) => push(session, speech.subarray(at(i), at(i + 4)), at(0.2))));
    for (const [i, listener] of listeners.entries()) {
      await listener.until("replyEnd");
      expect(listener.reply("item_2")).toEqual(await answer(speech.subarray(at(i + 0.2), at(i + 3.3))));
    }
    expect(live.model.stats().cache.used).toBeGreaterThan(0);
    for (const { session } of listeners) session.dispose();
    await vi.waitFor(() => expect(live.model.stats().cache.used).toBe(0), 20_000);
  });

  test("takes typed text as a turn, and at the end of a spoken one", async () => {
    const listener = listen(oneTurn, { speech: false });
    listener.session.say("What do you see?");
    await listener.until("replyEnd");
    let text = "";
    for await (const event of live.model.generate([{ role: "user", content: "What do you see?" }], {
      maxTokens: 20,
      speech: false,
    }))
      if (event.type === "end") text = event.text;
    expect((await listener.until("replyEnd")) as object).toMatchObject({ item: "item_2", text });
    await push(listener.session, speech.subarray(0, at(2)));
    listener.session.say("And now?");
    await push(listener.session, speech.subarray(at(2), at(4)));
    await listener.until("replyEnd", "item_4");
    expect(listener.types().filter((type) => type === "reply").length).toBe(2);
    listener.session.dispose();
  });
});

describe("a reply", () => {
  /** @param heard seconds of the first reply's speech, by the clock @param told seconds that the listener reports */
  async function interrupted(heard: number, told?: number, options: LiveOptions = {}) {
    const listener = listen(interruption, { maxTokens: 400, ...options });
    await push(listener.session, speech.subarray(0, at(4)));
    const frames = () => listener.events.filter(({ type }) => type === "audio").length;
    await vi.waitFor(() => expect(frames()).toBeGreaterThan(10), 20_000);
    listener.clock.seconds += heard;
    await push(listener.session, speech.subarray(at(4), at(6.5)));
    if (told !== undefined) expect(await listener.session.truncate("item_2", told)).toBe(true);
    await push(listener.session, speech.subarray(at(6.5), at(8)));
    await listener.until("replyEnd", "item_4");
    return listener;
  }

  test("that speech interrupts stops, and is kept as far as it was heard", async () => {
    const listener = await interrupted(0.31);
    const cut = listener.events.findIndex(({ type }) => type === "interrupted");
    expect(listener.events[cut]).toMatchObject({ item: "item_2", heardSeconds: expect.closeTo(0.31, 5) });
    const later = listener.events.slice(cut + 1);
    expect(later.filter((event) => "item" in event && event.item === "item_2")).toEqual([]);
    listener.session.dispose();
  });

  test("leaves what was heard of it in the conversation, whoever says how much that was", async () => {
    const second = async (...how: Parameters<typeof interrupted>) => {
      const listener = await interrupted(...how);
      listener.session.dispose();
      return listener.reply("item_4");
    };
    const heard = await second(0.31);
    expect(await second(0.31, undefined, { speculate: false })).toEqual(heard);
    expect(await second(0.6, 0.31)).toEqual(heard);
    expect(await second(0.6)).not.toEqual(heard);
  });

  test("is cut once, whenever the listener says how much was heard", async () => {
    const answers = [];
    for (const when of ["before", "amid", "after"] as const) {
      const listener = listen(interruption, { maxTokens: 60 });
      const { session } = listener;
      await push(session, speech.subarray(0, at(4)));
      await listener.until("audio");
      const hearing = push(session, speech.subarray(at(4), at(4.9)));
      session.interrupt();
      const told = when === "after" ? undefined : session.truncate("item_2", 0);
      if (when === "before") await told;
      await hearing;
      await push(session, speech.subarray(at(4.9), at(7.2)), at(2.3)); // the turn begins, and pauses
      if (when === "after") expect(await session.truncate("item_2", 0)).toBe(true);
      await told;
      await push(session, speech.subarray(at(7.2), at(8)));
      await listener.until("replyEnd", "item_4");
      answers.push(listener.reply("item_4"));
      session.dispose();
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  test("can be stopped without speech, and truncated only while it is the last", async () => {
    const listener = listen(oneTurn, { maxTokens: 400 });
    listener.session.interrupt(); // there is none
    await push(listener.session, speech.subarray(0, at(4)));
    await listener.until("audio");
    expect(await listener.session.truncate("item_70", 0)).toBe(false);
    listener.session.interrupt();
    expect(await listener.until("interrupted")).toMatchObject({ item: "item_2", heardSeconds: 0 });
    expect(live.model.stats().active).toBe(0);
    listener.session.say("Go on.");
    await listener.until("reply", "item_4");
    expect(await listener.session.truncate("item_2", 0)).toBe(false);
    listener.session.dispose();
  });
});
