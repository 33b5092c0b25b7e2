import { describe, expect, it, vi } from "vitest";
import type { RgbImage } from "../../../lib/media/image.js";
import { buildPrompt, type Prompt, type PromptOptions } from "../../../lib/model/prompt/build.js";
import { loadMessages, type Message } from "../../../lib/model/prompt/messages.js";
import { limitsOf } from "../vision/limits.js";
import { tinyTokenizer, tokenizerConfig } from "./tinyTokenizer.js";

const tokenizer = await tinyTokenizer();
const vision = limitsOf({ min_tokens: 16, max_tokens: 64, resize_factor: 2 });
const prompt = async (messages: Message[], options: Partial<PromptOptions> = {}): Promise<Prompt> =>
  buildPrompt(await loadMessages(messages), tokenizer, { speech: true, vision, ...options });
/** The prompt decoded from its ids alone, with `[vN]` and `[aN]` for runs of placeholders. */
const written = async ({ textIds }: Prompt): Promise<string> =>
  (await tokenizer.decode(textIds))
    .replace(/(<\|image_pad\|>)+/g, (run) => `[v${run.length / 13}]`)
    .replace(/(<\|audio_pad\|>)+/g, (run) => `[a${run.length / 13}]`);

const clip = (seconds: number) => ({ samples: new Float32Array(seconds * 16000).fill(0.1), sampleRate: 16000 });
const image = (width: number, height: number): RgbImage => ({
  width,
  height,
  data: new Uint8Array(width * height * 3),
});
const frames = (count: number) => Array.from({ length: count }, () => image(56, 56));

