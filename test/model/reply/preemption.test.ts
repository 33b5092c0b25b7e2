import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type OmniLoadOptions, OmniModel, type OmniStats } from "../../../lib/model/omni.js";
import type { GenerateEvent } from "../../../lib/model/reply/events.js";
import type { GenerateOptions } from "../../../lib/model/reply/options.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { code } from "../../support/errors.js";
import { settledMemory } from "../../support/garbage.js";
import { tinyDirectory } from "../tinyModel.js";

const directory = await tinyDirectory();

type End = GenerateEvent & { type: "end" };

async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** All text and speech of a reply to the bit, without what depends on time or on other replies. */
function content(events: readonly GenerateEvent[]) {
  const hash = createHash("sha256");
  for (const event of events) if (event.type === "audio") hash.update(event.samples);
  const audio = events.flatMap((event) => (event.type === "audio" ? [[event.step, event.samples.length]] : []));
  const text = events.filter((event) => event.type === "text");
  const { type: _, text: whole, usage, ...end } = events.at(-1) as End; // its ids, log-probabilities, codes
  const { steps, textTokens, promptTokens, stages } = usage;
  const tokens = Object.values(stages).map((stage) => stage.tokens);
  return { ...end, whole, text, audio, samples: hash.digest("hex"), steps, textTokens, promptTokens, tokens };
}

const usage = (events: readonly GenerateEvent[]) => (events.at(-1) as End).usage;

const sampled = (seed: number): GenerateOptions => ({ temperature: 0.9, topK: 20, seed });

/** Waits, without a clock, until the model's replies have got there; fails if they end before. */
async function until(model: OmniModel, reached: (stats: OmniStats) => boolean): Promise<void> {
  for (let stats = model.stats(); !reached(stats); stats = model.stats()) {
    expect(stats.preparing + stats.waiting + stats.preempted + stats.active).toBeGreaterThan(0);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let device: Device;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
});
afterAll(() => device.dispose());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const load = (options: OmniLoadOptions) => OmniModel.load(directory, { device, ...options });
const generate = (model: OmniModel, text: string, options: GenerateOptions) => {
  return model.generate([{ role: "user", content: text }], options);
};
const ask = (...request: Parameters<typeof generate>) => collect(generate(...request));
/** The question and options of a reply of text that does not end before `maxTokens`. */
const long = (i: number, maxTokens = 90) => {
  return [`Question ${i}`, { speech: false, temperature: 1, seed: i, maxTokens }] as const;
};

