import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { OmniModel } from "../../../lib/model/omni.js";
import type { Message } from "../../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../../lib/model/reply/events.js";
import type { GenerateOptions } from "../../../lib/model/reply/options.js";
import { WholeUtterance } from "../../../lib/model/reply/reply.js";
import { SpeechState } from "../../../lib/model/speech/state.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { code } from "../../support/errors.js";
import { settledMemory } from "../../support/garbage.js";
import { DuckSignal, foreignController } from "../../support/signals.js";
import { tinyDirectory } from "../tinyModel.js";

const directory = await tinyDirectory();
const say = (text: string): Message[] => [{ role: "user", content: text }];
const samplesPerFrame = 1440;
const question = "What do you see?";

type End = GenerateEvent & { type: "end" };
const ofType = <T extends GenerateEvent["type"]>(events: readonly GenerateEvent[], type: T) =>
  events.filter((event): event is GenerateEvent & { type: T } => event.type === type);

async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const samplesOf = (events: readonly GenerateEvent[]) =>
  Float32Array.from(ofType(events, "audio").flatMap((event) => [...event.samples]));

/** The content of a reply, without values that depend on time or on other replies. */
function content(events: readonly GenerateEvent[]) {
  const { text, reason, usage } = events.at(-1) as End;
  const audio = createHash("sha256").update(samplesOf(events)).digest("hex");
  return { text, reason, steps: usage.steps, textTokens: usage.textTokens, audio };
}

let device: Device;
let model: OmniModel;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
  model = await OmniModel.load(directory, { device, kvCacheTokens: 2048 });
});
afterAll(() => {
  model.dispose();
  device.dispose();
});

const reply = (text: string, options: GenerateOptions = {}) => {
  return collect(model.generate(say(text), { maxTokens: 40, ...options }));
};
/** Memory in use when no reply holds any. */
async function idleMemory(): Promise<number> {
  const bytes = await settledMemory(device);
  expect(model.llm.cache.freeTokens).toBe(model.llm.cache.tokens);
  return bytes;
}

/** The reply by the plainest loop: one sequence, greedy, without the scheduler. */
async function plainReply(prompt: string, maxSteps: number) {
  const { llm, embedding, audioHeads, tokenizer } = model;
  const state = new SpeechState({ pauseId: tokenizer.specialId("</pause>"), endId: tokenizer.endId });
  const pieces = ["USER:", prompt, "\n", "VOICE ASSISTANT:"];
  const textIds = (await Promise.all(pieces.map((piece) => tokenizer.encode(piece)))).flat();
  using sequence = llm.cache.sequence();
  let hidden = await llm.prefill([{ sequence, embeddings: embedding.prompt({ textIds }) }]);
  const written: number[] = [];
  const frames: number[][] = [];
  const completedAt: number[] = [];
  for (let step = 0; step < maxSteps && !state.done; step++) {
    const logits = await llm.logits(hidden).toFloat32Array();
    const textId = logits.indexOf(Math.max(...logits));
    const histories = [0, 1, 2, 3].map((book) => [state.codecHistory(book)]);
    const codecIds = await Promise.all(audioHeads.step(hidden, histories).map(async (ids) => (await ids.read())[0]!));
    const { textId: writtenId, frame, next } = state.step(textId, codecIds);
    if (writtenId !== null) written.push(writtenId);
    if (frame) {
      frames.push([...frame]);
      completedAt.push(step + 1);
    }
    if (next) hidden = llm.decode([sequence], embedding.step([next]));
  }
  return { written, frames, completedAt };
}