describe("buildPrompt", () => {
  it("writes a voice chat with system prompt and history", async () => {
    const result = await prompt([
      { role: "system", content: "Be kind." },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello!" },
      { role: "user", content: [{ type: "text", text: "Why?" }] },
    ]);
    const expected = [
      "SYSTEM:Be kind.</longcat_s>\n",
      "USER:Hi\n",
      "ASSISTANT:Hello!</longcat_s>\n",
      "USER:Why?\n",
      "VOICE ASSISTANT:",
    ].join("");
    expect(await written(result)).toBe(expected);
    expect(result.text).toBe(expected);
    expect(result.codecIds.length).toBe(result.textIds.length * 4);
    expect(result.codecIds.every((id) => id === 3)).toBe(true);
    expect([result.audioRows.length, result.visionRows.length]).toEqual([0, 0]);
  });

  it("ends a text-only reply's prompt with ASSISTANT:", async () => {
    expect(await written(await prompt([{ role: "user", content: "Hi" }], { speech: false }))).toBe(
      "USER:Hi\nASSISTANT:",
    );
  });

  it("tokenises every piece separately", async () => {
    const pieces = ["USER:", "a", "b", "\n", "VOICE ASSISTANT:"];
    const parts = [{ type: "text", text: "a" } as const, { type: "text", text: "b" } as const];
    const result = await prompt([{ role: "user", content: parts }]);
    expect([...result.textIds]).toEqual((await Promise.all(pieces.map((piece) => tokenizer.encode(piece)))).flat());
  });

  it("places audio and images, and lists the rows they fill", async () => {
    const content: Message["content"] = [
      { type: "audio", audio: clip(1) },
      { type: "image", image: image(100, 60) },
      { type: "text", text: "What?" },
      { type: "audio", audio: clip(0.5) },
    ];
    const result = await prompt([{ role: "user", content }]);
    // 100x60: factor 28 gives 112x56, 8x4 patches, 16 tokens; 16000 samples: 98 frames, 13 tokens
    expect(await written(result)).toBe(
      "USER:<|audio|>[a13]<|/audio|>[v16]\nWhat?<|audio|>[a6]<|/audio|>\nVOICE ASSISTANT:",
    );
    expect(result.text).toBe(
      "USER:<|audio|><|audio_pad|>*13<|/audio|><|image_pad|>*16\nWhat?" +
        "<|audio|><|audio_pad|>*6<|/audio|>\nVOICE ASSISTANT:",
    );
    const rowsOf = (id: number) => [...result.textIds.keys()].filter((row) => result.textIds[row] === id);
    expect([...result.audioRows]).toEqual(rowsOf(tokenizer.specialId("<|audio_pad|>")));
    expect([...result.visionRows]).toEqual(rowsOf(tokenizer.specialId("<|image_pad|>")));
    expect(result.audios.map(({ samples, tokens }) => [samples.length, tokens])).toEqual([
      [16000, 13],
      [8000, 6],
    ]);
    expect(result.vision).toMatchObject([
      {
        frames: null,
        inputSize: { height: 56, width: 112 },
        patches: { height: 4, width: 8 },
        tokenGrid: { height: 4, width: 4 },
        tokens: 16,
      },
    ]);
  });

  it("writes a video as time-stamped units", async () => {
    const result = await prompt([
      { role: "user", content: [{ type: "video", video: { frames: frames(13), fps: 4 } }] },
    ]);
    const times = ["0.3", "0.8", "1.3", "1.8", "2.3", "2.8"];
    const units = times.map((time) => `second{${time}}:[v2]`).join("");
    expect(await written(result)).toBe(`USER:${units}\nVOICE ASSISTANT:`);
    // the middle frames of segments of one frame, except the last five frames
    expect(result.vision.flatMap((unit) => unit.frames!)).toEqual([1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7]);
    expect(result.visionRows.length).toBe(12);
  });

  it("interleaves a video with its own sound, or with other audio", async () => {
    const video = { frames: frames(12), fps: 4, audio: clip(3) };
    const expected =
      "USER:second{0.0}:[v8]<|audio|>[a12]second{1.2}:[v8][a13]second{2.5}:[v8][a13]<|/audio|>\nVOICE ASSISTANT:";
    const own = await prompt([{ role: "user", content: [{ type: "video", video, interleaveAudio: true }] }]);
    expect(await written(own)).toBe(expected);
    expect(own.vision.map((unit) => unit.frames)).toEqual([
      [0, 2],
      [5, 7],
      [10, 11],
    ]);
    const silent = { frames: frames(12), fps: 4 };
    const other = await prompt([
      { role: "user", content: [{ type: "video", video: silent, interleaveAudio: clip(3) }] },
    ]);
    expect(await written(other)).toBe(expected);
    await expect(
      prompt([{ role: "user", content: [{ type: "video", video: silent, interleaveAudio: true }] }]),
    ).rejects.toThrow(/no sound to interleave/);
  });

  it("squeezes all images of a request by one ratio", async () => {
    const limits = limitsOf({
      min_tokens: 16,
      max_tokens: 64,
      resize_factor: 2,
      max_tokens_video: 32,
      min_tokens_video: 4,
    });
    const content = [112, 100, 104].map((side): { type: "image"; image: RgbImage } => ({
      type: "image",
      image: image(side, side),
    }));
    const result = await prompt([{ role: "user", content }], { vision: limits });
    // three times 8x8 patches, 32 tokens each: 96 tokens to 32, ratio 3, at most 10 each
    for (const unit of result.vision) {
      expect(unit.patches).toEqual({ height: 8, width: 8 });
      expect(unit.tokens).toBeLessThanOrEqual(10);
      expect(unit.tokens).toBe(unit.tokenGrid.height * unit.tokenGrid.width);
    }
    expect(result.visionRows.length).toBe(result.vision.reduce((sum, unit) => sum + unit.tokens, 0));
  });

  it("repeats an earlier spoken reply: codes in the rows of the text, acoustic books one row late", async () => {
    const segments = [
      { text: "Hi.", codes: Array.from({ length: 6 * 4 }, (_, i) => i) },
      { text: "Bye", codes: Int32Array.from({ length: 4 * 4 }, (_, i) => 100 + i) },
    ];
    const result = await prompt([
      { role: "user", content: "x" },
      { role: "assistant", content: [{ type: "speech", segments }] },
      { role: "user", content: "y" },
    ]);
    const pad = "<longcat_pad>";
    expect(await written(result)).toBe(
      `USER:x\nVOICE ASSISTANT:Hi.</pause>${pad.repeat(3)}Bye</longcat_s>${pad}\nUSER:y\nVOICE ASSISTANT:`,
    );
    const first = (await tokenizer.encode("USER:x\nVOICE ASSISTANT:")).length;
    const row = (i: number) => [...result.codecIds.subarray((first + i) * 4, (first + i + 1) * 4)];
    expect(row(-1)).toEqual([3, 3, 3, 3]);
    expect(row(0)).toEqual([32, 3, 3, 3]);
    expect(row(1)).toEqual([36, 33, 34, 35]);
    expect(row(6)).toEqual([2, 53, 54, 55]);
    expect(row(7)).toEqual([132, 3, 3, 3]);
    expect(row(11)).toEqual([2, 145, 146, 147]);
    expect(row(12)).toEqual([3, 3, 3, 3]);
  });

  it("leaves text that spells control tokens as text, whoever wrote it", async () => {
    const text = "</longcat_s><image></pause><mask_112><|audio_pad|><|image_pad|>";
    const speech = { type: "speech", segments: [{ text, codes: new Int32Array(400) }] } as const;
    const result = await prompt([
      { role: "system", content: text },
      {
        role: "user",
        content: [
          { type: "text", text },
          { type: "audio", audio: clip(1) },
        ],
      },
      { role: "assistant", content: text },
      { role: "user", content: text },
      { role: "assistant", content: [speech] },
    ]);
    const controls = [...result.textIds].filter((id) => id < 152 && id !== 3);
    expect(controls).toEqual([2, 134, ...new Array(13).fill(136), 135, 2, 2]);
    expect(result.text.split(text).length).toBe(6);
    expect([...result.audioRows].map((row) => result.textIds[row])).toEqual(new Array(13).fill(136));
    expect(result.visionRows.length).toBe(0);
  });

  it("leaves text as text in the checkpoint's chat template too", async () => {
    const chat = await tinyTokenizer({
      ...tokenizerConfig,
      chat_template: "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}",
    });
    const loaded = await loadMessages([{ role: "user", content: "</pause>\uE000</longcat_s>" }]);
    const result = await buildPrompt(loaded, chat, { speech: false, vision, template: "checkpoint" });
    expect([...result.textIds]).toEqual([...(await chat.encode("</pause>\uE000</longcat_s>")), 2]);
    expect(result.text).toBe("</pause>\uE000</longcat_s></longcat_s>");
  });

  it("gives the event loop turns while it encodes long text, and can be aborted", async () => {
    const loaded = await loadMessages([{ role: "user", content: "long text ".repeat(50_000) }]);
    const controller = new AbortController();
    const options = { speech: false, vision, limits: { sequenceTokens: 1e6 }, signal: controller.signal };
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    expect((await buildPrompt(loaded, tokenizer, options)).textIds.length).toBe(500_016);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
    setImmediate(() => controller.abort());
    await expect(buildPrompt(loaded, tokenizer, options)).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("does not encode text that cannot fit", async () => {
    const counting = await tinyTokenizer();
    const encodeSteps = vi.spyOn(counting, "encodeSteps");
    const loaded = await loadMessages([{ role: "user", content: "x".repeat(1e6) }]);
    const options = { speech: false, vision };
    await expect(buildPrompt(loaded, counting, options)).rejects.toThrow(
      /at least 65541 tokens .* at most 34816 are possible \(limits.sequenceTokens\)/,
    );
    expect(encodeSteps.mock.calls.map(([text]) => text)).toEqual(["USER:"]);
    await expect(buildPrompt(loaded, counting, { ...options, positions: 1000 })).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/at least 65541 tokens .* the model has 1000 positions; shorten/),
        details: { tokens: 65541, limit: 1000 },
      }),
    );
  });

  it("does not join text that cannot fit, for a chat template", async () => {
    const chat = await tinyTokenizer({ ...tokenizerConfig, chat_template: "{{ messages[0].content }}" });
    const part = { type: "text", text: "x".repeat(1e6) } as const;
    const options = { speech: false, vision, template: "checkpoint" } as const;
    const refused = { code: "INVALID_ARGUMENT", message: expect.stringMatching(/at least \d+ tokens/) };
    const one = await loadMessages([{ role: "user", content: Array(1000).fill(part) }]); // longer than a string can be
    await expect(buildPrompt(one, chat, options)).rejects.toMatchObject(refused);
    const small = { type: "text", text: "x".repeat(20_000) } as const; // fits, but not twice
    const two = await loadMessages([{ role: "user", content: [small, small] }]);
    await expect(buildPrompt(two, chat, options)).rejects.toMatchObject(refused);
    const many = Array(7000).fill({ role: "user", content: small.text });
    await expect(buildPrompt(await loadMessages(many), chat, options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "prompt: the messages have more than 134217728 characters, too many for a chat template",
    });
  });

  it("uses the checkpoint's chat template on request", async () => {
    const chat = await tinyTokenizer({
      ...tokenizerConfig,
      chat_template:
        "{% for m in messages %}[{{ loop.index0 }}] {{ m.role|upper }}:{{ m.content }} {% endfor %}ASSISTANT:",
    });
    const loaded = await loadMessages([{ role: "user", content: "Hi" }]);
    const result = await buildPrompt(loaded, chat, { speech: false, vision, template: "checkpoint" });
    expect(await written(result)).toBe("[0] USER:Hi ASSISTANT:");
    expect(result.text).toBe("[0] USER:Hi ASSISTANT:");
    const seen = await loadMessages([{ role: "user", content: [{ type: "audio", audio: clip(1) }] }]);
    await expect(buildPrompt(seen, chat, { speech: false, vision, template: "checkpoint" })).rejects.toThrow(
      /type audio is not allowed in a chat template/,
    );
  });
});

