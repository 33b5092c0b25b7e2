import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, test, vi } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import type { GenerateEvent } from "../../lib/model/reply/events.js";
import { hello, libraryText, sample, samplePath, served, tinyModel } from "./served.js";

const model = await tinyModel();
const hasFfmpeg = spawnSync("ffmpeg", ["-version"]).status === 0;
const photo = `data:image/jpeg;base64,${sample("photo.jpg")}`;
const clip = `data:video/mp4;base64,${sample("clip.mp4")}`;
const speaking = { ...hello, modalities: ["text", "audio"] as ["text", "audio"], max_tokens: 60 };
const as = <F extends string>(format: F) => ({ voice: "alloy", format });

const temporary = () => readdirSync(tmpdir()).filter((name) => /^caracal-[a-zA-Z0-9]{6}$/.test(name) && isVideo(name));
const isVideo = (name: string) => existsSync(`${tmpdir()}/${name}/input`);

/** The library's own reply in speech. */
async function librarySpeech() {
  const samples: number[] = [];
  for await (const event of model.generate([{ role: "user", content: "Hello!" }], { maxTokens: 60 })) {
    if (event.type === "audio") samples.push(...event.samples);
    if (event.type === "end") return { samples: Float32Array.from(samples), end: event };
  }
  throw new Error("there was no end");
}

describe("media in a question reach the model:", () => {
  test("an image", async () => {
    const { client } = await served(model);
    const content = [
      { type: "image_url", image_url: { url: photo, detail: "high" } },
      { type: "text", text: "What is this?" },
    ] as const;
    const { choices, usage } = await client.chat.completions.create({
      ...hello,
      messages: [{ role: "user", content: [...content] }],
    });
    const parts = [{ type: "image", image: samplePath("photo.jpg") }, content[1]] as const;
    expect(choices[0]!.message.content).toBe(await libraryText(model, parts));
    expect(usage!.prompt_tokens_details).toMatchObject({ image_tokens: expect.any(Number) });
    const details = usage!.prompt_tokens_details as unknown as Record<string, number>;
    expect(details.image_tokens).toBeGreaterThan(10);
    expect(details.image_tokens! + details.text_tokens!).toBe(usage!.prompt_tokens);
  });

  test("sound", async () => {
    const { client } = await served(model);
    const audio = { type: "input_audio", input_audio: { data: sample("speech.wav"), format: "wav" } } as const;
    const { choices, usage } = await client.chat.completions.create({
      ...hello,
      messages: [{ role: "user", content: [audio] }],
    });
    expect(choices[0]!.message.content).toBe(
      await libraryText(model, [{ type: "audio", audio: samplePath("speech.wav") }]),
    );
    expect(usage!.prompt_tokens_details!.audio_tokens).toBeGreaterThan(10);
  });

  test.skipIf(!hasFfmpeg)("MP3", async () => {
    const { client } = await served(model);
    const args = ["-v", "error", "-i", samplePath("speech.wav"), "-f", "mp3", "pipe:1"];
    const mp3 = spawnSync("ffmpeg", args).stdout;
    const audio = { type: "input_audio", input_audio: { data: mp3.toString("base64"), format: "mp3" } } as const;
    const { choices } = await client.chat.completions.create({
      ...hello,
      messages: [{ role: "user", content: [audio] }],
    });
    expect(choices[0]!.message.content).toBe(await libraryText(model, [{ type: "audio", audio: new Uint8Array(mp3) }]));
  });

  test.skipIf(!hasFfmpeg)("a video, with or without its sound, whose file is removed afterwards", async () => {
    const { client } = await served(model);
    const before = temporary();
    const messages = [{ role: "user", content: [{ type: "video_url", video_url: { url: clip } }] }];
    for (const use_audio_in_video of [false, true]) {
      const request = { ...hello, messages, mm_processor_kwargs: { use_audio_in_video } };
      const { choices } = await client.chat.completions.create(request as never);
      const part = { type: "video", video: samplePath("clip.mp4"), interleaveAudio: use_audio_in_video } as const;
      expect(choices[0]!.message.content).toBe(await libraryText(model, [part]));
    }
    await vi.waitFor(() => expect(temporary()).toEqual(before));
  });
});

