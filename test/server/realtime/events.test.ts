// Every event of the protocol: the right ones in their order, and what is said to wrong ones.
import { describe, expect, test } from "vitest";
import { pcm16 } from "../../../lib/media/wav.js";
import { speech } from "../../live/speech.js";
import { metricsOf, sample, served, tinyModel } from "../served.js";
import { byHand, exact, RealtimeClient } from "./client.js";

const model = await tinyModel();
const sound = pcm16(speech().slice(0, 16_000));
const endless = { max_output_tokens: 4000, temperature: 2, seed: 2 };
const message = (content: unknown, role = "user") => ({ type: "message", role, content });
const create = (item: unknown, more = {}) => ({ type: "conversation.item.create", item, ...more });
const hello = message([{ type: "input_text", text: "Hello!" }]);

async function opened(session: object = byHand, options = {}) {
  const { server } = await served(model, options);
  const client = await RealtimeClient.open(server);
  await client.configure(session);
  return Object.assign(client, { server });
}

describe("a response", () => {
  const order = (delta: string, done: readonly string[]) => [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    ...[`${delta}.delta`, ...done],
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
  ];

  test("in text is told in order", async () => {
    const client = await opened();
    const user = await client.say("Hello!");
    const from = client.events.length;
    const metadata = { client_event_id: "a", other: "" };
    const done = await client.respond({ output_modalities: ["text"], max_output_tokens: 5, metadata });
    expect(client.types(from)).toEqual(order("response.output_text", ["response.output_text.done"]));
    const [created, added, , part] = client.events.slice(from);
    expect(created!.response).toMatchObject({
      ...{ object: "realtime.response", id: done.id, status: "in_progress", output: [], metadata, usage: null },
      ...{ output_modalities: ["text"], max_output_tokens: 5, conversation_id: expect.stringMatching(/^conv_/) },
    });
    const item = { id: added!.item.id, type: "message", role: "assistant", object: "realtime.item" };
    expect(added!.item).toEqual({ ...item, status: "in_progress", content: [] });
    expect(part!.part).toEqual({ type: "text", text: "" });
    const { text } = client.heard(done.id);
    const whole = { ...item, status: "incomplete", content: [{ type: "output_text", text }] };
    expect(text).not.toBe("");
    const reason = { type: "incomplete", reason: "max_output_tokens" };
    expect(done).toMatchObject({ status: "incomplete", status_details: reason, output: [whole], metadata });
    expect(done.usage).toEqual({
      total_tokens: done.usage.input_tokens + 5,
      input_tokens: expect.any(Number),
      output_tokens: 5,
      input_token_details: { audio_tokens: 0, image_tokens: 0, text_tokens: done.usage.input_tokens, cached_tokens: 0 },
      output_token_details: { text_tokens: 5, audio_tokens: 0 },
    });
    const of = (type: string) => client.events.find((event, i) => i >= from && event.type === type)!;
    expect(of("conversation.item.done")).toMatchObject({ previous_item_id: user, item: whole });
    expect(of("conversation.item.added")).toMatchObject({ previous_item_id: user, item: added!.item });
    const place = { response_id: done.id, item_id: item.id, output_index: 0, content_index: 0 };
    expect(of("response.output_text.done")).toMatchObject({ ...place, text });
    expect(of("response.content_part.done")).toMatchObject({ ...place, part: { type: "text", text } });
    const names = client.events.map(({ event_id }) => event_id);
    expect(new Set(names).size).toBe(names.length);
  });

  test("in speech is told in order, with its words", async () => {
    const client = await opened();
    await client.say("Hello!");
    const from = client.events.length;
    const done = await client.respond({ max_output_tokens: 20 });
    const told = client.events.slice(from);
    const types = told.map(({ type }) => type).filter((type) => !type.endsWith(".delta"));
    expect(types).toEqual(
      order("", ["response.output_audio.done", "response.output_audio_transcript.done"]).filter(
        (type) => type !== ".delta",
      ),
    );
    const { audio, text } = client.heard(done.id);
    expect(audio.length).toBeGreaterThan(2400);
    expect(done.output[0].content).toEqual([{ type: "output_audio", transcript: text }]);
    expect(done.usage.output_token_details.audio_tokens).toBeGreaterThan(0);
    expect(told.find(({ type }) => type === "response.content_part.added")!.part).toEqual({
      type: "audio",
      transcript: "",
    });
  });

  test("is cancelled by the client, and another one follows", async () => {
    const client = await opened();
    await client.say("Hello!");
    client.send({ type: "response.create", response: endless });
    await client.next("response.output_audio.delta");
    client.send({ type: "response.create", event_id: "second" });
    const busy = await client.next("error");
    expect(busy.error).toMatchObject({ code: "conversation_already_has_active_response", event_id: "second" });
    client.send({ type: "response.cancel" });
    const { response } = await client.next("response.done");
    const reason = { type: "cancelled", reason: "client_cancelled" };
    expect(response).toMatchObject({
      status: "cancelled",
      status_details: reason,
      usage: { output_tokens: expect.any(Number) },
    });
    expect(response.output[0].status).toBe("incomplete");
    const late = client.events.slice(client.events.findIndex(({ type }) => type === "response.done") + 1);
    expect(late).toEqual([]);
    const after = await client.respond({ max_output_tokens: 3 });
    expect(after.status).toBe("incomplete");
    client.send({ type: "response.cancel", event_id: "late" });
    const { error } = await client.next("error");
    expect(error).toMatchObject({ code: "response_cancel_not_active", event_id: "late" });
    expect(error.message).toMatch(/^Cancellation failed/);
  });

  test("outside of the conversation leaves it as it is", async () => {
    const client = await opened();
    const first = await client.say("Hello!");
    const from = client.events.length;
    const other = { type: "message", role: "user", content: [{ type: "input_text", text: "Goodbye!" }] };
    const asked = { conversation: "none", output_modalities: ["text"], max_output_tokens: 6, metadata: { topic: "a" } };
    const responses = await Promise.all([
      client.respond({ ...asked, input: [{ type: "item_reference", id: first }, other], instructions: "Be brief." }),
      client.respond(asked),
    ]);
    expect(client.types(from).filter((type) => type.startsWith("conversation"))).toEqual([]);
    const shown = { conversation_id: null, metadata: { topic: "a" }, status: "incomplete" };
    expect(responses).toMatchObject([shown, shown]);
    let text = "";
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hello!" },
      { role: "user", content: "Goodbye!" },
    ] as const;
    for await (const event of model.generate(messages, { speech: false, maxTokens: 6 }))
      if (event.type === "text") text += event.text;
    const texts = responses.map(({ id }) => client.heard(id).text);
    expect(texts).toContain(text);
    expect(texts[0]).not.toBe(texts[1]);
    client.append(sound);
    client.send({ type: "input_audio_buffer.commit" });
    client.send({ type: "response.create", event_id: "spoken", response: asked });
    expect((await client.next("error")).error).toMatchObject({ event_id: "spoken", code: "unsupported_value" });
    client.send({ type: "response.create", response: { ...asked, ...endless, input: [other] } });
    const { response } = await client.next("response.created");
    client.send({ type: "response.cancel", response_id: response.id });
    expect((await client.next("response.done")).response).toMatchObject({ id: response.id, status: "cancelled" });
  });
});

