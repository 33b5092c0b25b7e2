import { expect, test } from "vitest";
import { parseVisionConfig } from "../../../lib/checkpoint/config.js";
import type { RgbImage } from "../../../lib/media/image.js";
import { openVideo } from "../../../lib/media/video.js";
import { audioTokenCount, defaultAudioFraming } from "../../../lib/model/audio/framing.js";
import { encodePrompt, type PromptEncoders } from "../../../lib/model/prompt/encode.js";
import { loadMessages, type Part } from "../../../lib/model/prompt/messages.js";
import type { PromptStage } from "../../../lib/model/prompt/progress.js";
import type { Rows } from "../../../lib/model/types.js";
import { VisionEncoder } from "../../../lib/model/vision/encoder.js";
import { unitCount } from "../../../lib/model/vision/plan.js";
import { settledMemory } from "../../support/garbage.js";
import { readGolden } from "../../support/golden.js";
import { devices } from "../../support/modelDevices.js";
import { goldenWeights } from "../goldenWeights.js";
import { tinyTokenizer } from "./tinyTokenizer.js";

const device = devices.at(-1)!;
const limits = { min_tokens: 8, max_tokens: 64, resize_factor: 2, min_tokens_video: 2, max_tokens_video: 8 };

/** A golden vision encoder beside stand-ins for the other modules: a prompt is its visual rows. */
async function encodersOf(name: string): Promise<PromptEncoders> {
  const config = parseVisionConfig({ ...readGolden(name).config, ...limits }, name);
  const vision = await VisionEncoder.load(await goldenWeights(device, name), config);
  const embedding = { prompt: (_ids: unknown, _audio: Rows | undefined, visual: Rows) => visual.slice(0) };
  const llm = { device, config: { max_position_embeddings: 1000 }, cache: { tokens: 1000 } };
  const stubs = {
    embedding,
    llm,
    audioEncoder: {},
    framing: defaultAudioFraming,
    media: null,
  } as unknown as PromptEncoders;
  return { ...stubs, tokenizer: await tinyTokenizer(), vision };
}

const image = (level: number): RgbImage => ({
  height: 112,
  width: 112,
  data: new Uint8Array(112 * 112 * 3).fill(level),
});
const content = [10, 200].map((level) => ({ type: "image", image: image(level) }) as const);

async function encode(encoders: PromptEncoders) {
  const seen: [PromptStage, number, number][] = [];
  const progress = {
    stage: (...report: [PromptStage, number, number]) => void seen.push(report),
    add: () => {},
  };
  const limits = { visionTokens: undefined }; // takes its default
  const options = { speech: false, signal: new AbortController().signal, progress, limits };
  const { embeddings: rows } = await encodePrompt([{ role: "user", content }], encoders, options);
  return { rows, seen };
}

test("visual tokens are squeezed to the limits of the request", async () => {
  const encoders = await encodersOf("vision_merge1");
  const { rows, seen } = await encode(encoders);
  // Two images of 32 tokens each, squeezed to 8 tokens together: grids of 2x2 tokens.
  expect(rows.shape).toEqual([8, 80]);
  expect(seen).toEqual([
    ["preprocess", 0, 1],
    ["preprocess", 1, 1],
    ["vision", 8, 8],
  ]);
  const [unit] = await encoders.vision!.encodeUnits([
    { frames: [content[0]!.image], size: { height: 112, width: 112 }, tokenGrid: { height: 2, width: 2 } },
  ]);
  expect((await rows.toFloat32Array()).subarray(0, 4 * 80)).toEqual(await unit!.tokens.toFloat32Array());
  rows.dispose();
  unit!.tokens.dispose();
});

