import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { RgbImage } from "../../../lib/media/image.js";
import { type OmniLoadOptions, OmniModel } from "../../../lib/model/omni.js";
import type { Message, Part } from "../../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../../lib/model/reply/events.js";
import type { GenerateOptions } from "../../../lib/model/reply/options.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { code } from "../../support/errors.js";
import { settledMemory } from "../../support/garbage.js";
import { tinyDirectory } from "../tinyModel.js";

const directory = await tinyDirectory(3);
const sample = (name: string) => fileURLToPath(new URL(`../../../samples/${name}`, import.meta.url));

let device: Device;
let plain: OmniModel;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
  plain = await load({ prefixCache: false });
});
afterAll(() => {
  plain.dispose();
  device.dispose();
});
afterEach(() => vi.restoreAllMocks());

const load = (options: OmniLoadOptions = {}) =>
  OmniModel.load(directory, { device, kvCacheTokens: 2048, prefillChunk: 64, ...options });
const text = (words: string): Part => ({ type: "text", text: words });
const user = (...content: Part[]): Message[] => [{ role: "user", content }];
/** Text of several hundred tokens, and what follows it. */
const long = (end: string) => user(text(`${"The quick brown fox jumps over the lazy dog. ".repeat(8)}${end}`));

async function collect(events: AsyncIterable<GenerateEvent>) {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  const { usage, ...end } = all.at(-1) as GenerateEvent & { type: "end" };
  const hash = createHash("sha256");
  for (const event of all) if (event.type === "audio") hash.update(event.samples);
  return { content: { ...end, samples: hash.digest("hex") }, usage };
}

const ask = (model: OmniModel, messages: readonly Message[], options: GenerateOptions = {}) => {
  const sampled = { speech: false, temperature: 1, seed: 4, maxTokens: 4, logProbabilities: 5 };
  return collect(model.generate(messages, { ...sampled, ...options }));
};
const whole = (rows: number) => Math.floor(rows / 64) * 64;

/** Checks that a model gives the reply that it gives without the cache. @returns the prompt's rows that were reused */
async function same(model: OmniModel, messages: readonly Message[], options: GenerateOptions = {}): Promise<number> {
  const [expected, got] = [await ask(plain, messages, options), await ask(model, messages, options)];
  expect(got.content).toEqual(expected.content);
  return got.usage.cachedTokens;
}

describe("a prompt that begins like an earlier one", () => {
  test("reuses the whole blocks before the first row that differs, but never its last row", async () => {
    await using model = await load();
    const { promptTokens } = (await ask(model, long(""))).usage;
    const shared = promptTokens - 3; // without "\n", "ASSISTANT:"
    expect(await same(model, long("One"))).toBe(whole(shared));
    expect(await same(model, long(""))).toBe(whole(promptTokens - 1));
    const { text: words } = long("")[0]!.content[0] as Part & { type: "text" };
    const middle = user(text(`${words.slice(0, 150)}X${words.slice(151)}`));
    const before = await same(model, middle);
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(whole(shared));
    expect(await same(model, user(text("X"), ...(long("")[0]!.content as Part[])))).toBe(0);
  });

  test("of whole blocks has its last block computed", async () => {
    await using model = await load();
    const words = (count: number) => user(text("a ".repeat(count)));
    for (let count = 40; ; count++) {
      const { promptTokens, cachedTokens } = (await ask(model, words(count))).usage;
      expect(cachedTokens).toBeLessThan(promptTokens);
      if (promptTokens !== 128) continue;
      expect(await same(model, words(count))).toBe(64);
      break;
    }
  });

  test("whatever options the replies have", async () => {
    await using model = await load();
    await ask(model, long(""), { speech: true, seed: 9, maxTokens: 2 });
    expect(await same(model, long(""), { temperature: 0, logProbabilities: 2 })).toBeGreaterThan(64);
    expect(await same(model, long(""), { speech: true, maxTokens: 12 })).toBeGreaterThan(64);
  });

  test("is computed anew without the option, and nothing is kept", async () => {
    const usages = [await ask(plain, long("")), await ask(plain, long(""))].map(({ usage }) => usage);
    expect(usages.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 0]);
    expect(plain.stats().cache).toMatchObject({ used: 0, cached: 0 });
  });
});

