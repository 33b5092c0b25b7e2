import { stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { buildPrompt } from "../../../lib/model/prompt/build.js";
import { loadMessages } from "../../../lib/model/prompt/messages.js";
import { unitFrames } from "../../../lib/model/vision/unitFrames.js";
import { hasFfmpeg, rms } from "../../media/inputs.js";
import { limitsOf } from "../vision/limits.js";
import { tinyTokenizer } from "./tinyTokenizer.js";

const sample = (name: string) => join(import.meta.dirname, "../../../samples", name);

describe("shipped samples", () => {
  it("are small", async () => {
    for (const [name, bytes] of Object.entries({ "speech.wav": 200e3, "photo.jpg": 120e3, "clip.mp4": 150e3 })) {
      expect((await stat(sample(name))).size, name).toBeLessThan(bytes);
    }
  });

  it("make a prompt of speech and a photo", async () => {
    const messages = await loadMessages([
      {
        role: "user",
        content: [
          { type: "audio", audio: sample("speech.wav") },
          { type: "image", image: sample("photo.jpg") },
        ],
      },
    ]);
    const prompt = await buildPrompt(messages, await tinyTokenizer(), { speech: true, vision: limitsOf() });
    expect(prompt.text).toBe("USER:<|audio|><|audio_pad|>*41<|/audio|><|image_pad|>*512\n\nVOICE ASSISTANT:");
    expect(rms(prompt.audios[0]!.samples)).toBeGreaterThan(0.01);
  });

  it.skipIf(!hasFfmpeg)("make a prompt of video interleaved with its sound", async () => {
    const content = [{ type: "video", video: sample("clip.mp4"), interleaveAudio: true } as const];
    const messages = await loadMessages([{ role: "user", content }]);
    const prompt = await buildPrompt(messages, await tinyTokenizer(), { speech: true, vision: limitsOf() });
    expect(prompt.text).toMatch(
      /^USER:second\{0\.0\}:<\|image_pad\|>\*\d+<\|audio\|><\|audio_pad\|>\*12second\{1\.2\}:.*<\|\/audio\|>\nVOICE ASSISTANT:$/,
    );
    let pairs = 0;
    for await (const [first, second] of unitFrames(prompt.vision)) {
      expect([first.width, first.height, second.width, second.height]).toEqual([288, 288, 288, 288]);
      pairs++;
    }
    expect(pairs).toBe(prompt.vision.length);
  });
});
