// Clients that others wrote hold conversations.
import { once } from "node:events";
import { initializeLogger, llm } from "@livekit/agents";
import { realtime as livekit } from "@livekit/agents-plugin-openai";
import { AudioFrame } from "@livekit/rtc-node";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Resampler } from "../../../lib/media/resample.js";
import { pcm16 } from "../../../lib/media/wav.js";
import { atOnce } from "../../../lib/turns.js";
import { scratch } from "../../checkpoint/files.js";
import { speech } from "../../live/speech.js";
import { canCertify, certificate } from "../certificate.js";
import { served, tinyModel } from "../served.js";
import { realtimeUrl } from "./client.js";

const model = await tinyModel();
const folder = scratch();

/** A sentence and a second of silence, as clients send it. */
const sentence = (() => {
  const resampler = atOnce(Resampler.design(16000, 24000));
  return pcm16(Float32Array.from([...resampler.push(speech()), ...resampler.flush(), ...new Float32Array(24_000)]));
})();
const pieces = (bytes: Uint8Array, size = 4800) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size));
/** A reply that is hundreds of tokens long. */
const endless = { temperature: 2, seed: 2 };

describe.skipIf(!canCertify)("openai", () => {
  /** A client over TLS, which alone it speaks, with what it gets. */
  async function connected() {
    const tls = certificate(folder);
    const { server } = await served(model, { tls, apiKey: "sk-right" });
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "sk-right" });
    const realtime = new OpenAIRealtimeWS({ model: "model", options: { ca: tls.cert } }, client);
    onTestFinished(() => realtime.close());
    const types: string[] = [];
    realtime.on("event", ({ type }) => types.push(type));
    realtime.on("error", (error) => types.push(error.message));
    await once(realtime.socket, "open");
    return { realtime, types };
  }
  type Client = Awaited<ReturnType<typeof connected>>["realtime"];
  const done = (realtime: Client) => realtime.emitted("response.done").then(({ response }) => response);

  test("has a text answered", async () => {
    const { realtime, types } = await connected();
    const asked = { output_modalities: ["text" as const], max_output_tokens: 8 };
    realtime.send({ type: "session.update", session: { type: "realtime", ...asked } });
    const content = [{ type: "input_text" as const, text: "Hello!" }];
    realtime.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    realtime.send({ type: "response.create" });
    let text = "";
    realtime.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    const { output } = await done(realtime);
    expect(output).toMatchObject([{ role: "assistant", content: [{ type: "output_text", text }] }]);
    expect([text.length > 0, types.filter((type) => type.includes("error"))]).toEqual([true, []]);
  });

  test("has speech answered with speech, and interrupts it", async () => {
    const { realtime } = await connected();
    realtime.send({ type: "session.update", session: { type: "realtime", ...endless } as never });
    const say = () => {
      for (const piece of pieces(sentence))
        realtime.send({ type: "input_audio_buffer.append", audio: Buffer.from(piece).toString("base64") });
    };
    say();
    const audio = await realtime.emitted("response.output_audio.delta");
    expect(Buffer.from(audio.delta, "base64").length).toBeGreaterThan(1000);
    const ended = done(realtime);
    say();
    expect(await ended).toMatchObject({ status: "cancelled", status_details: { reason: "turn_detected" } });
    await realtime.emitted("response.output_audio.delta"); // the second sentence is answered, too
  });
});

