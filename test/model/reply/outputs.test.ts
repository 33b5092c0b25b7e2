// What the events of a reply hold beside text and sound: token ids, log-probabilities, stop strings, and the spoken reply
// for the next turn.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { OmniModel } from "../../../lib/model/omni.js";
import type { Message } from "../../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../../lib/model/reply/events.js";
import type { GenerateOptions } from "../../../lib/model/reply/options.js";
import { Device, disposeAll } from "../../../lib/tensor/tensor.js";
import { tinyDirectory } from "../tinyModel.js";

const directory = await tinyDirectory();
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

const say = (text: string): Message => ({ role: "user", content: text });

async function reply(messages: Message[], options: GenerateOptions = {}) {
  const events: GenerateEvent[] = [];
  for await (const event of model.generate(messages, { maxTokens: 40, ...options })) events.push(event);
  const end = events.at(-1)!;
  if (end.type !== "end") throw new Error(`ended with ${end.type}`);
  return { end, texts: events.filter((event) => event.type === "text"), events };
}

describe("token ids", () => {
  test.each([true, false])("are all ids that the model wrote, in order; speech: %s", async (speech) => {
    const { end, texts } = await reply([say("Hello!")], { speech });
    expect(end.ids).toHaveLength(end.usage.textTokens);
    const reported = texts.flatMap(({ ids }) => ids);
    expect(end.ids.slice(0, reported.length)).toEqual(reported);
    for (const [i, { tokens }] of texts.entries())
      expect(texts.slice(0, i + 1).flatMap(({ ids }) => ids)).toHaveLength(tokens);
    const text = await model.tokenizer.decode(end.ids);
    expect(
      text
        .replaceAll(".</pause>", ". ")
        .replaceAll(/<\/pause>|<\/longcat_s>/g, "")
        .trim(),
    ).toBe(end.text);
    expect(end.logProbabilities).toBeNull();
    expect(texts[0]!.logProbabilities).toBeNull();
  });
});

describe("log-probabilities", () => {
  /** Of every id of a text reply, by a pass over the language model of its own. */
  async function expected(prompt: string, ids: readonly number[]) {
    const { llm, tokenizer, embedding } = model;
    const pieces = await Promise.all(["USER:", prompt, "\n", "ASSISTANT:"].map((piece) => tokenizer.encode(piece)));
    using sequence = llm.cache.sequence();
    let hidden = await llm.prefill([{ sequence, embeddings: embedding.prompt({ textIds: pieces.flat() }) }]);
    const all: number[][] = [];
    for (const textId of ids) {
      const logits = [...(await llm.logits(hidden).toFloat32Array())];
      const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
      all.push(logits.map((logit) => Math.log(Math.exp(logit) / sum)));
      hidden = llm.decode([sequence], embedding.step([{ textId, codecIds: [-1, -1, -1, -1] }]));
    }
    return all;
  }

  const sampled = {
    speech: false,
    temperature: 1.7,
    topK: 30,
    repetitionPenalty: 1.3,
    seed: 3,
    maxTokens: 12,
  } as const;

  test("are those of the model's distribution, whatever was sampled from", async () => {
    const { end, texts } = await reply([say("Tell me")], { ...sampled, logProbabilities: 5 });
    const rows = await expected("Tell me", end.ids);
    const found = end.logProbabilities!;
    expect(found.map(({ id }) => id)).toEqual(end.ids);
    for (const [i, { id, logProbability, top }] of found.entries()) {
      expect(logProbability).toBeCloseTo(rows[i]![id]!, 5);
      const likeliest = [...rows[i]!.keys()].sort((a, b) => rows[i]![b]! - rows[i]![a]! || a - b).slice(0, 5);
      expect(top.map((token) => token.id)).toEqual(likeliest);
      for (const token of top) expect(token.logProbability).toBeCloseTo(rows[i]![token.id]!, 5);
    }
    expect(found.some(({ id, top }) => id !== top[0]!.id)).toBe(true); // it was sampled
    const reported = texts.flatMap(({ logProbabilities }) => logProbabilities!);
    expect(reported).toEqual(found.slice(0, reported.length));
    expect(texts.every(({ ids, logProbabilities }) => ids.length === logProbabilities!.length)).toBe(true);
  });

  test("change nothing else, and are equal alone and beside other replies", async () => {
    const spoken = { maxTokens: 20, logProbabilities: 3 } as const;
    const plain = await reply([say("Tell me")], sampled);
    const alone = [
      await reply([say("Tell me")], { ...sampled, logProbabilities: true }),
      await reply([say("Who?")], spoken),
    ];
    expect(alone[0]!.end.ids).toEqual(plain.end.ids);
    expect(alone[0]!.end.logProbabilities!.every(({ top }) => top.length === 0)).toBe(true);
    expect(alone[1]!.end.logProbabilities!.map(({ id }) => id)).toEqual(alone[1]!.end.ids);
    const [first, second, other] = await Promise.all([
      reply([say("Tell me")], { ...sampled, logProbabilities: true }),
      reply([say("Who?")], spoken),
      reply([say("Another one, which did not ask")], { maxTokens: 20 }),
    ]);
    expect(first.end.logProbabilities).toEqual(alone[0]!.end.logProbabilities);
    expect(second.end.logProbabilities).toEqual(alone[1]!.end.logProbabilities);
    expect(other.end.logProbabilities).toBeNull();
  });
});