describe("media", () => {
  const pixels = (seed: number): RgbImage => {
    const [width, height] = [224, 224];
    return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7 + seed) % 251) };
  };
  const look = (image: RgbImage | string): Part[] => [{ type: "image", image }, text("What is it? ".repeat(20))];
  const samples = Float32Array.from({ length: 96_000 }, (_, i) => Math.sin(i / 7) * Math.sin(i / 900));
  const hear = (from: number): Part[] => {
    return [{ type: "audio", audio: { samples: samples.slice(from, from + 90_000), sampleRate: 16000 } }];
  };

  test("are known by their content, and encoded once", async () => {
    await using model = await load();
    const media = [...look(sample("photo.jpg")), ...hear(0)];
    await ask(model, user(...media));
    const encode = vi.spyOn(model.vision, "encode");
    const stream = vi.spyOn(model.audioEncoder, "stream");
    expect(await same(model, user(...media, text("Again")))).toBeGreaterThan(128);
    expect(await same(model, user(text("First"), ...media))).toBe(0); // at other positions: only their rows are computed
    expect([encode.mock.calls.length, stream.mock.calls.length]).toEqual([0, 0]);
    await same(model, user(...look(pixels(1)), ...hear(1)));
    expect([encode.mock.calls.length, stream.mock.calls.length]).toEqual([1, 1]);
  });

  test("differ by a pixel, a sample, or what the limits make of them", async () => {
    await using model = await load();
    const image = pixels(0);
    const rows = (await ask(model, user(...look(image), ...hear(0)))).usage;
    expect(rows.stages.vision.tokens).toBeGreaterThan(16);
    const other = { ...image, data: image.data.slice() };
    other.data[other.data.length - 1]! ^= 1;
    expect(await same(model, user(...look(other), ...hear(0)))).toBe(0);
    const limits = { visionTokens: Math.floor(rows.stages.vision.tokens / 2) };
    expect(await same(model, user(...look(image), ...hear(0)), { limits })).toBe(0);
    const before = await same(model, user(...look(image), ...hear(1)));
    expect(before).toBeGreaterThan(rows.stages.vision.tokens);
    expect(before).toBeLessThan(rows.promptTokens - rows.stages["audio encoder"].tokens);
  });

  test("whose pixels change while they are read are never taken for others", async () => {
    await using model = await load();
    const image = pixels(0);
    const original = { ...image, data: image.data.slice() };
    const { resize } = model.vision;
    vi.spyOn(model.vision, "resize").mockImplementationOnce((...given) => {
      image.data.fill(9);
      return resize.apply(model.vision, given);
    });
    await ask(model, user(...look(image)));
    expect(await same(model, user(...look(original)))).toBe(0);
    expect(await same(model, user(...look(original)))).toBeGreaterThan(64);
  });

  test("of a video count with the pair of frames that they are in", async () => {
    await using model = await load();
    const video: Part = { type: "video", video: sample("clip.mp4"), interleaveAudio: true };
    const rest = text("What happens? ".repeat(10));
    await ask(model, user(video, rest));
    const encode = vi.spyOn(model.vision, "encode");
    expect(await same(model, user(video, rest, text("Again")))).toBeGreaterThan(64);
    expect(encode).not.toHaveBeenCalled();
  });

  test("that fail are not kept", async () => {
    await using model = await load();
    vi.spyOn(model.vision, "encodeUnits").mockImplementationOnce(async (units) => {
      const rows = model.llm.embed(new Array<number>(64).fill(99_999));
      return units.map(() => ({ tokens: rows, grid: { height: 8, width: 16 } }));
    });
    const prompt = user(...look(pixels(0)));
    await expect(ask(model, prompt)).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    expect(await same(model, prompt)).toBe(0);
  });
});

describe("room", () => {
  test("goes to whoever needs it, and what was used last is kept longest", async () => {
    await using model = await load({ kvCacheTokens: 320 });
    const { promptTokens } = (await ask(model, long("A"))).usage;
    expect(promptTokens).toBeGreaterThan(64);
    expect(model.stats().cache).toEqual({ tokens: 320, used: 0, free: 320, cached: whole(promptTokens) });
    const other = (i: number) => user(text(`${i} ${"something else ".repeat(20)}`));
    for (let i = 0; i < 6; i++) {
      expect(await same(model, other(i))).toBe(0);
      expect(await same(model, long("A"))).toBeGreaterThan(0); // used again in each turn
    }
    expect(await same(model, other(0))).toBe(0); // gone
    expect(model.stats()).toMatchObject({ preemptions: 0, cache: { used: 0, free: 320 } });
  });

  test("is given to other sequences at once, all of it", async () => {
    await using model = await load({ kvCacheTokens: 320 });
    await ask(model, long(""));
    const other = model.llm.cache.sequence();
    other.reserve(320);
    expect(model.stats().cache).toEqual({ tokens: 320, used: 320, free: 0, cached: 0 });
    other.dispose();
    expect(await same(model, long(""))).toBe(0);
  });

  test("is shared by replies in progress that begin alike", async () => {
    await using model = await load({ kvCacheTokens: 384 });
    const { promptTokens } = (await ask(model, long(""))).usage;
    const blocks = Math.ceil((promptTokens + 4) / 64);
    expect(4 * blocks).toBeGreaterThan(6); // they would not fit without sharing
    const replies = ["a", "b", "c", "d"].map((end) => model.generate(long(end), { speech: false, maxTokens: 4 }));
    const first = await Promise.all(replies.map((reply) => reply.next()));
    expect(first.every(({ done }) => !done)).toBe(true);
    const got = await Promise.all(replies.map(collect));
    for (const [i, { content }] of got.entries()) {
      const expected = await collect(plain.generate(long("abcd"[i]!), { speech: false, maxTokens: 4 }));
      expect(content).toEqual(expected.content);
    }
    expect(got.map(({ usage }) => usage.preemptions)).toEqual([0, 0, 0, 0]);
  });
});

