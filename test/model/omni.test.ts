import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { OmniLoadProgress } from "../../lib/model/loader.js";
import { type OmniLoadOptions, OmniModel } from "../../lib/model/omni.js";
import type { Message, Part } from "../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../lib/model/reply/events.js";
import { SpeechDecoderStream } from "../../lib/model/speech/stream.js";
import { Device } from "../../lib/tensor/tensor.js";
import { safetensors } from "../checkpoint/files.js";
import { code } from "../support/errors.js";
import { settledMemory } from "../support/garbage.js";
import { tinyDirectory } from "./tinyModel.js";

const directory = await tinyDirectory(2);
const sample = (name: string) => fileURLToPath(new URL(`../../samples/${name}`, import.meta.url));
const photo: Part = { type: "image", image: sample("photo.jpg") };
const question: Part = { type: "audio", audio: sample("speech.wav") };

let device: Device;
/** The memory that the device holds by itself after some work. */
let idle: number;
beforeAll(async () => {
  device = await Device.open({ threads: 2 });
  (await OmniModel.load(directory, { device, kvCacheTokens: 128 })).dispose();
  await device.synchronize();
  idle = device.memory.inUse;
  expect(idle).toBeLessThan(200_000);
});
afterAll(() => device.dispose());

async function answer(model: OmniModel, content: readonly Part[], options = {}) {
  const events: GenerateEvent[] = [];
  for await (const event of model.generate([{ role: "user", content }], { maxTokens: 6, ...options }))
    events.push(event);
  const end = events.at(-1)!;
  if (end.type !== "end") throw new Error(`ended with ${end.type}`);
  return { events, ...end };
}

describe("OmniModel.load", () => {
  test("reports its progress in bytes of the checkpoint", async () => {
    const seen: OmniLoadProgress[] = [];
    const model = await OmniModel.load(directory, { device, kvCacheTokens: 128, onProgress: (p) => seen.push(p) });
    expect(model.synthetic).toBe(true);
    const loaded = seen.map((progress) => progress.loaded);
    expect(loaded).toEqual(loaded.toSorted((a, b) => a - b));
    expect(seen.at(-1)!.loaded).toBe(seen.at(-1)!.total);
    const modules = ["speech decoder", "audio encoder", "vision encoder", "speech heads", "language model"];
    expect([...new Set(seen.map(({ module }) => module))]).toEqual([...modules, "speech embeddings"]);
    model.dispose();
    model.dispose();
    await device.synchronize();
    expect(device.memory.inUse).toBe(idle);
  });

  test("aborted at any point, it frees everything it has loaded", async () => {
    for (const at of [0, 1, 5, 12]) {
      const abort = new AbortController();
      let calls = 0;
      const onProgress = () => {
        if (calls++ === at) abort.abort();
      };
      const options = { device, kvCacheTokens: 128, signal: abort.signal, onProgress };
      await expect(OmniModel.load(directory, options)).rejects.toThrowError(code("ABORTED"));
      await device.synchronize();
      expect(device.memory.inUse).toBe(idle);
    }
    await expect(OmniModel.load(directory, { device, signal: AbortSignal.abort() })).rejects.toThrowError(
      code("ABORTED"),
    );
  });

  test("lists everything that is wrong before memory is spent", async () => {
    const broken = `${directory}-broken`;
    cpSync(directory, broken, { recursive: true });
    rmSync(`${broken}/audio/audio_projector.pt`);
    rmSync(`${broken}/vision/config.json`);
    const error = await OmniModel.load(broken, { device }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "CHECKPOINT_INVALID" });
    expect((error as Error).message).toMatch(
      /audio_projector\.pt[\s\S]*vision\/config\.json|vision\/config\.json[\s\S]*audio_projector\.pt/,
    );
    expect(device.memory.inUse).toBe(idle);
    await expect(OmniModel.load(`${directory}-none`, { device })).rejects.toThrowError(code("CHECKPOINT_INVALID"));
  });

  test("ignores unknown tensors with a warning, unless it is strict", async () => {
    const odd = `${directory}-odd`;
    cpSync(directory, odd, { recursive: true });
    const header = { mystery: { dtype: "U64", shape: [1], data_offsets: [0, 8] } };
    writeFileSync(`${odd}/more.safetensors`, safetensors(header, Buffer.alloc(8)));
    const index = `${odd}/model.safetensors.index.json`;
    const { weight_map } = JSON.parse(readFileSync(index, "utf8"));
    writeFileSync(index, JSON.stringify({ weight_map: { ...weight_map, mystery: "more.safetensors" } }));
    const heard: string[] = [];
    const options = { device, kvCacheTokens: 128, onWarning: (message: string) => heard.push(message) };
    const model = await OmniModel.load(odd, options);
    expect(heard).toEqual([`${odd}: model-*.safetensors: 1 tensor unexpected: "mystery"`]);
    expect(model.checkpoint.warnings).toHaveLength(1);
    model.dispose();
    await expect(OmniModel.load(odd, { ...options, strict: true })).rejects.toThrow(/1 tensor unexpected: "mystery"/);
    expect(heard).toHaveLength(1);
  });

  test("refuses unknown options before anything is read", async () => {
    const misspelt = { prefilChunk: 64 } as OmniLoadOptions;
    await expect(OmniModel.load(`${directory}-none`, misspelt)).rejects.toThrowError(
      /OmniModel.load has no option "prefilChunk": did you mean "prefillChunk"/,
    );
  });
});