describe("buildPrompt refuses", () => {
  const user = (content: Message["content"]): Message[] => [{ role: "user", content }];
  const speech = (codes: number[], text = "a") => [
    { role: "assistant", content: [{ type: "speech", segments: [{ text, codes }] }] } as Message,
  ];
  it.each<[string, Message[], Partial<PromptOptions>, RegExp]>([
    ["no messages", [], {}, /there are no messages/],
    [
      "audio above the limit",
      user([{ type: "audio", audio: clip(121) }]),
      {},
      /lasts 121\.0 s, at most 120 s .* shorten it/,
    ],
    ["audio below one window", user([{ type: "audio", audio: clip(0.02) }]), {}, /part 0: 320 samples are too few/],
    [
      "too many tokens",
      user("x".repeat(300)),
      { limits: { sequenceTokens: 200 } },
      /has at least 305 tokens .*, at most 200/,
    ],
    [
      "too many visual tokens",
      user([{ type: "image", image: image(112, 112) }]),
      { limits: { visionTokens: 1 } },
      /1 images and frame pairs are too many for 1 visual tokens/,
    ],
    [
      "media in a reply",
      [{ role: "assistant", content: [{ type: "audio", audio: clip(1) }] }],
      {},
      /type audio is not allowed/,
    ],
    [
      "speech of the user",
      user([{ type: "speech", segments: [] }]),
      {},
      /type speech is not allowed in a user message/,
    ],
    [
      "a chat template that writes placeholders",
      user("Hi"),
      { template: "checkpoint" },
      /the chat template writes <\|audio_pad\|>, which marks/,
    ],
    ["more speech than fits", speech(new Array(4 * 40_000).fill(0)), {}, /has at least 40016 tokens/],
    ["half a frame", speech([1, 2, 3, 4, 5, 6]), {}, /whole frames of 4 codes/],
    ["a negative code", speech([1, 2, 3, -4]), {}, /message 0, part 0, segment 0: codes\[3\] must .*, got -4/],
    ["a code that is no id", speech([1, 2, 2 ** 31, 4]), {}, /segment 0: codes\[2\] must .*, got 2147483648/],
    ["a code beyond its book", speech([1, 50, 3, 4]), { speechCodes: 50 }, /codes\[1\] must .* from 0 to 49, got 50/],
    ["speech shorter than its text", speech([1, 2, 3, 4], "hello"), {}, /1 frames for 6 text tokens/],
  ])("%s", async (_, messages, options, message) => {
    const chat = await tinyTokenizer({ ...tokenizerConfig, chat_template: "<|audio_pad|>" });
    const request = buildPrompt(await loadMessages(messages), chat, { speech: true, vision, ...options });
    await expect(request).rejects.toThrow(message);
  });
});
