// Models that were loaded without some of their parts.
import { cpSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Llm } from "../../lib/model/language/llm.js";
import { type OmniLoadOptions, OmniModel } from "../../lib/model/omni.js";
import type { Message, Part } from "../../lib/model/prompt/messages.js";
import type { GenerateOptions } from "../../lib/model/reply/options.js";
import { Device } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";
import { tinyDirectory } from "./tinyModel.js";

const directory = await tinyDirectory(2);
const parts = ["vision", "audio", "speech"] as const;
/** The files that each part alone needs. */
const files = {
  vision: ["vision"],
  audio: ["audio_encoder.pt", "audio_projector.pt", "config.json", "global_cmvn", "preprocessor_config.json"].map(
    (name) => `audio/${name}`,
  ),
  speech: ["audio/audio_embeddings.pt", "audio/audio_output_layers.pt", "audio_codec"],
};
const without = (...names: (typeof parts)[number][]): OmniLoadOptions =>
  Object.fromEntries(names.map((name) => [name, false]));

/** A copy of the directory that lacks the files of some parts. */
function bare(...names: (typeof parts)[number][]): string {
  const copy = `${directory}-without-${names.join("-")}`;
  cpSync(directory, copy, { recursive: true });
  for (const file of names.flatMap((name) => files[name])) rmSync(`${copy}/${file}`, { recursive: true });
  return copy;
}

let device: Device;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
});
afterAll(() => device.dispose());

const load = (path: string, options: OmniLoadOptions = {}) =>
  OmniModel.load(path, { device, kvCacheTokens: 1024, ...options });

const image: Part = { type: "image", image: { width: 56, height: 56, data: new Uint8Array(56 * 56 * 3).fill(90) } };
const sound = { samples: Float32Array.from({ length: 16000 }, (_, i) => Math.sin(i / 9) / 3), sampleRate: 16000 };
const audio: Part = { type: "audio", audio: sound };
const video: Part = { type: "video", video: { frames: [image.image as never], fps: 1 }, interleaveAudio: sound };
const spoken: Message = {
  role: "assistant",
  content: [{ type: "speech", segments: [{ text: "a", codes: new Array(40).fill(1) }] }],
};

async function answer(model: OmniModel, messages: Message[], options: GenerateOptions = {}) {
  let samples = 0;
  for await (const event of model.generate(messages, { maxTokens: 8, ...options })) {
    if (event.type === "audio") samples += event.samples.length;
    if (event.type === "end") return { ids: event.ids, samples };
  }
  throw new Error("it did not end");
}
const say = (...content: Part[]): Message => ({ role: "user", content: [{ type: "text", text: "Hi" }, ...content] });

describe("a model of text alone", () => {
  let whole: OmniModel;
  let text: OmniModel;
  beforeAll(async () => {
    whole = await load(directory);
    text = await load(bare(...parts), without(...parts));
  });
  afterAll(() => {
    whole.dispose();
    text.dispose();
  });

  test("writes what the whole model writes, without being asked not to speak", async () => {
    const messages: Message[] = [say(), { role: "assistant", content: "Hello!" }, say()];
    const options = { temperature: 1.5, topK: 0, seed: 4 };
    const { ids, samples } = await answer(text, messages, options);
    expect(ids.length).toBe(8);
    expect({ ids, samples }).toEqual(await answer(whole, messages, { speech: false, ...options }));
  });

  test("refuses, by message and part, what it was not loaded for, and says what to do", async () => {
    const refused = async (messages: Message[], message: RegExp, options: GenerateOptions = {}) => {
      const error = expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
      await expect(answer(text, messages, options)).rejects.toThrow(error);
    };
    await refused(
      [say(image)],
      /^message 0, part 1: image needs a model with vision, .* pass vision: true to OmniModel/,
    );
    await refused([say(), say(video)], /^message 1, part 1: video needs a model with vision/);
    await refused([say(audio)], /^message 0, part 1: audio needs a model with audio, .* pass audio: true/);
    await refused([say(), spoken, say()], /^message 1, part 0: speech needs a model with speech, .* pass speech: true/);
    await refused([say()], /^generate: speech needs a model with speech/, { speech: true });
    await refused([{ role: "user", content: [{ type: "audio", audio: "none.wav" }] }], /needs a model with audio/);
    for (const name of ["vision", "audioEncoder", "audioHeads", "speechDecoder"] as const)
      expect(() => text[name]).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect((await answer(text, [say()])).ids.length).toBe(8);
  });

  test("has the checkpoint without those parts", () => {
    const { vision, audio, speech, codec, llm } = text.checkpoint;
    expect([vision, audio, speech, codec]).toEqual([undefined, undefined, undefined, undefined]);
    expect(llm.tensors.size).toBe(whole.checkpoint.llm.tensors.size);
  });
});

test("the memory of parts that were left out is not taken", async () => {
  const memory = async (open: () => Promise<Disposable>) => {
    await device.synchronize();
    const before = device.memory.inUse;
    using _ = await open();
    await device.synchronize();
    return device.memory.inUse - before;
  };
  const whole = await memory(() => asDisposable(load(directory)));
  const language = await memory(() => Llm.open(directory, { device, kvCacheTokens: 1024 }));
  expect(await memory(() => asDisposable(load(directory, without(...parts))))).toBe(language);
  let saved = 0;
  for (const part of parts) {
    const size = await memory(() => asDisposable(load(directory, without(part))));
    expect(size).toBeLessThan(whole);
    saved += whole - size;
  }
  expect(whole - saved).toBe(language); // each part has its own memory
});

async function asDisposable(loading: Promise<OmniModel>): Promise<Disposable> {
  const model = await loading;
  return { [Symbol.dispose]: () => model.dispose() };
}

describe.each(parts)("without %s", (part) => {
  test("its files may be absent, and everything else works", async () => {
    const model = await load(bare(part), without(part));
    await expect(load(bare(part))).rejects.toThrowError(code("CHECKPOINT_INVALID"));
    const given = { vision: image, audio, speech: { type: "text", text: "" } as Part };
    const messages = [say(...parts.filter((other) => other !== part).map((other) => given[other]))];
    if (part !== "speech") messages.push(spoken, say());
    const { ids, samples } = await answer(model, messages);
    expect(ids.length).toBeGreaterThan(0);
    expect(samples > 0).toBe(part !== "speech");
    model.dispose();
  });
});

test("a video without its sound needs no audio encoder", async () => {
  const model = await load(directory, without("audio"));
  expect((await answer(model, [say({ ...video, interleaveAudio: false } as Part)])).ids.length).toBe(8);
  await expect(answer(model, [say(video)])).rejects.toThrow(/part 1: audio needs a model with audio/);
  model.dispose();
});

test("options that are neither true nor false are refused", async () => {
  for (const name of parts)
    await expect(load(directory, { [name]: "no" } as never)).rejects.toThrow(`OmniModel.load: ${name} must be true or`);
});