describe("items", () => {
  test("are added with names, retrieved, and deleted", async () => {
    const client = await opened();
    const first = await client.say("Hello!", { id: "mine" });
    expect(first).toBe("mine");
    const image_url = `data:image/jpeg;base64,${sample("photo.jpg")}`;
    const parts = [
      { type: "input_image", image_url },
      { type: "input_audio", audio: Buffer.from(sound).toString("base64"), transcript: "words" },
    ];
    const added = await client.ask(create(message(parts), { previous_item_id: "mine" }), "conversation.item.added");
    expect(added).toMatchObject({ previous_item_id: "mine", item: { status: "completed", role: "user" } });
    expect(added.item.content).toEqual([
      { type: "input_image", detail: "auto" },
      { type: "input_audio", transcript: "words" },
    ]);
    await client.next("conversation.item.done");
    const retrieved = await client.ask(
      { type: "conversation.item.retrieve", item_id: added.item.id },
      "conversation.item.retrieved",
    );
    expect(retrieved.item).toEqual(added.item);
    const deletion = { type: "conversation.item.delete", item_id: added.item.id };
    expect((await client.ask(deletion, "conversation.item.deleted")).item_id).toBe(added.item.id);
    expect((await client.ask(deletion, "error")).error.code).toBe("item_delete_invalid_item_id");
    const { item } = await client.ask(create(hello), "conversation.item.added");
    expect(client.events.at(-1)).toMatchObject({ item: { id: item.id } });
  });

  test("go to the end only", async () => {
    const client = await opened();
    await client.ask(create({ ...hello, id: "a" }, { previous_item_id: "root" }), "conversation.item.done");
    await client.ask(create({ ...hello, id: "b" }, { previous_item_id: "a" }), "conversation.item.done");
    for (const [previous_item_id, code] of [
      ["a", "unsupported_value"],
      ["root", "unsupported_value"],
      ["nowhere", "item_not_found"],
    ])
      expect((await client.ask(create(hello, { previous_item_id }), "error")).error.code).toBe(code);
    expect((await client.ask(create({ ...hello, id: "a" }), "error")).error.param).toBe("item.id");
  });

  test("that cannot be read are taken back", async () => {
    const client = await opened();
    const part = { type: "input_image", image_url: "data:image/png;base64,AAAA" };
    const added = await client.ask(create(message([part]), { event_id: "broken" }), "conversation.item.added");
    expect((await client.next("conversation.item.deleted")).item_id).toBe(added.item.id);
    expect((await client.next("error")).error).toMatchObject({ code: "invalid_media", event_id: "broken" });
    await client.say("Hello!");
    expect(client.events.at(-1)!.previous_item_id).toBe(null);
  });

  test("of speech are cut to what was played", async () => {
    const client = await opened();
    await client.say("Hello!");
    const done = await client.respond({ max_output_tokens: 60, temperature: 2, seed: 2 });
    const { id, content } = done.output[0];
    const milliseconds = client.heard(done.id).audio.length / 48;
    const cut = { type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms: 0 };
    const wrong = await client.ask({ ...cut, audio_end_ms: Math.ceil(milliseconds) + 1 }, "error");
    expect(wrong.error.param).toBe("audio_end_ms");
    const half = Math.floor(milliseconds / 2);
    const truncated = await client.ask({ ...cut, audio_end_ms: half }, "conversation.item.truncated");
    expect(truncated).toMatchObject({ item_id: id, content_index: 0, audio_end_ms: half });
    const retrieve = { type: "conversation.item.retrieve", item_id: id };
    const { item } = await client.ask(retrieve, "conversation.item.retrieved");
    expect(content[0].transcript.startsWith(item.content[0].transcript)).toBe(true);
    expect(item.content[0].transcript.length).toBeLessThan(content[0].transcript.length);
    await client.ask({ ...cut }, "conversation.item.truncated");
    expect((await client.ask(retrieve, "conversation.item.retrieved")).item.content[0].transcript).toBe("");
    const user = await client.say("Hello again!");
    expect((await client.ask({ ...cut, item_id: user }, "error")).error.code).toBe("item_truncate_invalid_item_id");
  });

  test("of a reply in progress are cut or deleted, which ends it", async () => {
    const client = await opened();
    await client.say("Hello!");
    client.send({ type: "response.create", response: endless });
    const first = await client.next("response.output_audio.delta");
    const cut = { type: "conversation.item.truncate", item_id: first.item_id, content_index: 0, audio_end_ms: 30 };
    client.send(cut);
    const { response } = await client.next("response.done");
    expect(response.status_details).toEqual({ type: "cancelled", reason: "client_cancelled" });
    await client.next("conversation.item.truncated");
    client.send({ type: "response.create", response: endless });
    const second = await client.next("response.output_audio.delta");
    client.send({ type: "conversation.item.delete", item_id: second.item_id });
    expect((await client.next("response.done")).response.status).toBe("cancelled");
    expect((await client.next("conversation.item.deleted")).item_id).toBe(second.item_id);
  });
});