describe("@openai/agents-realtime", () => {
  async function connected() {
    const { server } = await served(model, { apiKey: "sk-right" });
    const agent = new RealtimeAgent({ name: "a", instructions: "Be brief." });
    const session = new RealtimeSession(agent, {
      transport: "websocket",
      model: "model",
      config: { providerData: endless },
      tracingDisabled: true,
    });
    onTestFinished(() => session.close());
    const errors: unknown[] = [];
    session.on("error", ({ error }) => errors.push(error));
    await session.connect({ apiKey: "sk-right", url: realtimeUrl(server, "") });
    const nextAudio = () =>
      new Promise<ArrayBuffer>((resolve) => {
        session.transport.once("audio", ({ data }) => resolve(data));
      });
    return { session, errors, nextAudio };
  }

  test("has a text answered, and keeps the history", async () => {
    const { session, errors, nextAudio } = await connected();
    const audio = nextAudio();
    session.sendMessage("Hello!");
    expect((await audio).byteLength).toBeGreaterThan(1000);
    session.interrupt();
    await vi.waitFor(() => {
      const [user, assistant] = session.history;
      expect(user).toMatchObject({ role: "user", content: [{ type: "input_text", text: "Hello!" }] });
      expect(assistant).toMatchObject({ role: "assistant", status: "incomplete" });
    });
    expect(errors).toEqual([]);
  });

  test("has speech answered with speech, and interrupts it", async () => {
    const { session, errors, nextAudio } = await connected();
    const say = () => {
      for (const piece of pieces(sentence)) session.sendAudio(piece.buffer as ArrayBuffer);
    };
    const audio = nextAudio();
    say();
    await audio;
    const interrupted = new Promise<void>((resolve) => {
      session.once("audio_interrupted", () => resolve());
    });
    const truncated = new Promise<{ audio_end_ms: number }>((resolve) => {
      session.transport.once("conversation.item.truncated", resolve as never);
    });
    say();
    await interrupted;
    expect((await truncated).audio_end_ms).toBeGreaterThanOrEqual(0);
    await nextAudio();
    await vi.waitFor(() => {
      const roles = session.history.map((item) => ("role" in item ? item.role : item.type));
      expect(roles).toEqual(["user", "assistant", "user", "assistant"]);
    });
    expect(errors).toEqual([]);
  });
});

describe("@livekit/agents-plugin-openai", () => {
  initializeLogger({ pretty: false, level: "silent" });

  async function connected() {
    const { server } = await served(model, { apiKey: "sk-right" });
    const realtime = new livekit.RealtimeModel({ baseURL: `${server.url}/v1`, apiKey: "sk-right", model: "model" });
    const session = realtime.session();
    onTestFinished(() => session.close());
    const errors: unknown[] = [];
    session.on("error", ({ error }) => errors.push(error));
    return { session, errors };
  }
  type Generation = llm.GenerationCreatedEvent;

  /** The first message of a reply: its text, and the samples of its speech. */
  async function read(generation: Generation, onFrame = () => {}) {
    for await (const message of generation.messageStream) {
      const text = (async () => {
        let joined = "";
        for await (const piece of message.textStream) joined += piece;
        return joined;
      })();
      let samples = 0;
      for await (const frame of message.audioStream) {
        samples += frame.samplesPerChannel;
        onFrame();
      }
      return { id: message.messageId, text: await text, samples };
    }
    throw new Error("there was no message");
  }

  test("has a text answered, on request", async () => {
    const { session, errors } = await connected();
    const context = llm.ChatContext.empty();
    context.addMessage({ role: "user", content: "Hello!" });
    await session.updateChatCtx(context);
    const generation = await session.generateReply("Be brief.");
    expect(generation.userInitiated).toBe(true);
    const { id, text, samples } = await read(generation);
    expect([text.length > 0, samples > 2400]).toEqual([true, true]);
    await vi.waitFor(() => expect(session.chatCtx.items.map((item) => item.id)).toContain(id));
    expect(errors).toEqual([]);
  });

  test("has speech answered with speech, and interrupts it", async () => {
    const { session, errors } = await connected();
    const generations: Generation[] = [];
    const started = vi.fn();
    session.on("generation_created", (generation) => generations.push(generation));
    session.on("input_speech_started", started);
    const say = () => {
      for (const { buffer } of pieces(sentence)) {
        const values = new Int16Array(buffer as ArrayBuffer);
        session.pushAudio(new AudioFrame(values, 24000, 1, values.length));
      }
    };
    say();
    await vi.waitFor(() => expect(generations).toHaveLength(1), { timeout: 30_000 });
    const { id } = await read(generations[0]!, () => void session.interrupt()); // which ends its streams
    await session.truncate({ messageId: id, audioEndMs: 30, modalities: ["audio", "text"] });
    say();
    await vi.waitFor(() => expect(generations).toHaveLength(2), { timeout: 30_000 });
    expect((await read(generations[1]!)).samples).toBeGreaterThan(2400);
    expect(started).toHaveBeenCalledTimes(2);
    expect(errors).toEqual([]);
  });
});
