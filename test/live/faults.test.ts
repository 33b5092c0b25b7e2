import { expect, test, vi } from "vitest";
import { OmniModel } from "../../lib/model/omni.js";
import { Device } from "../../lib/tensor/tensor.js";
import { randomArray } from "../support/numbers.js";
import { at, type Cue, interruption, Listener, liveModel, oneTurn, push, Script, speech } from "./listener.js";
import { speech as spoken } from "./speech.js";

const live = await liveModel();
const { listen } = live;
const isIdle = () =>
  vi.waitFor(() => expect(live.model.stats()).toMatchObject({ active: 0, waiting: 0, cache: { used: 0 } }), 20_000);

test.each([
  ["silence", () => new Float32Array(at(60))],
  ["noise", () => randomArray(at(60), 5, 0.02)],
])("a minute of %s is no turn, and takes no room", async (_, samples) => {
  const listener = listen(undefined);
  await push(listener.session, samples(), at(1));
  expect(listener.events).toEqual([]);
  expect(listener.session.waitingSeconds).toBe(0);
  expect(live.model.stats().cache.used).toBe(0);
  listener.session.dispose();
});

test("of two replies that fill the cache, one ends where there is no more room, and the other whole", async () => {
  await using own = await OmniModel.load(live.directory, { device: live.model.device, kvCacheTokens: 256 });
  const replies = [70, 71].map(async (seed) => {
    const session = own.live({ detector: null, answer: false, temperature: 2, seed, maxTokens: 200 });
    session.respond(); // to nothing: the conversation is empty
    for await (const event of session) if (event.type === "replyEnd") return { session, event };
    throw new Error("the session ended before its reply");
  });
  const ended = await Promise.all(replies); // both sessions stay, with their room
  const lengths = ended.map(({ event }) => event.usage.steps).sort((a, b) => a - b);
  expect(ended.map(({ event }) => event.reason)).toEqual(["length", "length"]);
  expect(lengths[1]).toBe(200);
  expect(lengths[0]).toBeLessThan(128);
  for (const { session } of ended) session.dispose();
  await vi.waitFor(() => expect(own.stats().cache.used).toBe(0), 20_000);
});

test("speech without end is many turns, until the conversation is full: that session ends alone", async () => {
  await using own = await OmniModel.load(live.directory, { device: live.model.device, kvCacheTokens: 512 });
  const turns = Array.from({ length: 60 }, (_, i): Cue => [10.5 * i + 0.2, "start", 10.5 * i]);
  const talker = new Listener(own, turns, { maxTurnSeconds: 10, answer: false });
  const other = new Listener(own, oneTurn);
  const talking = (async () => {
    for (let minute = 0; minute < 60; minute++) await push(talker.session, speech.subarray(0, at(10)), at(5));
  })();
  await Promise.allSettled([talking]); // it may be over before the session is
  await expect(talker.until("replyEnd")).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  expect(talker.events.filter(({ type }) => type === "speechEnd").length).toBeGreaterThan(3);
  await push(other.session, speech.subarray(0, at(4)));
  await other.until("replyEnd");
  other.session.dispose();
  await vi.waitFor(() => expect(own.stats().cache.used).toBe(0), 20_000);
});

test("sound that comes faster than it can be heard waits, and is heard as if it had not", async () => {
  const events: object[][] = [];
  for (const isFast of [true, false]) {
    const listener = listen(undefined, { maxTokens: 4 });
    const { session } = listener;
    const samples = Float32Array.from([...spoken(), ...new Float32Array(at(1.5))]);
    const pushed: Promise<void>[] = [];
    for (let from = 0; from < samples.length; from += at(0.02)) {
      const heard = session.push(samples.subarray(from, from + at(0.02)));
      if (isFast) pushed.push(heard);
      else await heard;
    }
    if (isFast) expect(session.waitingSeconds).toBeGreaterThan(1);
    await Promise.all(pushed);
    await listener.until("replyEnd");
    await vi.waitFor(() => expect(session.waitingSeconds).toBe(0), 20_000);
    events.push(listener.events.map((event) => ({ ...event, usage: null })));
    session.dispose();
  }
  expect(events[0]).toEqual(events[1]);
});

