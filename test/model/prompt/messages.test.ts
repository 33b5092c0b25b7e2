import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { loadMessages, type Message } from "../../../lib/model/prompt/messages.js";
import { code } from "../../support/errors.js";
import { turnsDuring } from "../../support/turns.js";

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

describe("media in the forms of the web platform", () => {
  const pixels = { width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 0, 0, 255) };
  const png = sharp(pixels.data, { raw: { width: 2, height: 1, channels: 3 } }).png();

  it("are read: an ArrayBuffer, a Blob, and a file: URL", async () => {
    const bytes = Uint8Array.from(await png.toBuffer());
    const directory = await mkdtemp(join(tmpdir(), "caracal-messages-"));
    try {
      const path = join(directory, "a picture.png");
      await writeFile(path, bytes);
      const inputs = [bytes, bytes.buffer, new Blob([bytes]), pathToFileURL(path), path];
      const [message] = await load(inputs.map((image) => ({ type: "image", image })));
      expect(message!.content.map((part) => part.type === "image" && [...part.image.data])).toEqual(
        inputs.map(() => [...pixels.data]),
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("a Blob is read within the limit of files, until the signal is aborted, and its errors have a code", async () => {
    const odd = (size: number, arrayBuffer: () => Promise<ArrayBuffer>) =>
      Object.defineProperties(new Blob([]), { size: { value: size }, arrayBuffer: { value: arrayBuffer } });
    const ask = (image: Blob, signal?: AbortSignal) =>
      loadMessages([{ role: "user", content: [{ type: "image", image }] }], signal ? { signal } : {});
    const never = () => new Promise<ArrayBuffer>(() => {});
    const failing = () => Promise.reject(new DOMException("the file changed", "NotReadableError"));
    await expect(ask(odd(2 ** 31, never))).rejects.toThrowError(code("MEDIA_INVALID"));
    await expect(ask(odd(9, never), AbortSignal.timeout(1))).rejects.toThrowError(code("ABORTED"));
    await expect(ask(odd(9, failing))).rejects.toThrowError(code("IO_ERROR"));
  });

  const base64 = `data:image/png;base64,${"A".repeat(140_000)}`;
  it.each<[string, object, RegExp]>([
    ["a data: URL", { type: "image", image: base64 }, /the path of a file, got a URL, data:image.*pass its bytes$/],
    [
      "a web address",
      { type: "video", video: "https://a.example/b.mp4" },
      /got a URL, https:.*b.mp4: read it and pass/,
    ],
    [
      "its URL",
      { type: "image", image: new URL("https://a.example/b.png") },
      /only file: is read, got "https:.*b.png"; read/,
    ],
    [
      "a file on another host",
      { type: "audio", audio: new URL("file://host/a.wav") },
      /^message 0, part 0: File URL host must be/,
    ],
    ["a Buffer as video", { type: "video", video: Buffer.alloc(9) }, /must be a path.* got .*Buffer/],
    ["a stream", { type: "audio", audio: Readable.from([]) }, /must be a path, bytes.* got .*Readable/],
    ["null", { type: "image", image: null }, /part 0 is of type image and needs the field "image", got null$/],
    ["nothing", { type: "audio" }, /part 0 is of type audio and needs the field "audio", got undefined$/],
  ])("%s is refused in a few words", async (_, part, message) => {
    const error: Error = await load([part]).then(
      () => expect.unreachable(),
      (error) => error,
    );
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    expect(error.message.length).toBeLessThan(400);
  });
});

describe("loadMessages refuses", () => {
  it.each<[string, unknown, RegExp]>([
    ["an unknown part", [{ type: "smell" }], /^message 0, part 0: type must be text, .* or speech, got "smell"$/],
    ["a part without type", [{ text: "Hi" }], /type must be .* got undefined/],
    ["a name that every object has", [{ type: "toString" }], /type must be .* got "toString"/],
    ["a part that is text", ["Hi"], /^message 0, part 0 must be a part, such as { type: "text", text }, got "Hi"$/],
    ["a part that is null", [null], /part 0 must be a part, .* got null$/],
    ["text that is no string", [{ type: "text", text: 5 }], /^message 0, part 0: text must be a string, got 5$/],
    ["null as content", null, /^message 0: content must be text or a list of parts, got null$/],
    [
      "one part as content",
      { type: "text", text: "Hi" },
      /must be text or a list of parts, got an object with type, text$/,
    ],
    [
      "segments that are no list",
      [{ type: "speech", segments: {} }],
      /segments must be a list of { text, codes }, got an empty/,
    ],
    [
      "a segment without codes",
      [{ type: "speech", segments: [{ text: "Hi" }] }],
      /codes must be a list of numbers, got undefined/,
    ],
    [
      "too many codes",
      [{ type: "speech", segments: [{ text: "Hi", codes: { length: 1e9 } }] }],
      /1000000000 codes are too many/,
    ],
    [
      "segments that share more codes than any prompt has frames",
      [{ type: "speech", segments: Array(3).fill({ text: "Hi", codes: new Uint8Array(2 ** 18) }) }],
      /segment 2: with it, 786432 codes are too many, at most 524288 are possible/,
    ],
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
      /^message 0: role must be system, user or assistant, got "tool"$/,
    );
    await expect(messages({ role: "user", contents: "x" })).rejects.toThrow(/has no field "contents".* mean "content"/);
  });

  it.each<[string, unknown, RegExp]>([
    ["a string", "Hi", /^messages must be a list of { role, content }, got "Hi"$/],
    ["one message", { role: "user", content: "Hi" }, /^messages must be a list .* got an object with role, content$/],
    ["nothing", undefined, /^messages must be a list .* got undefined$/],
    ["a list of text", ["Hi"], /^message 0 must be { role, content }, got "Hi"$/],
    ["a hole", [undefined, { role: "user", content: "Hi" }], /^message 0 must be { role, content }, got undefined$/],
  ])("%s as messages", async (_, messages, message) => {
    await expect(loadMessages(messages as Message[])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("the second message before it reads the file of the first", async () => {
    const first: Message = { role: "user", content: [{ type: "audio", audio: "no such file" }] };
    const second = { role: "user", content: [{ type: "text" }] } as unknown as Message;
    await expect(loadMessages([first, second])).rejects.toThrow(/^message 1, part 0 is of type text and needs/);
    await expect(loadMessages([first])).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("media that cannot be decoded, naming the part", async () => {
    const empty = { samples: new Float32Array(0), sampleRate: 16000 };
    await expect(load([{ type: "audio", audio: empty }])).rejects.toThrow(/message 0, part 0: it holds no samples/);
    await expect(load([{ type: "image", image: { pixels: [] } }])).rejects.toThrow(/message 0, part 0 must be a path/);
  });
});

describe("hostile messages", () => {
  const boo = new Error("boo");
  const throwing = () => {
    throw boo;
  };
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  it.each<[string, unknown]>([
    [
      "a getter",
      [
        {
          get type() {
            return throwing();
          },
        },
      ],
    ],
    ["a proxy", new Proxy([], { get: throwing })],
    ["a proxy as part", [new Proxy({}, { ownKeys: throwing })]],
    ["codes", [{ type: "speech", segments: [{ text: "", codes: new Proxy([1], { get: throwing }) }] }]],
    ["samples", [{ type: "audio", audio: Object.defineProperty({ sampleRate: 16000 }, "samples", { get: throwing }) }]],
  ])("that throw in %s are passed on", async (_, content) => {
    await expect(load(content)).rejects.toBe(boo);
  });

  it.each<[string, unknown, RegExp]>([
    ["a list in itself", cyclic, /^message 0, part 0 must be a part, .* got a list of 1$/],
    ["a list without end", new Array(2 ** 32 - 1), /^more than 131072 messages, parts and segments are not possible$/],
  ])("%s", async (_, content, message) => {
    await expect(load(content)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("cannot change after the check", async () => {
    let reads = 0;
    const part = {
      type: "text",
      get text() {
        return reads++ === 0 ? "Hi" : throwing();
      },
    };
    expect(await load([part])).toEqual([{ role: "user", content: [{ type: "text", text: "Hi" }] }]);
  });

  it("of great number are read without stopping the event loop, and can be aborted", async () => {
    const messages = Array.from({ length: 100_000 }, (): Message => ({ role: "user", content: "Hi" }));
    expect((await loadMessages(messages)).length).toBe(100_000);
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    await expect(loadMessages(messages, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expect(loadMessages([...messages, ...messages])).rejects.toThrow(/more than 131072 messages/);
  });

  it("give the event loop a turn for each part and segment", async () => {
    const text = Array.from({ length: 50 }, () => ({ type: "text", text: "Hi" }) as const);
    expect(await turnsDuring(() => load(text))).toBeGreaterThanOrEqual(50);
    const segments = Array.from({ length: 50 }, () => ({ text: "Hi", codes: new Uint16Array(4) }));
    const speech = () => loadMessages([{ role: "assistant", content: [{ type: "speech", segments }] }]);
    expect(await turnsDuring(speech)).toBeGreaterThanOrEqual(50);
  });
});