describe("replies that do not fit in the cache together", () => {
  test.each([
    ["text", (i: number): GenerateOptions => ({ ...sampled(i), speech: false, repetitionPenalty: 1 + i / 10 })],
    ["speech", (i: number): GenerateOptions => (i % 2 === 0 ? {} : { ...sampled(i), logProbabilities: i })],
  ])("eight of %s all end whole, each with the bits it has alone", async (_, options) => {
    await using model = await load({ kvCacheTokens: 256, prefixCache: false }); // so that all lost rows are computed again
    const questions = Array.from({ length: 8 }, (_, i) => `Question ${"again ".repeat(2 * i)}${i}`);
    const answer = (text: string, i: number) => ask(model, text, { ...options(i), maxTokens: 150 });
    const alone = [];
    for (const [i, question] of questions.entries()) alone.push(content(await answer(question, i)));
    const together = await Promise.all(questions.map(answer));
    expect(together.map(content)).toEqual(alone);
    const usages = together.map(usage);
    expect(usages.some(({ preemptions, recomputedTokens }) => preemptions > 0 && recomputedTokens > 64)).toBe(true);
    expect(usages.every(({ queued, total }) => queued < total)).toBe(true);
    const counts = usages.map((each) => each.preemptions);
    expect(Math.min(...counts)).toBe(0); // the oldest, whose prompt was ready first, takes the room of the others
    const preemptions = counts.reduce((sum, each) => sum + each, 0);
    expect(model.stats()).toMatchObject({ waiting: 0, preempted: 0, active: 0, unread: 0, preemptions });
    expect(model.stats().cache).toEqual({ tokens: 256, used: 0, free: 256, cached: 0 });
  });

  test("so do those of bf16 activations, in small passes and batches", async () => {
    await using model = await load({ kvCacheTokens: 192, activations: "bf16", prefillChunk: 16, maxBatch: 2 });
    const answer = (i: number) => ask(model, `Number ${i}`, { ...sampled(i), maxTokens: 100 });
    const alone = [];
    for (let i = 0; i < 5; i++) alone.push(content(await answer(i)));
    const together = await Promise.all(alone.map((_, i) => answer(i)));
    expect(together.map(content)).toEqual(alone);
    expect(model.stats().preemptions).toBeGreaterThan(0);
  });

  test("a preempted reply goes first when there is room again", async () => {
    await using model = await load({ kvCacheTokens: 128 });
    const ended: number[] = [];
    const answer = async (i: number) => {
      const events = await ask(model, ...long(i));
      ended.push(i);
      return usage(events);
    };
    const usages = await Promise.all([0, 1, 2, 3].map(answer));
    expect(usages.map(({ steps }) => steps)).toEqual([90, 90, 90, 90]);
    expect(ended).toEqual([0, 1, 2, 3]);
    expect(usages.map(({ preemptions }) => preemptions)).toEqual([0, 1, 0, 1]);
    const queued = usages.map((each) => each.queued);
    expect(queued).toEqual(queued.toSorted((a, b) => a - b));
  });

  test("one that cannot fit even alone fails without disturbing the others", async () => {
    await using model = await load({ kvCacheTokens: 128 });
    const alone = content(await ask(model, ...long(0)));
    const first = ask(model, ...long(0));
    await until(model, ({ active }) => active === 1);
    await expect(ask(model, "a ".repeat(200), {})).rejects.toThrowError(code("OUT_OF_MEMORY"));
    expect(content(await first)).toEqual(alone);
    const { promptTokens } = usage(await ask(model, ...long(0)));
    expect(usage(await ask(model, ...long(0, 129 - promptTokens))).steps).toBe(129 - promptTokens);
    const error = await ask(model, ...long(0, 130 - promptTokens)).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "OUT_OF_MEMORY", details: { wanted: 129, tokens: 128 } });
    expect((error as Error).message).toMatch(/need 129 tokens of the KV cache, which has 128: .*kvCacheTokens/);
    expect(model.stats().preemptions).toBe(0);
  });

  test("the queue can be read at any moment", async () => {
    await using model = await load({ kvCacheTokens: 64 });
    const idle = { preparing: 0, waiting: 0, preempted: 0, active: 0, unread: 0, preemptions: 0, longestWait: 0 };
    expect(model.stats()).toEqual({ ...idle, cache: { tokens: 64, used: 0, free: 64, cached: 0 } });
    const replies = [0, 1].map((i) => ask(model, ...long(i, 30)));
    expect(model.stats()).toMatchObject({ ...idle, preparing: 2 });
    await until(model, ({ active, waiting }) => active === 1 && waiting === 1);
    expect(model.stats()).toMatchObject({ preparing: 0, preempted: 0, cache: { tokens: 64, used: 64, free: 0 } });
    const [first, second] = (await Promise.all(replies)).map(usage);
    expect(second!.queued).toBeGreaterThan(first!.queued);
    expect(model.stats()).toEqual({ ...idle, cache: { tokens: 64, used: 0, free: 64, cached: 0 } });
  });

  test("a reply waits for room that other code holds, and goes on when it is given back", async () => {
    await using model = await load({ kvCacheTokens: 192 });
    const other = model.llm.cache.sequence();
    other.reserve(192);
    const reply = ask(model, ...long(0, 5));
    await until(model, ({ waiting }) => waiting === 1);
    other.dispose();
    expect(usage(await reply).queued).toBeGreaterThan(0);
  });
});

