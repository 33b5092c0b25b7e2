// What is said to events that are wrong: an error each, and nothing else changes.
import { expect, test } from "vitest";
import { metricsOf, sample, served, tinyModel } from "../served.js";
import { byHand, RealtimeClient } from "./client.js";

const model = await tinyModel();
const message = (content: unknown, role = "user") => ({ type: "message", role, content });
const create = (item: unknown, more = {}) => ({ type: "conversation.item.create", item, ...more });
const hello = message([{ type: "input_text", text: "Hello!" }]);

async function opened(options: object) {
  const { server } = await served(model, options);
  const client = await RealtimeClient.open(server);
  await client.configure(byHand);
  return Object.assign(client, { server });
}

const wrongEvents: Readonly<
  Record<string, readonly [event: unknown, param: string | null, code: string, message?: RegExp]>
> = {
  "no JSON": ["{", null, "invalid_json"],
  "an unfinished string": ['{"type": "', null, "invalid_json"],
  "too many objects": [`[${"[],".repeat(2 ** 18)}[]]`, null, "invalid_value", /more than 262144/],
  "no object": ["null", "type", "invalid_value"],
  "a list": ["[1]", "type", "invalid_value"],
  "no type": [{ event_id: "e" }, "type", "invalid_value"],
  "a type of an object": [{ type: "toString", event_id: "e" }, "type", "invalid_value"],
  "a prototype": [{ type: "__proto__", event_id: "e" }, "type", "invalid_value"],
  "an unknown event": [{ type: "session.delete" }, "type", "invalid_value", /no event "session.delete"/],
  "an event of the server": [{ type: "response.done" }, "type", "invalid_value"],
  "an unknown field": [
    { type: "response.cancel", respons_id: 1 },
    "respons_id",
    "unknown_field",
    /did you mean "response_id"/,
  ],
  "an event_id of another kind": [{ type: "response.cancel", event_id: 5 }, "event_id", "invalid_value"],
  "sound of another kind": [{ type: "input_audio_buffer.append", audio: 5 }, "audio", "invalid_value"],
  "no sound": [{ type: "input_audio_buffer.append" }, "audio", "invalid_value"],
  "sound that is no base64": [{ type: "input_audio_buffer.append", audio: "a*b=" }, "audio", "invalid_base64"],
  "long sound that is no base64": [
    { type: "input_audio_buffer.append", audio: `${"A".repeat(99_999)}*` },
    "audio",
    "invalid_base64",
  ],
  "an item of another kind": [
    create({ type: "function_call_output", call_id: "a", output: "" }),
    "item.type",
    "invalid_value",
    /no tools/,
  ],
  "an item of another role": [create(message([], "tool")), "item.role", "invalid_value"],
  "an item without content": [create(message([])), "item.content", "invalid_value"],
  "a part of another role": [
    create(message([{ type: "output_text", text: "a" }])),
    "item.content[0].type",
    "invalid_value",
  ],
  "an image elsewhere": [
    create(message([{ type: "input_image", image_url: "https://chat.example/a.png" }])),
    "item.content[0].image_url",
    "invalid_value",
    /not fetched/,
  ],
  "an image that is no base64": [
    create(message([{ type: "input_image", image_url: "data:image/png;base64,a*b=" }])),
    "item.content[0].image_url",
    "invalid_base64",
  ],
  "a frame that is no image": [
    { type: "input_video_frame.append", image: "data:image/jpeg;base64,AAAA" },
    null,
    "invalid_media",
  ],
  "a frame elsewhere": [
    { type: "input_video_frame.append", image: "https://chat.example/a" },
    "image",
    "invalid_value",
  ],
  "an unknown item": [{ type: "conversation.item.retrieve", item_id: "a" }, "item_id", "item_retrieve_invalid_item_id"],
  "an unknown item to delete": [
    { type: "conversation.item.delete", item_id: "a" },
    "item_id",
    "item_delete_invalid_item_id",
  ],
  "an unknown item to cut": [
    { type: "conversation.item.truncate", item_id: "a", content_index: 0, audio_end_ms: 0 },
    "item_id",
    "item_truncate_invalid_item_id",
  ],
  "another part to cut": [
    { type: "conversation.item.truncate", item_id: "a", content_index: 1, audio_end_ms: 0 },
    "content_index",
    "invalid_value",
  ],
  "a negative time": [
    { type: "conversation.item.truncate", item_id: "a", content_index: 0, audio_end_ms: -1 },
    "audio_end_ms",
    "invalid_value",
  ],
  "instructions of more tokens than the cache has": [
    update({ instructions: "word ".repeat(20_000) }),
    "session.instructions",
    "context_length_exceeded",
  ],
  "no session": [{ type: "session.update" }, "session", "invalid_value"],
  "another kind of session": [update({ type: "transcription" }), "session.type", "invalid_value"],
  "another model": [
    update({ model: "gpt-realtime" }),
    "session.model",
    "model_not_found",
    /session's model is "model"/,
  ],
  "another rate": [
    update({ audio: { input: { format: { type: "audio/pcm", rate: 8000 } } } }),
    "session.audio.input.format.rate",
    "invalid_value",
  ],
  "another format": [
    update({ audio: { output: { format: { type: "audio/opus" } } } }),
    "session.audio.output.format.type",
    "invalid_value",
  ],
  "another detection": [
    update({ audio: { input: { turn_detection: { type: "none" } } } }),
    "session.audio.input.turn_detection.type",
    "invalid_value",
  ],
  "a timeout": [
    update({ audio: { input: { turn_detection: { type: "server_vad", idle_timeout_ms: 6000 } } } }),
    "session.audio.input.turn_detection.idle_timeout_ms",
    "invalid_value",
  ],
  "a threshold beyond": [
    update({ audio: { input: { turn_detection: { type: "server_vad", threshold: 2 } } } }),
    "session.audio.input.turn_detection.threshold",
    "invalid_value",
  ],
  "a speed": [update({ audio: { output: { speed: 1.5 } } }), "session.audio.output.speed", "invalid_value"],
  "a tool that must be called": [
    update({ tool_choice: "required" }),
    "session.tool_choice",
    "invalid_value",
    /no tools/,
  ],
  "a stored prompt": [update({ prompt: { id: "a" } }), "session.prompt", "invalid_value"],
  "too many tokens": [update({ max_output_tokens: 5000 }), "session.max_output_tokens", "invalid_value"],
  "a penalty of greedy text": [update({ repetition_penalty: 2 }), null, "invalid_value", /temperature above 0/],
  "an old field": [update({ modalities: ["text"] }), "session", "unknown_field"],
  "input in the conversation": [
    { type: "response.create", response: { input: [] } },
    "response.input",
    "unsupported_value",
  ],
  "a long value": [
    { type: "response.create", response: { metadata: { a: "b".repeat(513) } } },
    "response.metadata.a",
    "invalid_value",
  ],
  "many pairs": [
    {
      type: "response.create",
      response: { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`${i}`, ""])) },
    },
    "response.metadata",
    "invalid_value",
  ],
  "text of megabytes": [
    create(message([{ type: "input_text", text: "a".repeat(2 ** 20 + 1) }])),
    "item.content[0].text",
    "invalid_value",
  ],
};
function update(session: object) {
  return { type: "session.update", session };
}