test("who speaks on when a turn is too long is in another one", async () => {
  const listener = listen(undefined, { maxTurnSeconds: 1, maxTokens: 4 });
  const samples = spoken();
  await push(listener.session, Float32Array.from([...samples, ...samples, ...new Float32Array(at(1.5))]));
  const starts = listener.events.filter(({ type }) => type === "speechStart").length;
  expect(starts).toBeGreaterThan(2);
  expect(listener.events.filter(({ type }) => type === "speechEnd").length).toBe(starts);
  listener.session.dispose();
});

test("a reply may be interrupted after any event: the conversation goes on", async () => {
  const script: readonly Cue[] = interruption;
  const quiet = listen(script, { maxTokens: 30 });
  await push(quiet.session, speech.subarray(0, at(4.5)));
  await quiet.until("replyEnd");
  const count = quiet.events.length;
  quiet.session.dispose();
  expect(count).toBeGreaterThan(20);
  for (let after = 1; after <= count; after += 3) {
    const listener = listen(script, { maxTokens: 30 });
    const { session } = listener;
    let seen = 0;
    const pushing = push(session, speech.subarray(0, at(4.5)));
    while (seen < after) {
      await new Promise((resolve) => setImmediate(resolve));
      seen = listener.events.length;
    }
    session.interrupt();
    session.interrupt();
    await pushing;
    await push(session, speech.subarray(at(4.5), at(8)));
    const replies = listener.events.flatMap((event) => (event.type === "reply" ? [event.item] : []));
    await listener.until("replyEnd", replies.at(-1));
    session.dispose();
  }
  await isIdle();
});

test("a model that never ends its speech ends at the limit, with its reason, and what it said stays", async () => {
  const listener = listen(oneTurn, { maxTokens: 40, temperature: 2, seed: 5 });
  await push(listener.session, speech.subarray(0, at(4)));
  const end = await listener.until("replyEnd");
  const reply = listener.reply("item_2");
  expect(end).toMatchObject({ reason: "length", usage: { steps: 40 } });
  expect(reply.samples.length).toBeGreaterThan(30 * 1440);
  listener.session.dispose();
});

test("a reply that is longer than the cache ends the session with its error", async () => {
  await using own = await OmniModel.load(live.directory, { device: live.model.device, kvCacheTokens: 64 });
  const talker = new Listener(own, [], { maxTokens: 400, temperature: 2, seed: 5 });
  talker.session.say("Hello!");
  await expect(talker.until("replyEnd")).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  await vi.waitFor(() => expect(own.stats().cache.used).toBe(0), 20_000);
});

test("a thousand sessions opened and closed leave nothing", async () => {
  const grow = async (sessions: number) => {
    for (let i = 0; i < sessions; i++) {
      const listener = listen(oneTurn, { maxTokens: 2 });
      const { session } = listener;
      if (i % 10 === 0) session.say("Hi");
      await session.push(speech.subarray(0, at((i % 4) / 2)));
      session.dispose();
    }
    await isIdle();
    return { inUse: live.model.device.memory.inUse, rss: process.memoryUsage.rss() };
  };
  const warm = await grow(300);
  const after = await grow(1000);
  expect(after.inUse).toBe(warm.inUse);
  expect((after.rss - warm.rss) / 2 ** 20).toBeLessThan(64);
});

test("a device that goes away amid a reply ends the session with an error", async () => {
  for (let after = 1; after < 6; after++) {
    const device = await Device.open({ threads: 1 });
    const own = await OmniModel.load(live.directory, { device });
    const talker = new Listener(own, [], { maxTokens: 400, temperature: 2, seed: 5 });
    talker.session.say("Hello!");
    await vi.waitFor(() => expect(talker.events.length).toBeGreaterThan(after), 20_000);
    device.dispose();
    await expect(talker.until("replyEnd")).rejects.toMatchObject({ code: "DISPOSED" });
    own.dispose();
  }
});

test("a device that goes away ends the session with an error, at whatever moment", async () => {
  for (let moment = 0; moment < 8; moment++) {
    const device = await Device.open({ threads: 1 });
    const own = await OmniModel.load(live.directory, { device });
    const session = own.live({ maxTokens: 60, detector: new Script(interruption) });
    const listening = (async () => {
      for await (const _ of session);
    })();
    const end = expect(listening).rejects.toMatchObject({ code: "DISPOSED" });
    await push(session, speech.subarray(0, at(moment)), at(0.5));
    device.dispose();
    session.push(speech.subarray(0, at(3))).catch(() => {});
    await end;
    own.dispose();
  }
});
