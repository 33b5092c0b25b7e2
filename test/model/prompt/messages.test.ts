import { describe, expect, it } from "vitest";
import { loadMessages, type Message } from "../../../lib/model/prompt/messages.js";

/** Loads a message from the user, which the type system may not allow. */
const load = (content: unknown) => loadMessages([{ role: "user", content } as Message]);
const image = { width: 1, height: 1, data: new Uint8Array(3) };

describe("loadMessages", () => {
  it("accepts text as the only part of a message", async () => {
    expect(await load("Hi")).toEqual([{ role: "user", content: [{ type: "text", text: "Hi" }] }]);
  });

  it("decodes media", async () => {
    const samples = new Float32Array(800).fill(0.5);
    const video = { frames: [image], fps: 2, audio: { samples, sampleRate: 16000 } };
    const [message] = await load([
      { type: "image", image },
      { type: "audio", audio: { samples, sampleRate: 16000 } },
      { type: "video", video, interleaveAudio: true },
      { type: "video", video },
    ]);
    expect(message!.content).toMatchObject([
      { type: "image", image },
      { type: "audio", samples, name: "message 0, part 1" },
      { type: "video", video: { frameCount: 1, fps: 2 }, samples },
      { type: "video", video: { frameCount: 1, fps: 2 }, samples: null },
    ]);
  });
});

describe("loadMessages refuses", () => {
  it.each<[string, unknown, RegExp]>([
    ["an unknown part", [{ type: "smell" }], /^message 0, part 0: type must be text, .* or speech, got smell$/],
    ["a part without type", [{ text: "Hi" }], /type must be .* got undefined/],
    ["a name that every object has", [{ type: "toString" }], /type must be .* got toString/],
    ["no content", undefined, /^message 0: content must be text or a list of parts, got undefined$/],
    [
      "a misspelt field of a part",
      [{ type: "video", video: { frames: [image], fps: 1 }, interleaveAduio: true }],
      /^message 0, part 0 has no field "interleaveAduio": did you mean "interleaveAudio"\? It takes type, video, /,
    ],
    ["a field of another part", [{ type: "text", text: "Hi", image }], /has no field "image"/],
    [
      "a misspelt field of a segment",
      [{ type: "speech", segments: [{ text: "Hi", code: [] }] }],
      /^message 0, part 0, segment 0 has no field "code": did you mean "codes"/,
    ],
  ])("%s", async (_, content, message) => {
    await expect(load(content)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("an unknown role, and a misspelt field of a message", async () => {
    const messages = (message: object) => loadMessages([message as Message]);
    await expect(messages({ role: "tool", content: "x" })).rejects.toThrow(
      /^message 0: role must be system, user or assistant, got tool$/,
    );
    await expect(messages({ role: "user", contents: "x" })).rejects.toThrow(/has no field "contents".* mean "content"/);
  });

  it("media that cannot be decoded, naming the part", async () => {
    const empty = { samples: new Float32Array(0), sampleRate: 16000 };
    await expect(load([{ type: "audio", audio: empty }])).rejects.toThrow(/message 0, part 0: it holds no samples/);
    await expect(load([{ type: "image", image: { pixels: [] } }])).rejects.toThrow(/message 0, part 0 must be a path/);
  });
});