describe("values of OmniModel.load's options", () => {
  test.each([
    ...[0, -1, Number.NaN, 1.5, "64", Number.POSITIVE_INFINITY].flatMap((value) => [
      { prefillChunk: value },
      { maxBatch: value },
      { kvCacheTokens: value },
    ]),
    ...[-1, Number.NaN, "10"].map((unreadSeconds) => ({ unreadSeconds })),
    { activations: "f16" },
    { decodeGraphs: 1 },
    { signal: new AbortController() },
  ])("out of range are refused before anything is read: %o", async (options) => {
    const [name] = Object.keys(options) as [string];
    const load = OmniModel.load(`${directory}-none`, options as OmniLoadOptions);
    await expect(load).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(load).rejects.toThrow(new RegExp(`^OmniModel.load: ${name} must be `));
  });
});

describe("OmniModel", () => {
  let model: OmniModel;
  beforeAll(async () => {
    model = await OmniModel.load(directory, { device, kvCacheTokens: 4096 });
  });
  afterAll(() => model.dispose());

  test("answers a spoken question about a photo", async () => {
    const { usage, events } = await answer(model, [question, photo]);
    const { stages } = usage;
    expect(stages["audio encoder"].audioSeconds).toBeCloseTo(3.29, 1);
    expect(stages["audio encoder"].tokens).toBe(Math.ceil(stages["audio encoder"].audioSeconds / 0.08 - 1));
    expect(stages.vision.tokens).toBeGreaterThan(16);
    expect(usage.promptTokens).toBeGreaterThan(stages.vision.tokens + stages["audio encoder"].tokens);
    const order = events.filter((event) => event.type === "stage").map(({ stage }) => stage);
    expect([...new Set(order)]).toEqual(["preprocess", "audio encoder", "vision", "prefill"]);
    expect(usage.audioSeconds).toBeGreaterThan(0);
  });

  test("its reply depends on every input", async () => {
    const said = async (content: readonly Part[]) => {
      const { events } = await answer(model, content, { maxTokens: 8 });
      return events.flatMap((event) => (event.type === "audio" ? [...event.samples] : []));
    };
    const text: Part = { type: "text", text: "Well?" };
    const replies = await Promise.all([
      said([question, photo, text]),
      said([question, text]),
      said([photo, text]),
      said([question, photo, text]),
    ]);
    expect(replies[3]).toEqual(replies[0]);
    expect(replies[1]).not.toEqual(replies[0]);
    expect(replies[2]).not.toEqual(replies[0]);
  });

  test("accepts video, with sound in step or without sound", async () => {
    const clip = sample("clip.mp4");
    const silent = await answer(model, [{ type: "video", video: clip }]);
    expect(silent.usage.stages.vision.tokens).toBeGreaterThan(0);
    expect(silent.usage.stages["audio encoder"].tokens).toBe(0);
    const heard = await answer(model, [{ type: "video", video: clip, interleaveAudio: question.audio }]);
    expect(heard.usage.stages["audio encoder"].tokens).toBeGreaterThan(0);
  });

  test("aborted while audio and images are encoded, it frees everything and remains usable", async () => {
    await answer(model, [question, photo]);
    const before = await settledMemory(device);
    for (const stage of ["preprocess", "audio encoder", "vision"]) {
      const abort = new AbortController();
      const events = model.generate([{ role: "user", content: [question, photo] }], { signal: abort.signal });
      const run = async () => {
        for await (const event of events) if (event.type === "stage" && event.stage === stage) abort.abort();
      };
      await expect(run()).rejects.toThrowError(code("ABORTED"));
      await expect.poll(() => device.memory.inUse).toBe(before); // an image being decoded is completed first
    }
    expect((await answer(model, [question])).usage.steps).toBe(6);
  });

  test("a missing or damaged file ends only its reply", async () => {
    await expect(answer(model, [{ type: "audio", audio: sample("none.wav") }])).rejects.toThrowError(code("IO_ERROR"));
    const image: Part = { type: "image", image: new Uint8Array([1, 2, 3]) };
    await expect(answer(model, [image])).rejects.toThrowError(code("MEDIA_INVALID"));
    expect((await answer(model, [question])).usage.steps).toBe(6);
  });

  test("with bf16 activations, small passes and small batches, replies still equal those made alone", async () => {
    const options = { device, kvCacheTokens: 1024, activations: "bf16", prefillChunk: 16, maxBatch: 2 } as const;
    const narrow = await OmniModel.load(directory, options);
    const questions = ["One", "What is two and two?", "Three times", "Forty-four", "Five"];
    const say = async (text: string) => {
      const { text: reply, usage } = await answer(narrow, [{ type: "text", text }, photo], { maxTokens: 12 });
      return { reply, steps: usage.steps, audio: usage.audioSeconds };
    };
    const alone = [];
    for (const text of questions) alone.push(await say(text));
    expect(await Promise.all(questions.map(say))).toEqual(alone);
    narrow.dispose();
  });

  test("its modules can be used alone", async () => {
    using stream = model.audioEncoder.stream();
    using tokens = stream.push(new Float32Array(32000));
    expect(tokens!.shape[1]).toBe(model.llm.config.hidden_size);
    using sequence = model.llm.cache.sequence();
    using embeddings = model.llm.embed(await model.tokenizer.encode("Hello"));
    using hidden = await model.llm.prefill([{ sequence, embeddings }]);
    using logits = model.llm.logits(hidden);
    expect(logits.shape).toEqual([1, model.llm.config.vocab_size]);
  });

  test("names the speech code of an earlier reply that no book has", async () => {
    const own = await OmniModel.load(directory, { device, kvCacheTokens: 256 });
    const segment = (code: number) => ({ text: "a", codes: [1, 2, 3, 4, 5, code, 7, 8, 1, 2, 3, 4] });
    const answerTo = async (code: number) => {
      const segments = [segment(6), segment(code)];
      const spoken: Message = { role: "assistant", content: [{ type: "speech", segments }] };
      const said: Message = { role: "user", content: "Hi" };
      for await (const _ of own.generate([said, spoken, said], { maxTokens: 2 }));
    };
    const { codes } = own.embedding;
    await answerTo(codes - 1);
    for (const code of [codes, 1e9, 2 ** 40, 0.5]) {
      await expect(answerTo(code)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: `prompt: message 1, part 0, segment 1: codes[5] must be a whole number from 0 to ${codes - 1}, got ${code}`,
      });
    }
    own.dispose();
  });

  test("disposed, it ends its replies and starts no more", async () => {
    const own = await OmniModel.load(directory, { kvCacheTokens: 256 });
    const events = own.generate([{ role: "user", content: "Hello!" }], { maxTokens: 200 });
    await events.next();
    const rest = (async () => {
      for await (const _ of events);
    })();
    own.dispose();
    await expect(rest).rejects.toThrowError(code("DISPOSED"));
    await expect(own.generate([{ role: "user", content: "Hello!" }]).next()).rejects.toThrowError(code("DISPOSED"));
  });

  describe.each([true, false])("disposed while it answers, its device given: %s", (given) => {
    const disposed = { code: "DISPOSED", message: "the model was disposed: load it again" };
    const load = () => OmniModel.load(directory, { kvCacheTokens: 512, ...(given && { device }) });
    const messages: Message[] = [{ role: "user", content: [photo, question] }];

    test("at any stage of the prompt, it says so", async () => {
      const stages = ["preprocess", "audio encoder", "vision", "prefill"];
      const seen: string[] = [];
      for (const stage of stages) {
        const own = await load();
        const run = async () => {
          for await (const event of own.generate(messages, { maxTokens: 200 })) {
            if (event.type !== "stage" || event.stage !== stage) continue;
            seen.push(stage);
            own.dispose();
          }
        };
        await expect(run(), stage).rejects.toMatchObject(disposed);
      }
      expect(seen.filter((stage, i) => stage !== seen[i - 1])).toEqual(stages);
    });

    test("after the last token, while the speech is unfinished, it says so", async () => {
      const own = await load();
      // The decoder's part of the speech waits until the model is disposed.
      const { push } = SpeechDecoderStream.prototype;
      let release = () => {};
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const spy = vi.spyOn(SpeechDecoderStream.prototype, "push").mockImplementation(async function (
        this: SpeechDecoderStream,
        frames,
      ) {
        await released;
        return push.call(this, frames);
      });
      const events = own.generate([{ role: "user", content: "Hello!" }], { maxTokens: 30 });
      const run = (async () => {
        for await (const _ of events);
      })();
      run.catch(() => {});
      await vi.waitFor(() => expect(spy).toHaveBeenCalled());
      await vi.waitFor(() => expect(own.llm.cache.freeTokens).toBe(own.llm.cache.tokens));
      own.dispose();
      release();
      spy.mockRestore();
      await expect(run).rejects.toMatchObject(disposed);
    });
  });
});