describe("the buffer of sound", () => {
  test("is committed, cleared, and empty then", async () => {
    const client = await opened(exact);
    const commit = { type: "input_audio_buffer.commit" };
    const empty = { error: { code: "input_audio_buffer_commit_empty" } };
    expect(await client.ask(commit, "error")).toMatchObject(empty);
    client.append(sound);
    await client.ask({ type: "input_audio_buffer.clear" }, "input_audio_buffer.cleared");
    expect(await client.ask(commit, "error")).toMatchObject(empty);
    client.append(sound);
    const first = await client.ask(commit, "input_audio_buffer.committed");
    expect(first.previous_item_id).toBe(null);
    client.append(sound);
    const second = await client.ask(commit, "input_audio_buffer.committed");
    expect(second.previous_item_id).toBe(first.item_id);
    expect(client.types()).not.toContain("input_audio_buffer.speech_started");
    const values = await metricsOf(client.server);
    expect(values.caracal_realtime_audio_input_seconds_total).toBeCloseTo(3);
  });

  test("takes sound during a reply, which belongs to the turn after it", async () => {
    const client = await opened(exact);
    await client.say("Hello!");
    client.send({ type: "response.create", response: { max_output_tokens: 40 } });
    await client.next("response.output_audio.delta");
    client.append(sound);
    expect((await client.next("response.done")).response.status).not.toBe("cancelled");
    client.append(sound);
    const reply = await client.respond({ max_output_tokens: 4 });
    const committed = await client.ask({ type: "input_audio_buffer.commit" }, "input_audio_buffer.committed");
    expect(committed.previous_item_id).toBe(reply.output[0].id);
  });

  test("holds so many seconds, and says so", async () => {
    const client = await opened(exact, { limits: { waitingSeconds: 0.5 } });
    const audio = Buffer.from(sound).toString("base64");
    const { error } = await client.ask({ type: "input_audio_buffer.append", audio, event_id: "much" }, "error");
    expect(error).toMatchObject({ code: "input_audio_buffer_full", event_id: "much", type: "rate_limit_error" });
    client.append(sound.subarray(0, 8000));
    await client.ask({ type: "input_audio_buffer.commit" }, "input_audio_buffer.committed");
  });

  test("is committed by hand under turn detection as well, without an answer", async () => {
    const input = { format: { type: "audio/pcm", rate: 16000 }, turn_detection: { type: "server_vad" } };
    const client = await opened({ audio: { input } });
    client.append(pcm16(speech()));
    const started = await client.next("input_audio_buffer.speech_started");
    const committed = await client.ask({ type: "input_audio_buffer.commit" }, "input_audio_buffer.committed");
    expect(committed.item_id).toBe(started.item_id);
    await client.next("conversation.item.done");
    const done = await client.respond({ max_output_tokens: 3 });
    expect(client.types()).not.toContain("input_audio_buffer.speech_stopped");
    expect(client.events.filter(({ type }) => type === "response.created")).toHaveLength(1);
    expect(done.status).toBe("incomplete");
  });
});

