// OmniModel on the CUDA backend: given an image and speech, it answers in text and speech like on the CPU.
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { OmniModel } from "../../lib/model/omni.js";
import type { Part } from "../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../lib/model/reply/events.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory, tinyLlm } from "../model/tinyModel.js";
import { cuda, devices } from "../support/modelDevices.js";
import { relativeError } from "../support/numbers.js";

const sample = (name: string) => fileURLToPath(new URL(`../../samples/${name}`, import.meta.url));
const content: readonly Part[] = [
  { type: "image", image: sample("photo.jpg") },
  { type: "audio", audio: sample("speech.wav") },
  { type: "text", text: "What is this?" },
];
const directory = await tinyDirectory(2);

async function answer(model: OmniModel) {
  const events: GenerateEvent[] = [];
  const options = { maxTokens: 8, temperature: 0.8, topK: 20, seed: 5 };
  for await (const event of model.generate([{ role: "user", content }], options)) events.push(event);
  const audio = events.flatMap((event) => (event.type === "audio" ? [...event.samples] : []));
  const texts = events.flatMap((event) => (event.type === "text" ? [event.text] : []));
  return { texts, audio: Float32Array.from(audio) };
}

describe.skipIf(!cuda)("OmniModel on CUDA", () => {
  test("replies with the text and speech of the CPU, and frees all memory", { timeout: 240_000 }, async () => {
    const cpu = await OmniModel.load(directory, { device: devices.at(-1)!, kvCacheTokens: 1024 });
    const expected = await answer(cpu);
    cpu.dispose();
    const before = cuda!.memory.inUse;
    const model = await OmniModel.load(directory, { device: cuda!, kvCacheTokens: 1024 });
    const got = await answer(model);
    expect(got.texts).toEqual(expected.texts);
    expect(got.audio.length).toBe(expected.audio.length);
    expect(relativeError(got.audio, expected.audio)).toBeLessThan(1e-3);
    model.dispose();
    await cuda!.synchronize();
    expect(cuda!.memory.inUse).toBe(before);
  });

  test("two replies in a cache for one end whole, with the bits that each has alone", {
    timeout: 240_000,
  }, async () => {
    const model = await OmniModel.load(directory, { device: cuda!, kvCacheTokens: 128 });
    const say = async (text: string) => {
      const options = { speech: false, temperature: 1, seed: 3, maxTokens: 50 };
      const events: GenerateEvent[] = [];
      for await (const event of model.generate([{ role: "user", content: text }], options)) events.push(event);
      const end = events.at(-1) as GenerateEvent & { type: "end" };
      return { text: end.text, steps: end.usage.steps };
    };
    const questions = ["What is the first thing?", "What is the next thing?"];
    const alone = [await say(questions[0]!), await say(questions[1]!)];
    expect(await Promise.all(questions.map(say))).toEqual(alone);
    expect(model.stats().preemptions).toBeGreaterThan(0);
    model.dispose();
  });

  test("a model of text alone writes what the CPU writes, with its log-probabilities", async () => {
    const write = async (device: Device) => {
      const parts = { vision: false, audio: false, speech: false };
      const model = await OmniModel.load(directory, { device, kvCacheTokens: 128, ...parts });
      const options = { temperature: 0.8, topK: 20, seed: 5, maxTokens: 6, logProbabilities: 2 };
      const events: GenerateEvent[] = [];
      for await (const event of model.generate([{ role: "user", content: "Hi" }], options)) events.push(event);
      model.dispose();
      const { ids, logProbabilities } = events.at(-1) as GenerateEvent & { type: "end" };
      return { ids, values: Float32Array.from(logProbabilities!, ({ logProbability }) => logProbability) };
    };
    const [expected, got] = [await write(devices.at(-1)!), await write(cuda!)];
    expect(got.ids).toEqual(expected.ids);
    expect(relativeError(got.values, expected.values)).toBeLessThan(1e-4);
  });

  // Compares hidden states, since bf16 does not decide between tokens that are almost equally likely.
  test("with bf16 activations, the language model agrees with the CPU", async () => {
    const ids = Array.from({ length: 40 }, (_, i) => (i * 7919) % 1000);
    const run = async (device: Device) => {
      using llm = await tinyLlm(device, directory, { activations: "bf16" });
      using sequence = llm.cache.sequence();
      using embeddings = llm.embed(ids);
      using hidden = await llm.prefill([{ sequence, embeddings }], { rows: "all" });
      const rows = [...(await hidden.toFloat32Array())];
      for (const id of [3, 141, 59]) {
        using x = llm.embed([id]);
        using next = llm.decode([sequence], x);
        rows.push(...(await next.toFloat32Array()));
      }
      return Float32Array.from(rows);
    };
    expect(relativeError(await run(cuda!), await run(devices.at(-1)!))).toBeLessThan(0.05);
  });
});
