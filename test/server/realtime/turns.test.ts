// What is said over the protocol is what the library says.
import { readFileSync } from "node:fs";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { LiveOptions, LiveReplyOptions } from "../../../lib/live/options.js";
import { LiveSession } from "../../../lib/live/session.js";
import { encodeALaw, encodeMuLaw } from "../../../lib/media/g711.js";
import { loadImage, type RgbImage } from "../../../lib/media/image.js";
import { Resampler } from "../../../lib/media/resample.js";
import { pcm16 } from "../../../lib/media/wav.js";
import { atOnce } from "../../../lib/turns.js";
import { speech } from "../../live/speech.js";
import { sample, samplePath, served, tinyModel } from "../served.js";
import { byHand, exact, RealtimeClient } from "./client.js";

const model = await tinyModel();
const samples = speech().slice(0, 40_000);
const text = (value: string) => [{ type: "text", text: value }] as const;

/** A session of the library itself, whose turns end by hand. */
function library(options: LiveOptions) {
  const session = model.live({ detector: null, answer: false, bargeIn: false, ...options });
  return {
    session,
    async hear(values: Float32Array) {
      await session.push(values);
      session.commit();
    },
    /** The whole reply. */
    async respond(asked: LiveReplyOptions = {}) {
      const item = session.respond(asked);
      const pieces: Float32Array[] = [];
      for (let next = await session.next(); !next.done; next = await session.next()) {
        const { value: event } = next;
        if (event.item !== item) continue;
        if (event.type === "audio") pieces.push(event.samples);
        if (event.type === "replyEnd")
          return { samples: Float32Array.from(pieces.flatMap((piece) => [...piece])), text: event.text };
      }
      throw new Error("the session ended");
    },
    [Symbol.dispose]: () => session.dispose(),
  };
}

const resampled = (values: Float32Array, from: number, to: number) => {
  const resampler = atOnce(Resampler.design(from, to));
  return Float32Array.from([...resampler.push(values), ...resampler.flush()]);
};

describe("a spoken turn", () => {
  test("is answered with the library's bits, in whatever pieces it comes", async () => {
    using expected = library({ maxTokens: 30 });
    await expected.hear(samples);
    const reply = await expected.respond();
    const { server } = await served(model);
    for (const piece of [samples.length * 2, 3333]) {
      const client = await RealtimeClient.open(server);
      await client.configure({ ...exact, max_output_tokens: 30 });
      client.append(pcm16(samples), piece);
      const committed = await client.ask({ type: "input_audio_buffer.commit" }, "input_audio_buffer.committed");
      expect((await client.next("conversation.item.done")).item).toMatchObject({
        ...{ id: committed.item_id, role: "user", content: [{ type: "input_audio", transcript: null }] },
      });
      const { id, output } = await client.respond();
      const heard = client.heard(id);
      expect(heard.audio.equals(pcm16(reply.samples))).toBe(true);
      expect([heard.text, output[0].content[0].transcript]).toEqual([reply.text, reply.text]);
      await client.close();
    }
    expect(reply.samples.length).toBeGreaterThan(24_000);
  });

  test("at 24 kHz is what its resampling is, and a reply at 8 kHz as well", async () => {
    const given = pcm16(resampled(samples, 16000, 24000));
    using expected = library({ maxTokens: 30 });
    const values = Float32Array.from(new Int16Array(given.buffer), (value) => value / 32768);
    await expected.hear(resampled(values, 24000, 16000));
    const spoken = resampled((await expected.respond()).samples, 24000, 8000);
    const { server } = await served(model);
    for (const [type, encode] of [
      ["audio/pcmu", encodeMuLaw],
      ["audio/pcma", encodeALaw],
    ] as const) {
      const client = await RealtimeClient.open(server);
      await client.configure({ ...byHand, max_output_tokens: 30 });
      client.append(given, 4801);
      client.send({ type: "input_audio_buffer.commit" });
      const { id, audio } = await client.respond({ audio: { output: { format: { type } } } });
      expect(audio.output.format).toEqual({ type });
      expect(client.heard(id).audio.equals(encode(spoken))).toBe(true);
    }
  });
});