describe("stop strings", () => {
  const options = { speech: false, temperature: 1, topK: 0, seed: 5, maxTokens: 60 } as const;

  test("end the text where the first is complete, within a token or across tokens", async () => {
    const whole = await reply([say("Hello!")], options);
    expect(whole.end.stopString).toBeNull();
    const { text } = whole.end;
    for (const [from, length] of [
      [3, 1],
      [10, 7],
      [20, 15],
    ] as const) {
      const stop = text.slice(from, from + length);
      const cut = text.slice(0, text.indexOf(stop));
      const { end, texts } = await reply([say("Hello!")], { ...options, stop: ["never there", stop] });
      expect(end).toMatchObject({ reason: "stop", stopString: stop, text: cut.trimEnd() });
      expect(texts.map((event) => event.text).join("")).toBe(end.text);
      expect(end.ids).toEqual(whole.end.ids.slice(0, end.ids.length));
      expect(end.usage.steps).toBe(end.ids.length);
      const before = await model.tokenizer.decode(end.ids.slice(0, -1));
      expect(before.trimStart()).not.toContain(stop); // no step was made in vain
    }
    const { end } = await reply([say("Hello!")], { ...options, stop: "never there" });
    expect(end).toMatchObject({ reason: whole.end.reason, stopString: null, text });
  });

  test("end a spoken reply at the same step, with the speech so far", async () => {
    const whole = await reply([say("Hello!")]);
    const stop = whole.end.text.slice(4, 6);
    const { end, events } = await reply([say("Hello!")], { stop });
    expect(end).toMatchObject({ reason: "stop", stopString: stop });
    expect(end.usage.steps).toBeLessThan(whole.end.usage.steps);
    const codes = (part: typeof end.speech) => part?.segments.flatMap((segment) => Array.from(segment.codes)) ?? [];
    expect(codes(whole.end.speech).slice(0, codes(end.speech).length)).toEqual(codes(end.speech));
    const samples = events.flatMap((event) => (event.type === "audio" ? [event.samples.length] : []));
    expect(samples.reduce((sum, length) => sum + length, 0)).toBe((codes(end.speech).length / 4) * 1440);
  });

  test.each([
    ...["", 5, ["a", ""], ["a", 5], "x".repeat(257), new Array(17).fill("a"), null].map((stop) => ({ stop })),
    ...[-1, 21, 0.5, "5", null].map((logProbabilities) => ({ logProbabilities })),
  ])("and log-probabilities out of range are refused: %o", async (wrong) => {
    const name = Object.keys(wrong)[0]!;
    await expect(reply([say("Hi")], wrong as GenerateOptions)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`generate: ${name} must be `),
    });
  });
});