test("an audio part is measured before it is encoded, a video's sound is not", async () => {
  const encoders = await encodersOf("vision_merge1");
  const audio = { samples: new Float32Array(3 * 16000), sampleRate: 16000 };
  const encodeAudio = (limits: object) => {
    const options = { speech: false, signal: new AbortController().signal, progress: { stage() {}, add() {} }, limits };
    return encodePrompt([{ role: "user", content: [{ type: "audio", audio }] }], encoders, options);
  };
  await expect(encodeAudio({ audioSeconds: 2 })).rejects.toMatchObject({
    code: "MEDIA_INVALID",
    message: expect.stringMatching(/lasts 3\.0 s, at most 2 s are possible; .* raise limits\.audioSeconds$/),
  });
  const long = { samples: new Float32Array(121 * 1000), sampleRate: 1000 };
  const load = (part: Part, audioSeconds: number) =>
    loadMessages([{ role: "user", content: [part] }], { audioSeconds });
  await expect(load({ type: "audio", audio: long }, 120)).rejects.toThrow(/lasts 121\.0 s, at most 120 s/);
  for (const interleaveAudio of [true, long]) {
    const part: Part = { type: "video", video: { frames: [image(1)], fps: 1, audio: long }, interleaveAudio };
    const [message] = await load(part, 120);
    expect(message!.content[0]).toMatchObject({ samples: { length: 121 * 16000 } });
  }
});

test("the media of a prompt together are limited while they are read, so that nothing more is decoded", async () => {
  const encoders = await encodersOf("vision_merge1");
  const missing = { type: "image", image: "/nowhere/missing.png" } as const;
  const ask = (parts: readonly Part[], limits: object) => {
    const options = { speech: false, signal: new AbortController().signal, progress: { stage() {}, add() {} }, limits };
    return encodePrompt([{ role: "user", content: [...parts, missing] }], encoders, options);
  };
  const pixels = 2 * 112 * 112;
  await expect(ask(content, { imagePixels: pixels })).rejects.toMatchObject({ code: "IO_ERROR" });
  await expect(ask(content, { imagePixels: pixels - 1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message:
      `prompt: with message 0, part 1, the images have ${pixels} pixels, at most ${pixels - 1} are possible together; ` +
      "scale them down, or raise limits.imagePixels",
    details: { pixels, limit: pixels - 1 },
  });

  const sound = { samples: new Float32Array(16000), sampleRate: 16000 };
  const video = { frames: [image(1)], fps: 1, audio: sound };
  const parts: Part[] = [
    { type: "audio", audio: sound },
    { type: "video", video, interleaveAudio: true },
  ];
  const tokens = 2 * audioTokenCount(16000);
  await expect(ask(parts, { sequenceTokens: tokens })).rejects.toMatchObject({ code: "IO_ERROR" });
  await expect(ask(parts, { sequenceTokens: tokens - 1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    details: { tokens, limit: tokens - 1 },
  });
});

test("images and frame pairs that no prompt holds are refused while they are read, before any is planned", async () => {
  const encoders = await encodersOf("vision_merge1");
  const ask = (part: Part, count: number, sequenceTokens: number) => {
    const options = { speech: false, signal: new AbortController().signal, progress: { stage() {}, add() {} } };
    const content = new Array<Part>(count).fill(part);
    return encodePrompt([{ role: "user", content }], encoders, { ...options, limits: { sequenceTokens } });
  };
  const video = { frames: new Array<RgbImage>(100).fill(image(1)), fps: 1 };
  const refusal = (units: number, limit: number) =>
    expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/ images and frame pairs of videos, each of at least one token, and the /),
      details: { units, limit },
    });
  const part: Part = { type: "video", video };
  const units = unitCount({ type: "video", video: await openVideo(video), interleaved: false });
  expect(units).toBeGreaterThan(10);
  await expect(ask(part, 100, 5 * units - 1)).rejects.toThrow(refusal(5 * units, 5 * units - 1));
  await expect(ask(content[0]!, 4, 3)).rejects.toThrow(refusal(4, 3));
  // A rate near 0 makes a video of two frames last for ages.
  for (const audio of [undefined, { samples: new Float32Array(16000), sampleRate: 16000 }]) {
    const long = { frames: [image(1), image(2), image(3)], fps: 1e-12, ...(audio && { audio }) };
    const part: Part = { type: "video", video: long, interleaveAudio: audio !== undefined, maxSeconds: Infinity };
    await expect(ask(part, 1, 1000)).rejects.toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/frames of one video are too many, at most 262144/),
      }),
    );
  }
});

test("an encoder that merges patches refuses to squeeze, because its tokens are not in raster order", async () => {
  const encoders = await encodersOf("vision_merge2");
  const before = await settledMemory(device);
  await expect(encode(encoders)).rejects.toThrow(
    expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringMatching(/spatial_merge_size 1/) }),
  );
  expect(await settledMemory(device)).toBe(before);
});