describe("a preempted reply", () => {
  /** Starts two replies in room for one, and waits until the first has taken the room of the second. */
  async function preempted(model: OmniModel, signal?: AbortSignal) {
    const first = ask(model, ...long(0));
    const [text, options] = long(1);
    const second = ask(model, text, { ...options, signal });
    for (const reply of [first, second]) reply.catch(() => {});
    await until(model, (stats) => stats.preempted === 1);
    return { first, second };
  }

  test("can be aborted, and frees everything", async () => {
    await using model = await load({ kvCacheTokens: 128, decodeGraphs: false });
    const alone = content(await ask(model, ...long(0)));
    const before = await settledMemory(device);
    const abort = new AbortController();
    const { first, second } = await preempted(model, abort.signal);
    abort.abort();
    await expect(second).rejects.toThrowError(code("ABORTED"));
    expect(model.stats()).toMatchObject({ preempted: 0, active: 1 });
    expect(content(await first)).toEqual(alone);
    expect(await settledMemory(device)).toBe(before);
    expect(model.stats().cache.free).toBe(128);
  });

  test("ends with its model", async () => {
    const before = await settledMemory(device);
    const model = await load({ kvCacheTokens: 128 });
    const { first, second } = await preempted(model);
    model.dispose();
    await expect(first).rejects.toThrowError(code("DISPOSED"));
    await expect(second).rejects.toThrowError(code("DISPOSED"));
    expect(model.stats()).toMatchObject({ waiting: 0, preempted: 0, active: 0 });
    expect(await settledMemory(device)).toBe(before);
  });

  test("whose computation fails ends alone", async () => {
    await using model = await load({ kvCacheTokens: 128 });
    const alone = content(await ask(model, ...long(2)));
    const { first, second } = await preempted(model);
    const third = ask(model, ...long(2));
    const { step } = model.embedding;
    vi.spyOn(model.embedding, "step").mockImplementation((inputs) => {
      const recomputes = inputs.length > 2;
      return recomputes ? model.llm.embed(inputs.map(() => 99_999)) : step.call(model.embedding, inputs);
    });
    await first;
    await expect(second).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    vi.restoreAllMocks();
    expect(content(await third)).toEqual(alone);
    expect(model.stats().cache.free).toBe(128);
  });
});

describe("replies that nobody reads", () => {
  const unread = [0, 1, 2];

  /** Starts three replies that fill a cache of 192 tokens, and waits until all of them pause. */
  async function fill(model: OmniModel) {
    const replies = unread.map((i) => generate(model, ...long(i)));
    const seen = await Promise.all(replies.map(async (reply) => [(await reply.next()).value as GenerateEvent]));
    await until(model, (stats) => stats.unread === 3);
    expect(model.stats().active).toBe(3);
    return async () => Promise.all(replies.map(async (reply, i) => [...seen[i]!, ...(await collect(reply))]));
  }

  test("give way to those that wait, after ten seconds, and go on when they are read", async () => {
    await using model = await load({ kvCacheTokens: 192 });
    const alone = [];
    for (const i of [...unread, 3]) alone.push(content(await ask(model, ...long(i))));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const rest = await fill(model);
    const four = ask(model, ...long(3));
    await until(model, ({ waiting }) => waiting === 1);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(model.stats()).toMatchObject({ active: 3, waiting: 1, preempted: 0, unread: 3 });
    expect(model.stats().longestWait).toBeCloseTo(9.999, 6);
    await vi.advanceTimersByTimeAsync(1);
    const events = await four; // it needed the room of two
    expect(content(events)).toEqual(alone[3]);
    expect(usage(events).queued).toBeCloseTo(10, 6);
    expect(model.stats()).toMatchObject({ active: 1, waiting: 0, preempted: 2, unread: 3, longestWait: 0 });
    const whole = await rest();
    expect(whole.map(content)).toEqual(alone.slice(0, 3));
    expect(usage(whole[0]!).preemptions).toBeGreaterThan(0);
    expect(usage(whole[0]!).queued).toBe(0); // while it was unread, it waited for its reader
    expect(vi.getTimerCount()).toBe(0);
  });

  test("keep their room while nobody waits for it", async () => {
    await using model = await load({ kvCacheTokens: 256 });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    await fill(model);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(model.stats()).toMatchObject({ active: 3, preemptions: 0 });
  });

  test.each([0, 2.5])("give way after the time that the option sets: %d s", async (unreadSeconds) => {
    await using model = await load({ kvCacheTokens: 192, unreadSeconds });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    await fill(model);
    const four = ask(model, ...long(3));
    await until(model, (stats) => stats.waiting + stats.preempted > 0);
    await vi.advanceTimersByTimeAsync(1000 * unreadSeconds);
    expect(usage(await four).queued).toBeCloseTo(unreadSeconds, 6);
  });

  test("never give way if the option says so", async () => {
    await using model = await load({ kvCacheTokens: 192, unreadSeconds: Number.POSITIVE_INFINITY });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const rest = await fill(model);
    const four = ask(model, ...long(3));
    await until(model, ({ waiting }) => waiting === 1);
    await vi.advanceTimersByTimeAsync(1e9);
    expect(model.stats()).toMatchObject({ active: 3, waiting: 1 });
    await rest();
    expect(usage(await four).queued).toBeCloseTo(1e6, 3);
  });
});