describe("a spoken reply", () => {
  test("is a WAV file with its transcript", async () => {
    const { client } = await served(model);
    const { choices, usage } = await client.chat.completions.create({
      ...speaking,
      modalities: ["text", "audio"],
      audio: as("wav"),
    });
    const { samples, end } = await librarySpeech();
    const { content, audio } = choices[0]!.message;
    expect(content).toBeNull();
    expect(audio!.transcript).toBe(end.text);
    const decoded = await loadAudio(Buffer.from(audio!.data, "base64"), { sampleRate: 24000 });
    expect(decoded).toHaveLength(samples.length);
    const errors = samples.map((sample, i) => Math.abs(decoded[i]! - Math.min(1, Math.max(-1, sample))));
    expect(errors.reduce((most, error) => Math.max(most, error), 0)).toBeLessThan(1e-4);
    expect(usage!.completion_tokens).toBe(end.usage.steps);
    expect(usage!.completion_tokens_details!.audio_tokens).toBe(end.usage.stages["speech decoder"].tokens);
  });

  test("streams pieces of 16-bit samples, which are those of the whole", async () => {
    const { client } = await served(model);
    const whole = await client.chat.completions.create({
      ...speaking,
      modalities: ["text", "audio"],
      audio: as("pcm16"),
    });
    const stream = await client.chat.completions.create({
      ...speaking,
      ...{ audio: as("pcm16"), stream: true },
    });
    const deltas: { id?: string; data?: string; transcript?: string; expires_at?: number }[] = [];
    for await (const { choices } of stream) {
      const { audio } = choices[0]!.delta as { audio?: (typeof deltas)[number] };
      if (audio) deltas.push(audio);
    }
    const { audio } = whole.choices[0]!.message;
    const pieces = deltas.flatMap(({ data }) => (data === undefined ? [] : [Buffer.from(data, "base64")]));
    expect(pieces.length).toBeGreaterThan(2);
    expect(pieces.every(({ length }) => length % 2 === 0)).toBe(true);
    expect(Buffer.concat(pieces).toString("base64")).toBe(audio!.data);
    const { samples } = await librarySpeech();
    expect(Buffer.concat(pieces)).toHaveLength(2 * samples.length);
    expect(deltas.map(({ transcript }) => transcript ?? "").join("")).toBe(audio!.transcript);
    expect(new Set(deltas.map(({ id }) => id)).size).toBe(1);
    expect(deltas.at(-1)!.expires_at).toBeGreaterThan(Date.now() / 1000);
  });

  test("can be named in the next turn, whole or streamed", async () => {
    const { client } = await served(model);
    const { choices } = await client.chat.completions.create({ ...speaking, audio: as("wav") });
    const stream = await client.chat.completions.create({ ...speaking, audio: as("pcm16"), stream: true });
    let streamedId = "";
    for await (const { choices } of stream)
      streamedId = (choices[0]!.delta as { audio?: { id: string } }).audio?.id ?? streamedId;
    const { end } = await librarySpeech();
    const turns = [
      { role: "user", content: "Hello!" },
      { role: "assistant", content: [end.speech!] },
      { role: "user", content: "Why?" },
    ] as const;
    let expected: GenerateEvent | undefined;
    for await (const event of model.generate(turns, { speech: false, maxTokens: 8 })) expected = event;
    for (const reply of [choices[0]!.message, { role: "assistant", audio: { id: streamedId } } as const]) {
      const next = await client.chat.completions.create({ ...hello, messages: [turns[0], reply, turns[2]] });
      expect(next.choices[0]!.message.content).toBe((expected as { text: string }).text);
    }
  });

  test("is forgotten when there are more, or after its time", async () => {
    const request = {
      ...speaking,
      modalities: ["text", "audio"] as ["text", "audio"],
      audio: as("pcm16"),
      max_tokens: 8,
    };
    const refusal = { status: 400, code: "audio_not_found", param: "messages[1].audio.id" };
    const next = (id: string) => ({
      ...hello,
      messages: [...hello.messages, { role: "assistant", audio: { id } } as const],
    });
    const { client } = await served(model, { limits: { spokenReplies: 1 } });
    const ids: string[] = [];
    for (let i = 0; i < 2; i++) ids.push((await client.chat.completions.create(request)).choices[0]!.message.audio!.id);
    await expect(client.chat.completions.create(next(ids[0]!))).rejects.toMatchObject(refusal);
    await client.chat.completions.create(next(ids[1]!));
    const { client: forgetful } = await served(model, { limits: { spokenSeconds: 0.001 } });
    const { choices } = await forgetful.chat.completions.create(request);
    await expect(forgetful.chat.completions.create(next(choices[0]!.message.audio!.id))).rejects.toMatchObject(refusal);
  });
});

test("what the library reads from files is not what a request can name", async () => {
  const { client } = await served(model);
  const paths = [
    samplePath("photo.jpg"),
    `file://${samplePath("photo.jpg")}`,
    "https://example.com/photo.jpg",
    "http://127.0.0.1/",
  ];
  for (const url of paths)
    for (const part of [
      { type: "image_url", image_url: { url } },
      { type: "video_url", video_url: { url } },
    ]) {
      const request = { ...hello, messages: [{ role: "user", content: [part] }] };
      const refused = client.chat.completions.create(request as never);
      await expect(refused).rejects.toMatchObject({ status: 400, param: `messages[0].content[0].${part.type}.url` });
      await expect(refused).rejects.toThrow(
        url.startsWith("http") ? /not fetched: send the bytes/ : /must be a data: URI/,
      );
    }
});

test.skipIf(!hasFfmpeg)("an error about a video names its part, and no file of the server", async () => {
  const { client } = await served(model);
  const content = [{ type: "video_url", video_url: { url: "data:video/mp4;base64,AAAA" } }];
  const error = await client.chat.completions
    .create({ ...hello, messages: [{ role: "user", content }] } as never)
    .catch((reason: unknown) => reason);
  expect(error).toMatchObject({ status: 400, code: "invalid_media" });
  expect((error as Error).message).toMatch(/^400 messages\[0\]\.content\[0\]: /);
  expect((error as Error).message).not.toContain(tmpdir());
});