describe("a session", () => {
  test("says what is in effect", async () => {
    const { server } = await served(model);
    const client = await RealtimeClient.open(server);
    const { session } = await client.next("session.created");
    expect(session).toMatchObject({ object: "realtime.session", type: "realtime", model: "model", instructions: "" });
    expect(session.expires_at).toBeGreaterThan(Date.now() / 1000);
    const pcm = { type: "audio/pcm", rate: 24000 };
    expect(session.audio.output).toEqual({ format: pcm, voice: "default", speed: 1 });
    const vad = { type: "server_vad", threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 };
    const answering = { create_response: true, interrupt_response: true };
    const off = { noise_reduction: null, transcription: null };
    expect(session.audio.input).toEqual({ format: pcm, ...off, turn_detection: { ...vad, ...answering } });
    const changed = await client.configure({
      ...{ instructions: "Be brief.", output_modalities: ["text"], max_output_tokens: 9, temperature: 0.5 },
      audio: {
        input: {
          format: { type: "audio/pcmu" },
          noise_reduction: { type: "near_field" },
          transcription: { model: "whisper-1" },
          turn_detection: { type: "semantic_vad", eagerness: "low", interrupt_response: false },
        },
        output: { format: { type: "audio/pcma" }, voice: "marin" },
      },
      ...{ tools: [{ type: "function", name: "f" }], tool_choice: "auto", tracing: "auto", truncation: "disabled" },
    });
    expect(changed).toMatchObject({ instructions: "Be brief.", output_modalities: ["text"], max_output_tokens: 9 });
    expect(changed).toMatchObject({ tools: [], tool_choice: "none", tracing: null, temperature: 0.5 });
    expect(changed.audio).toEqual({
      input: {
        format: { type: "audio/pcmu" },
        ...off,
        turn_detection: { ...vad, ...answering, interrupt_response: false },
      },
      output: { format: { type: "audio/pcma" }, voice: "marin", speed: 1 },
    });
    const again = await client.configure({});
    expect(again).toEqual(changed);
    expect(await client.configure(again)).toEqual(changed); // what it says, it takes
  });

  test("is told that there are no transcripts", async () => {
    const client = await opened({ audio: { input: { turn_detection: null, transcription: { model: "whisper-1" } } } });
    client.append(sound);
    const { item_id } = await client.ask({ type: "input_audio_buffer.commit" }, "input_audio_buffer.committed");
    const failed = await client.next("conversation.item.input_audio_transcription.failed");
    expect(failed).toMatchObject({ item_id, content_index: 0, error: { code: "unsupported" } });
  });

  test("has the names of events that it had once, on request", async () => {
    const { server } = await served(model);
    const headers = { "OpenAI-Beta": "realtime=v1" };
    const client = await RealtimeClient.open(server, "?model=model", [], { headers });
    const formats = { input_audio_format: "g711_ulaw", output_audio_format: "g711_alaw" };
    const asked = { modalities: ["text", "audio"], voice: "echo", ...formats, turn_detection: null };
    client.send({ type: "session.update", session: { ...asked, max_response_output_tokens: 20 } });
    const { session } = await client.next("session.updated");
    expect(session).toMatchObject({ ...formats, voice: "echo", turn_detection: null, max_response_output_tokens: 20 });
    const { item } = await client.ask(create(hello), "conversation.item.created");
    expect(item.content).toEqual([{ type: "input_text", text: "Hello!" }]);
    const spoken = await client.respond();
    expect(spoken.output[0].content).toEqual([{ type: "audio", transcript: expect.any(String) }]);
    const written = await client.respond({ modalities: ["text"] });
    expect(written.output[0].content).toEqual([{ type: "text", text: expect.any(String) }]);
    const types = new Set(client.types());
    for (const type of [
      "audio.delta",
      "audio.done",
      "audio_transcript.delta",
      "audio_transcript.done",
      "text.delta",
      "text.done",
    ])
      expect(types).toContain(`response.${type}`);
    expect([...types].filter((type) => /output_(audio|text)|item\.(added|done)$/.test(type))).toEqual([
      "response.output_item.added",
      "response.output_item.done",
    ]);
  });
});