test("a conversation of texts, sound, images and instructions is the library's, reply after reply", async () => {
  const photo = readFileSync(samplePath("photo.jpg"));
  using expected = library({ maxTokens: 12, system: "Be brief." });
  const { session } = expected;
  session.add({ role: "assistant", content: text("Hello, I am the model.") });
  session.add({ role: "user", content: text("Hello!") });
  const replies = [await expected.respond()];
  session.add({ role: "user", content: [...text("What is this?"), { type: "image", image: photo }] });
  replies.push(await expected.respond({ speech: false, temperature: 1, seed: 7 }));
  const clip = { samples: samples.slice(0, 16_000), sampleRate: 16000 };
  session.add({ role: "user", content: [{ type: "audio", audio: clip }] });
  session.add({ role: "system", content: text("Answer loudly.") });
  replies.push(await expected.respond({ maxTokens: 20 }));
  session.update({ system: "Be long." });
  await expected.hear(samples);
  replies.push(await expected.respond());

  const { server } = await served(model);
  const client = await RealtimeClient.open(server);
  const create = (role: string, ...content: object[]) =>
    client.send({ type: "conversation.item.create", item: { type: "message", role, content } });
  await client.configure({ ...exact, instructions: "Be brief.", max_output_tokens: 12 });
  create("assistant", { type: "output_audio", transcript: "Hello, I am the model." });
  create("user", { type: "input_text", text: "Hello!" });
  const ids = [(await client.respond()).id];
  const image_url = `data:image/jpeg;base64,${sample("photo.jpg")}`;
  create("user", { type: "input_text", text: "What is this?" }, { type: "input_image", image_url, detail: "high" });
  ids.push((await client.respond({ output_modalities: ["text"], temperature: 1, seed: 7 })).id);
  const audio = Buffer.from(pcm16(clip.samples)).toString("base64");
  create("user", { type: "input_audio", audio });
  ids.push((await client.respond({ instructions: "Answer loudly.", max_output_tokens: 20 })).id);
  await client.configure({ instructions: "Be long." });
  client.append(pcm16(samples));
  client.send({ type: "input_audio_buffer.commit" });
  ids.push((await client.respond()).id);

  expect(ids.map((id) => client.heard(id).text)).toEqual(replies.map((reply) => reply.text));
  for (const [index, id] of ids.entries())
    expect(client.heard(id).audio.equals(pcm16(replies[index]!.samples)), `reply ${index}`).toBe(true);
  expect(client.events.filter(({ type }) => type === "error")).toEqual([]);
});

test("a frame of a camera is what the session looks at", async () => {
  const look = vi.spyOn(LiveSession.prototype, "look");
  onTestFinished(() => look.mockRestore());
  const { server } = await served(model);
  const client = await RealtimeClient.open(server);
  await client.configure({ ...exact, output_modalities: ["text"], max_output_tokens: 4 });
  client.send({ type: "input_video_frame.append", image: `data:image/jpeg;base64,${sample("photo.jpg")}` });
  client.append(pcm16(samples));
  client.send({ type: "input_audio_buffer.commit" });
  const { usage } = await client.respond();
  const { width, height, data } = await loadImage(samplePath("photo.jpg"));
  const [[frame]] = look.mock.calls as [[RgbImage]];
  expect([frame.width, frame.height, Buffer.compare(frame.data, data)]).toEqual([width, height, 0]);
  expect(look).toHaveBeenCalledTimes(1);
  expect(usage.input_tokens).toBeGreaterThan(0);
  expect(client.events.filter(({ type }) => type === "error")).toEqual([]);
});

test("turns are found in speech, answered by themselves, and interrupted by more of it", async () => {
  const { server } = await served(model);
  const client = await RealtimeClient.open(server);
  const format = { type: "audio/pcm", rate: 16000 };
  const turn_detection = { type: "server_vad", silence_duration_ms: 300, prefix_padding_ms: 200 };
  await client.configure({ audio: { input: { format, turn_detection } }, temperature: 2, seed: 2 }); // a long reply
  const silence = new Float32Array(16_000);
  const spoken = speech();
  client.append(pcm16(Float32Array.from([...spoken, ...silence])), 3200);
  const started = await client.next("input_audio_buffer.speech_started");
  const stopped = await client.next("input_audio_buffer.speech_stopped");
  expect(started.audio_start_ms).toBeGreaterThanOrEqual(0);
  expect(stopped.audio_end_ms).toBeGreaterThan(started.audio_start_ms + 500);
  expect(stopped.audio_end_ms).toBeLessThan((1000 * (spoken.length + silence.length)) / 16_000);
  const committed = await client.next("input_audio_buffer.committed");
  const { item } = await client.next("conversation.item.added");
  expect([started, stopped, committed].map((event) => event.item_id)).toEqual([item.id, item.id, item.id]);
  const { response } = await client.next("response.created");
  await client.next("response.output_audio.delta");
  client.append(pcm16(spoken), 3200);
  const again = await client.next("input_audio_buffer.speech_started");
  expect(again.audio_start_ms).toBeGreaterThan(stopped.audio_end_ms);
  const done = await client.next("response.done");
  expect(done.response).toMatchObject({
    ...{ id: response.id, status: "cancelled", status_details: { type: "cancelled", reason: "turn_detected" } },
  });
});