describe("replies at the same time", () => {
  test("compute their common rows once", async () => {
    await using model = await load();
    const forward = vi.spyOn(model.llm, "forward");
    const got = await Promise.all(["x", "y", "z"].map((end) => ask(model, long(end))));
    const rows = forward.mock.calls.flatMap(([extensions]) => extensions.map(({ embeddings }) => embeddings.shape[0]!));
    const prompts = got.map(({ usage }) => usage.promptTokens);
    const shared = whole(Math.min(...prompts) - 3);
    const cached = got.map(({ usage }) => usage.cachedTokens).toSorted((a, b) => a - b);
    expect(cached[0]).toBe(0);
    expect(cached.slice(1)).toEqual([shared, shared]);
    const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
    expect(sum(rows)).toBe(sum(prompts) - 2 * shared);
    for (const [i, { content }] of got.entries()) expect(content).toEqual((await ask(plain, long("xyz"[i]!))).content);
  });
});

describe("a preempted reply", () => {
  test("goes on with the rows that are left, its own among them, and has the same bits", async () => {
    await using model = await load({ kvCacheTokens: 384 });
    const options = (seed: number) => ({ seed, maxTokens: 170, logProbabilities: 3 });
    const prompts = [0, 1].map((i) => user(text(`${i} ${"count with me ".repeat(8)}`)));
    const expected = [];
    for (const [i, prompt] of prompts.entries()) expected.push((await ask(plain, prompt, options(i))).content);
    const got = await Promise.all(prompts.map((prompt, i) => ask(model, prompt, options(i))));
    expect(got.map(({ content }) => content)).toEqual(expected);
    const [first, second] = got.map(({ usage }) => usage);
    expect([first!.preemptions, second!.preemptions]).toEqual([0, 1]);
    // It had three blocks of its prompt and steps, of which the other reply needed one.
    expect(second!.recomputedTokens).toBeGreaterThan(0);
    expect(second!.recomputedTokens).toBeLessThanOrEqual(64);
    expect(second!.cachedTokens).toBe(0);
  });
});

describe("what ends a reply", () => {
  test("an error of the device leaves the rows that were computed before, and no others", async () => {
    await using model = await load();
    const { forward } = model.llm;
    let passes = 0;
    vi.spyOn(model.llm, "forward").mockImplementation((extensions, options) => {
      if (++passes < 2) return forward.call(model.llm, extensions, options);
      const faulty = extensions.map(({ sequence, embeddings }) => {
        return { sequence, embeddings: model.llm.embed(new Array<number>(embeddings.shape[0]!).fill(99_999)) };
      });
      return forward.call(model.llm, faulty, options);
    });
    await expect(ask(model, long(""))).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    vi.restoreAllMocks();
    expect(model.stats().cache).toMatchObject({ used: 0, cached: 64 });
    expect(await same(model, long(""))).toBe(64);
  });

  test("an abort leaves them, too", async () => {
    await using model = await load();
    const abort = new AbortController();
    const messages = long("");
    const reply = model.generate(messages, { speech: false, signal: abort.signal });
    const aborted = (async () => {
      for await (const event of reply) if (event.type === "stage" && event.stage === "prefill") abort.abort();
    })();
    await expect(aborted).rejects.toThrowError(code("ABORTED"));
    await vi.waitFor(() => expect(model.stats().cache.used).toBe(0));
    expect(model.stats().cache.cached).toBeGreaterThanOrEqual(64);
    expect(await same(model, messages)).toBeGreaterThanOrEqual(64);
  });

  test("the model's disposal frees all, what was kept of media included", async () => {
    const before = await settledMemory(device);
    const model = await load();
    await ask(
      model,
      user({ type: "image", image: sample("photo.jpg") }, { type: "audio", audio: sample("speech.wav") }),
    );
    const kept = await settledMemory(device);
    await ask(
      model,
      user({ type: "image", image: sample("photo.jpg") }, { type: "audio", audio: sample("speech.wav") }),
    );
    expect(await settledMemory(device)).toBe(kept);
    model.dispose();
    expect(await settledMemory(device)).toBe(before);
  });
});