describe("generate", () => {
  test("equals the plain loop of prefill, step, heads and state machine, decoded as a whole", async () => {
    const { written, frames } = await plainReply(question, 40);
    const events = await reply(question);
    expect(content(events).textTokens).toBe(written.length);
    const [wave, samples] = [await model.speechDecoder.decode(frames), samplesOf(events)];
    expect(samples.length).toBe(wave.length);
    const difference = Math.max(...wave.map((sample, i) => Math.abs(sample - samples[i]!)));
    expect(difference).toBeLessThan(1e-5);
    expect(Math.max(...wave.map(Math.abs))).toBeGreaterThan(1e-3);
  });

  test("the first audio comes after exactly five steps, and each frame's audio three frames later", async () => {
    // Finds an answer that begins with four frames in a row: the tiny model also ends its speech at random.
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => ({ i, ...(await plainReply(`${question} ${i}`, 12)) })),
    );
    const { i, completedAt } = answers.find((answer) => String(answer.completedAt.slice(0, 4)) === "2,3,4,5")!;
    const events = await reply(`${question} ${i}`, { maxTokens: 12 });
    const audio = ofType(events, "audio");
    expect(audio[0]!.step).toBe(5);
    expect(audio.map(({ step }) => step)).toEqual([...completedAt.slice(3), content(events).steps]);
    expect(audio.slice(0, -1).every(({ samples }) => samples.length === samplesPerFrame)).toBe(true);
    expect(audio.at(-1)!.samples.length).toBe(3 * samplesPerFrame);
    expect(audio[0]!.sampleRate).toBe(24000);
  });

  test("a decoder that cannot stream receives the whole utterance at the end", async () => {
    const { frames } = await plainReply(question, 12);
    using whole = new WholeUtterance((all) => model.speechDecoder.decode(all));
    expect(await whole.flush()).toBeUndefined();
    for (const frame of frames) expect(await whole.push([frame])).toBeUndefined();
    expect(await whole.flush()).toEqual(await model.speechDecoder.decode(frames));
    expect(await whole.flush()).toBeUndefined();
  });

  test("ends with the whole text and its usage", async () => {
    const { frames } = await plainReply(question, 12);
    const events = await reply(question, { maxTokens: 12 });
    const end = events.at(-1) as End;
    expect(end.type).toBe("end");
    const text = ofType(events, "text").map((event) => event.text);
    expect(text.join("")).toBe(end.text);
    expect(end.reason).toBe("length");
    const { usage } = end;
    expect(usage.steps).toBe(12);
    expect(usage.stages.decode.tokens).toBe(12);
    expect(usage.stages.prefill.tokens).toBe(usage.promptTokens);
    expect(usage.audioSeconds).toBeCloseTo((frames.length * samplesPerFrame) / 24000, 6);
    expect(usage.stages["speech decoder"].tokens).toBe(frames.length);
    expect(usage.firstAudio!).toBeGreaterThan(usage.firstText!);
    expect(usage.total).toBeGreaterThanOrEqual(usage.firstAudio!);
    for (const stage of ["prefill", "decode", "speech decoder"] as const)
      expect(usage.stages[stage].seconds).toBeGreaterThan(0);
  });

  test("ends by itself when the model ends its text", async () => {
    const ends = await Promise.all(
      Array.from({ length: 6 }, async (_, seed) => {
        const events = await reply("Goodbye", { speech: false, temperature: 2, topK: 0, seed, maxTokens: 250 });
        return (events.at(-1) as End).reason;
      }),
    );
    expect(ends).toContain("stop");
  });

  test("without speech it gives text and no audio", async () => {
    const events = await reply("Hello!", { speech: false, maxTokens: 20 });
    expect(ofType(events, "audio")).toEqual([]);
    const end = events.at(-1) as End;
    expect(end.usage.textTokens).toBe(end.usage.steps);
    expect(end.usage.firstAudio).toBeNull();
  });

  test("a reply is the same alone and together with others", async () => {
    const questions = ["Hello!", "What is the time? Tell me quickly, please.", "Why", "Sing a song about the sea."];
    const options = (i: number): GenerateOptions => ({
      maxTokens: 15 + 5 * i,
      ...(i > 1 && { temperature: 0.9, topK: 20, repetitionPenalty: 1 + i / 10, seed: i }),
      ...(i === 3 && { speech: false }),
    });
    const alone = [];
    for (const [i, question] of questions.entries()) alone.push(content(await reply(question, options(i))));
    const together = await Promise.all(questions.map((question, i) => reply(question, options(i))));
    expect(together.map(content)).toEqual(alone);
  });

  test("the seed determines the sampled text", async () => {
    const drawn = async (seed: number) =>
      content(await reply("Tell me", { speech: false, temperature: 1.5, topK: 0, topP: 0.95, seed, maxTokens: 30 }))
        .text;
    const [first, again, other] = [await drawn(1), await drawn(1), await drawn(2)];
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  test("a temperature or topP alone samples from all tokens; without them, the likeliest is taken", async () => {
    const text = async (options: GenerateOptions) =>
      content(await reply("Tell me", { speech: false, maxTokens: 30, ...options })).text;
    const likeliest = await text({});
    expect(await text({ seed: 7, topK: 1, temperature: 2 })).toBe(likeliest);
    expect(await text({ seed: 7, temperature: 0 })).toBe(likeliest);
    expect(await text({ seed: 7 })).toBe(likeliest);
    const hot = await text({ seed: 7, temperature: 2 });
    expect(hot).not.toBe(likeliest);
    expect(hot).toBe(await text({ seed: 7, temperature: 2, topK: 0 }));
    const nucleus = await text({ seed: 7, topP: 0.9 });
    expect(nucleus).toBe(await text({ seed: 7, temperature: 1, topP: 0.9, topK: 0 }));
    expect(nucleus).not.toBe(likeliest);
  });

  test("refuses a repetition penalty that would change nothing", async () => {
    for (const options of [{}, { topK: 1, temperature: 2 }, { temperature: 0, topK: 20 }])
      await expect(reply("Hello!", { ...options, repetitionPenalty: 1.2 })).rejects.toThrow(
        /give a temperature above 0/,
      );
    expect(content(await reply("Hello!", { temperature: 1, repetitionPenalty: 1.2, maxTokens: 5 })).steps).toBe(5);
  });

  test("a slow consumer pauses its own reply only", async () => {
    const options = (seed: number) => ({ speech: false, temperature: 1, topK: 0, seed, maxTokens: 300 });
    const alone = await Promise.all(Array.from({ length: 8 }, (_, seed) => reply("Slowly", options(seed))));
    const seed = alone.findIndex((events) => content(events).steps > 128);
    const slow = model.generate(say("Slowly"), options(seed));
    const seen: GenerateEvent[] = [];
    while (ofType(seen, "text").length === 0) seen.push((await slow.next()).value);
    expect((await reply("Quickly", { maxTokens: 100 })).at(-1)!.type).toBe("end");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const held = model.llm.cache.tokens - model.llm.cache.freeTokens;
    expect(held).toBeLessThanOrEqual(128); // far below its final length
    seen.push(...(await collect(slow)));
    expect(content(seen)).toEqual(content(alone[seed]!));
  });

  test.each(["prompt", "step"] as const)("a %s that fails on the device ends its own reply only", async (what) => {
    const options = { maxTokens: 60 };
    const alone = content(await reply("Slowly", options));
    const slow = model.generate(say("Slowly"), options);
    const seen: GenerateEvent[] = [];
    while (ofType(seen, "text").length === 0) seen.push((await slow.next()).value);
    const steps = vi.spyOn(model.embedding, "step");
    for (let before = -1; before < steps.mock.calls.length; ) {
      before = steps.mock.calls.length;
      await new Promise((resolve) => setTimeout(resolve, 200)); // until the reply pauses
    }
    const failing = vi.spyOn(model.embedding, what).mockImplementationOnce(() => model.llm.embed([99_999]));
    await expect(reply("Quickly")).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    expect(failing).toHaveBeenCalled();
    vi.restoreAllMocks();
    seen.push(...(await collect(slow)));
    expect(content(seen)).toEqual(alone);
    await idleMemory();
  });

  test("leaving the iteration frees the reply at once", async () => {
    await reply("Warm up", { maxTokens: 10 });
    const before = await idleMemory();
    for await (const event of model.generate(say("Hello!"), { maxTokens: 500 })) if (event.type === "audio") break;
    expect(model.llm.cache.freeTokens).toBe(model.llm.cache.tokens);
    expect(await idleMemory()).toBe(before);
  });

  test("return ends pending calls of next", async () => {
    const events = model.generate(say("Hello!"));
    await events.next();
    const pending = Promise.all(Array.from({ length: 50 }, () => events.next()));
    await events.return();
    expect((await pending).at(-1)).toEqual({ done: true, value: undefined });
    expect(await events.next()).toEqual({ done: true, value: undefined });
    await idleMemory();
    const unused = model.generate(say("Never"));
    await unused.return();
    expect(await unused.next()).toEqual({ done: true, value: undefined });
  });

  test.each([
    ["before anything", () => true],
    ["prefill", (event: GenerateEvent) => event.type === "stage" && event.stage === "prefill"],
    ["decode", (event: GenerateEvent) => event.type === "text"],
    ["speech", (event: GenerateEvent) => event.type === "audio"],
  ])("aborted at %s, it frees everything and the model goes on", async (_, when) => {
    const long = "Hello! ".repeat(40);
    await reply(long, { maxTokens: 10 });
    const before = await idleMemory();
    const abort = new AbortController();
    const events = model.generate(say(long), { signal: abort.signal, maxTokens: 200 });
    const run = async () => {
      for await (const event of events) if (when(event)) abort.abort(new Error("enough"));
    };
    await expect(run()).rejects.toMatchObject({ code: "ABORTED", cause: { message: "enough" } });
    expect(await idleMemory()).toBe(before);
    expect(content(await reply("Hello!", { maxTokens: 5 })).steps).toBe(5);
  });

  test("a signal aborted beforehand ends it at once", async () => {
    const events = model.generate(say("Hello!"), { signal: AbortSignal.abort() });
    await expect(collect(events)).rejects.toThrowError(code("ABORTED"));
    await idleMemory();
  });

  test.each([
    ["polyfill", new DuckSignal()],
    ["another realm", foreignController()],
  ])("signals of a %s abort it, and earlier or later ones do no harm", async (_, source) => {
    const signal = ("signal" in source ? source.signal : source) as AbortSignal;
    expect(content(await reply("Hello!", { signal, maxTokens: 5 })).steps).toBe(5);
    const events = model.generate(say("Hello!"), { signal, maxTokens: 200 });
    const run = async () => {
      for await (const event of events) if (event.type === "text") source.abort("enough");
    };
    await expect(run()).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    await expect(reply("Hello!", { signal })).rejects.toThrowError(code("ABORTED"));
    await idleMemory();
  });

  test("refuses a signal that is none, from the first next", async () => {
    for (const signal of [new AbortController(), "stop", null, {}, Object.create(AbortSignal.prototype)]) {
      const events = model.generate(say("Hello!"), { signal });
      await expect(events.next()).rejects.toThrowError(code("INVALID_ARGUMENT"));
      expect(await events.next()).toEqual({ done: true, value: undefined });
      expect(model.stats()).toMatchObject({ preparing: 0, waiting: 0, active: 0 });
    }
  });

  test("one abort among several leaves the others alone", async () => {
    const alone = content(await reply("Second", { maxTokens: 30 }));
    const abort = new AbortController();
    const first = collect(model.generate(say("First"), { signal: abort.signal, maxTokens: 200 }));
    const second = reply("Second", { maxTokens: 30 });
    setTimeout(() => abort.abort(), 10);
    await expect(first).rejects.toThrowError(code("ABORTED"));
    expect(content(await second)).toEqual(alone);
  });

  test("refuses invalid conversations, and options that are unknown or out of range", async () => {
    await expect(collect(model.generate([]))).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(reply("x".repeat(9000))).rejects.toThrowError(code("INVALID_ARGUMENT"));
    const wrong = [
      ...[
        { maxTokens: 0 },
        { topP: 0 },
        { topP: 1.5 },
        { temperature: -1 },
        { temperature: Number.NaN },
        { seed: 0.5 },
      ],
      ...[{ topK: -1 }, { topK: "5" }, { speech: "no" }, { repetitionPenalty: 0 }, { template: "checkpoint" }],
      ...[{ max_tokens: 5 }, { words: ["."] }],
    ];
    for (const options of wrong)
      await expect(reply("Hello!", options as GenerateOptions)).rejects.toThrowError(code("INVALID_ARGUMENT"));
    for (const options of [null, "fast", 5, [], [{}]])
      await expect(collect(model.generate(say("Hello!"), options as never))).rejects.toThrowError(
        code("INVALID_ARGUMENT"),
      );
    const misspelt = (options: object) => reply("Hello!", options as GenerateOptions);
    await expect(misspelt({ maxtokens: 5 })).rejects.toThrow(
      /generate has no option "maxtokens": did you mean "maxTokens"/,
    );
    await expect(misspelt({ words: ["."] })).rejects.toThrow(/generate has no option "words": it takes /);
    for (const name of ["sequenceTokens", "visionTokens", "imagePixels", "audioSeconds"]) {
      for (const limit of [-5, 0, Number.NaN, "x", null, {}]) {
        const request = misspelt({ limits: { [name]: limit } });
        await expect(request).rejects.toThrowError(code("INVALID_ARGUMENT"));
        await expect(request).rejects.toThrow(`generate: limits: ${name} must be a positive`);
      }
    }
    await expect(misspelt({ limits: [] })).rejects.toThrow("generate: limits: options must be an object, got a list");
    await expect(misspelt({ limits: { audioSecond: 5 } })).rejects.toThrow(/did you mean "audioSeconds"/);
    await idleMemory();
  });

  test("refuses a prompt longer than the cache before computing it", async () => {
    await expect(reply("no yes ".repeat(1100))).rejects.toThrowError(code("OUT_OF_MEMORY"));
    await idleMemory();
  });

  test("waits for room in the cache, also in the middle of a reply", async () => {
    const half = model.llm.cache.sequence();
    half.reserve(1536); // leaves 512 tokens
    const prompt = (tokens: number) => "a ".repeat(tokens - 12);
    const alone = content(await reply(prompt(300), { maxTokens: 20 }));
    const first = reply(prompt(300), { maxTokens: 40 });
    const second = reply(prompt(300), { maxTokens: 20 }); // does not fit while the first runs
    expect(content(await second)).toEqual(alone);
    expect(content(await first).steps).toBeGreaterThan(10);
    const before = model.generate(say(prompt(300)), { maxTokens: 20 });
    const seen: GenerateEvent[] = [];
    while (ofType(seen, "text").length === 0) seen.push((await before.next()).value); // it has room
    const growing = reply(prompt(500), { maxTokens: 100 }); // needs more than the 512 tokens
    seen.push(...(await collect(before)));
    expect(content(seen)).toEqual(alone);
    await vi.waitFor(() => expect(model.llm.cache.freeTokens).toBe(0), { timeout: 60_000 });
    half.dispose();
    expect(content(await growing).steps).toBeGreaterThan(12);
    expect(content(await reply(prompt(300), { maxTokens: 20 }))).toEqual(alone);
    await idleMemory();
  });
});