test("what is wrong is answered by errors, and changes nothing", async () => {
  const onError = (error: unknown) => expect.unreachable(String(error));
  const client = await opened({ onError });
  const before = await client.configure({});
  for (const [name, [event, param, code, said = /./]] of Object.entries(wrongEvents)) {
    const named = typeof event === "string" ? event : { event_id: name, ...(event as object) };
    const { error } = await client.ask(named, "error");
    expect(error, name).toMatchObject({ param, code, type: "invalid_request_error" });
    expect(error.message, name).toMatch(said);
    const id = (Object(named) as { event_id?: unknown }).event_id;
    expect(error.event_id, name).toBe(typeof id === "string" ? id : null);
  }
  client.socket.send(Buffer.from(JSON.stringify(hello)), { binary: true });
  expect((await client.next("error")).error.code).toBe("invalid_json");
  expect(await client.configure({})).toEqual(before);
  await client.say("Hello!");
  expect((await client.respond({ max_output_tokens: 3 })).status).toBe("incomplete");
  expect(client.types().filter((type) => type === "conversation.item.added")).toHaveLength(2);
  const values = await metricsOf(client.server);
  expect(values['caracal_realtime_errors_total{code="unknown_field"}']).toBe(2);
});

test("limits of items and images are those of the server", async () => {
  const client = await opened({ limits: { messages: 2, images: 1 } });
  const image = { type: "input_image", image_url: `data:image/jpeg;base64,${sample("photo.jpg")}` };
  expect((await client.ask(create(message([image, image])), "error")).error.message).toMatch(/at most 1 are taken/);
  await client.ask(create(message([image])), "conversation.item.done");
  expect((await client.ask(create(message([image])), "error")).error.message).toMatch(/at most 1 are taken/);
  await client.say("Hello!");
  expect((await client.ask(create(hello), "error")).error.message).toMatch(/at most 2 are taken/);
});