describe("the spoken reply of the end event", () => {
  const pad = 3;
  const endOfSpeech = 2;

  /** Rows of an earlier spoken reply, from the published description: `[text, semantic, acoustic × 3]`. */
  async function spokenRows(segments: readonly { text: string; codes: ArrayLike<number> }[]): Promise<number[][]> {
    const rows: number[][] = [];
    for (const [i, { text, codes }] of segments.entries()) {
      const mark = model.tokenizer.specialId(i < segments.length - 1 ? "</pause>" : "</longcat_s>");
      const textIds = [...(await model.tokenizer.encode(text)), mark];
      const frames = codes.length / 4;
      const semantic = [...Array.from({ length: frames }, (_, t) => codes[4 * t]! + 32), endOfSpeech];
      const acoustic = [1, 2, 3].map((book) => [
        pad,
        ...semantic.slice(0, -1).map((_, t) => codes[4 * t + book]! + 32),
      ]);
      for (const t of semantic.keys()) rows.push([textIds[t] ?? pad, semantic[t]!, ...acoustic.map((ids) => ids[t]!)]);
      expect(textIds.length).toBeLessThanOrEqual(frames + 1);
    }
    return rows;
  }

  test("is a part of the next turn's messages, with the ids that the published code gives it", async () => {
    const first = say("Tell me something.");
    const { end } = await reply([first], { maxTokens: 60 });
    expect(end.speech!.segments.length).toBeGreaterThan(0);
    const seen = vi.spyOn(model.embedding, "prompt");
    const next: Message[] = [first, { role: "assistant", content: [end.speech!] }, say("And then?")];
    const again = await reply(next, { maxTokens: 4 });
    const { textIds, codecIds } = seen.mock.calls[0]![0];
    seen.mockRestore();
    expect(again.end.usage.promptTokens).toBe(textIds.length);

    const encode = async (...pieces: string[]) =>
      (await Promise.all(pieces.map((piece) => model.tokenizer.encode(piece)))).flat();
    const silent = (ids: number[]) => ids.map((id) => [id, pad, pad, pad, pad]);
    const rows = [
      ...silent(await encode("USER:", "Tell me something.", "\n", "VOICE ASSISTANT:")),
      ...(await spokenRows(end.speech!.segments)),
      ...silent(await encode("\n", "USER:", "And then?", "\n", "VOICE ASSISTANT:")),
    ];
    expect([...(textIds as Int32Array)]).toEqual(rows.map(([textId]) => textId));
    expect([...(codecIds as Int32Array)]).toEqual(rows.flatMap((row) => row.slice(1)));
  });

  test("holds the codes that were heard, whose speech the decoder makes again", async () => {
    const { end, events } = await reply([say("Sing")], { maxTokens: 30 });
    const codes = end.speech!.segments.flatMap((segment) => Array.from(segment.codes));
    const frames = Array.from({ length: codes.length / 4 }, (_, t) => codes.slice(4 * t, 4 * t + 4));
    const again = await model.speechDecoder.decode(frames);
    const heard = events.flatMap((event) => (event.type === "audio" ? [...event.samples] : []));
    expect(heard.length).toBe(again.length);
    expect(Math.max(...heard.map((sample, i) => Math.abs(sample - again[i]!)))).toBeLessThan(1e-5);
  });

  test("is null without speech, and when the reply ended before the first frame", async () => {
    expect((await reply([say("Hi")], { speech: false })).end.speech).toBeNull();
    expect((await reply([say("Hi")], { maxTokens: 1 })).end.speech).toBeNull();
  });

  test.each(Array.from({ length: 6 }, (_, seed) => seed))(
    "is accepted wherever the reply ended, seed %i",
    async (seed) => {
      const options = { temperature: 2, topK: 0, seed, maxTokens: 5 + 17 * seed };
      const { end } = await reply([say("Goodbye")], options);
      const history: Message[] = end.speech ? [{ role: "assistant", content: [end.speech] }] : [];
      expect((await reply([say("Goodbye"), ...history, say("Hm")], { maxTokens: 1 })).end.usage.steps).toBe(1);
    },
  );
});

test("a conversation of sound: what the user said in earlier turns is encoded again, beside the spoken answers", async () => {
  const sound = (seconds: number, pitch: number) => ({
    samples: Float32Array.from({ length: 16000 * seconds }, (_, i) => Math.sin(i * pitch) / 2),
    sampleRate: 16000,
  });
  const sounds = [sound(1, 0.05), sound(2, 0.11)] as const;
  const ask = (i: 0 | 1): Message => ({ role: "user", content: [{ type: "audio", audio: sounds[i] }] });
  const { end } = await reply([ask(0)], { maxTokens: 30 });
  const history: Message[] = [ask(0), { role: "assistant", content: [end.speech!] }];

  const { prompt } = model.embedding;
  let rows: Promise<Float32Array> | undefined;
  let ids: ArrayLike<number> = [];
  const spy = vi.spyOn(model.embedding, "prompt").mockImplementation((given, audio, vision) => {
    rows = audio!.toFloat32Array();
    ids = given.textIds;
    return prompt.call(model.embedding, given, audio, vision);
  });
  await reply([...history, ask(1)], { maxTokens: 1 });
  spy.mockRestore();

  const alone = await Promise.all(sounds.map(({ samples }) => model.audioEncoder.encodeSamples(samples)));
  const each = await Promise.all(alone.map((tokens) => tokens.toFloat32Array()));
  expect([...(await rows!)]).toEqual(each.flatMap((values) => [...values]));
  // Each sound has its own run of placeholders, the answer between them.
  const pad = model.tokenizer.specialId("<|audio_pad|>");
  const text = Array.from(ids, (id) => (id === pad ? "x" : ".")).join("");
  expect(text.match(/x+/g)!.map((run) => run.length)).toEqual(alone.map(({ shape }) => shape[0]));
  disposeAll(alone);
});
