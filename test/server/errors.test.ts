import { describe, expect, test } from "vitest";
import { CaracalError, type ErrorCode } from "../../lib/errors.js";
import { OmniModel } from "../../lib/model/omni.js";
import { errorResponse, problemOf } from "../../lib/server/errors.js";
import { hello, post, sample, samplePath, served, tinyModel } from "./served.js";

const model = await tinyModel();
const user = (...content: unknown[]) => ({ messages: [{ role: "user", content }] });
const assistant = (fields: object) => ({ messages: [...hello.messages, { role: "assistant", ...fields }] });
const image = (url: string) => ({ type: "image_url", image_url: { url } });
const audio = (data: string, format = "wav") => ({ type: "input_audio", input_audio: { data, format } });
const spoken = (audio: unknown, more = {}) => ({ modalities: ["text", "audio"], audio, ...more });

/** Fields that a request must not have, with the field that its error names, and its code. */
const refused: Readonly<
  Record<string, readonly [fields: object, param: string | null, message: RegExp, code?: string]>
> = {
  "an unknown field": [{ max_tokem: 5 }, "max_tokem", /did you mean "max_tokens"\?/, "unknown_field"],
  "an unknown field of a message": [
    { messages: [{ role: "user", content: "a", rol: 1 }] },
    "messages[0]",
    /no field "rol"/,
    "unknown_field",
  ],
  "no messages": [{ messages: [] }, "messages", /./],
  "another role": [{ messages: [{ role: "tool", content: "a" }] }, "messages[0].role", /developer, user or assistant/],
  "content of another kind": [
    { messages: [{ role: "user", content: 5 }] },
    "messages[0].content",
    /text or a list of parts/,
  ],
  "another part": [user({ type: "refusal" }), "messages[0].content[0].type", /input_audio or video_url/],
  "media in a system message": [
    { messages: [{ role: "system", content: [image("data:,")] }] },
    "messages[0].content[0].type",
    /only text/,
  ],
  "an image without base64": [
    user(image("data:image/png,abc")),
    "messages[0].content[0].image_url.url",
    /base64/,
    "invalid_base64",
  ],
  "an image of wrong base64": [
    user(image("data:image/png;base64,ab*d")),
    "messages[0].content[0].image_url.url",
    /no base64/,
    "invalid_base64",
  ],
  "an image that is none": [
    user(image("data:image/png;base64,AAAA")),
    null,
    /no image of a known format/,
    "invalid_media",
  ],
  "sound of another format": [user(audio("AAAA", "opus")), "messages[0].content[0].input_audio.format", /wav/],
  "an assistant without content": [assistant({ content: null }), "messages[1]", /content or audio/],
  "an assistant with both": [
    assistant({ content: "a", audio: { id: "b" } }),
    "messages[1].content",
    /omit the content/,
  ],
  "a spoken reply that nobody gave": [
    assistant({ audio: { id: "b" } }),
    "messages[1].audio.id",
    /no spoken reply "b"/,
    "audio_not_found",
  ],
  "calls of tools": [assistant({ content: "a", tool_calls: [{}] }), "messages[1].tool_calls[0]", /no tools/],
  "a tool that must be called": [{ tools: [{}], tool_choice: "required" }, "tool_choice", /no tools/],
  "a form of replies": [
    { response_format: { type: "json_schema", json_schema: {} } },
    "response_format.type",
    /only text/,
  ],
  "a penalty": [{ presence_penalty: 0.5 }, "presence_penalty", /repetition_penalty/],
  "a bias": [{ logit_bias: { 5: 100 } }, "logit_bias.5", /not supported/],
  "speech without text": [
    { modalities: ["audio"], audio: { voice: "a", format: "wav" } },
    "modalities",
    /\["text", "audio"\]/,
  ],
  "speech without its format": [{ modalities: ["text", "audio"] }, "audio", /go together/],
  "speech as MP3": [spoken({ voice: "alloy", format: "mp3" }), "audio.format", /wav or pcm16/, "unsupported_value"],
  "a stream of WAV": [
    spoken({ voice: "alloy", format: "wav" }, { stream: true }),
    "audio.format",
    /pcm16/,
    "unsupported_value",
  ],
  "options of a stream without one": [{ stream_options: { include_usage: true } }, "stream_options", /stream: true/],
  "likeliest tokens without log-probabilities": [{ top_logprobs: 2 }, "top_logprobs", /logprobs: true/],
  "five stop strings": [{ stop: ["a", "b", "c", "d", "e"] }, "stop", /at most 4/],
  "more choices than the limit": [{ n: 5 }, "n", /<=4/],
  "more tokens than the limit": [{ max_tokens: 5000 }, "max_tokens", /<=4096/],
  "two limits of tokens": [{ max_completion_tokens: 9 }, "max_tokens", /another value/],
  "a penalty of greedy text": [
    { repetition_penalty: 2 },
    null,
    /^repetition_penalty acts on sampled text only: .* top_p or top_k/,
  ],
  "a prompt that is too long": [
    user({ type: "text", text: "word ".repeat(20_000) }),
    null,
    /at least \d+ tokens/,
    "context_length_exceeded",
  ],
  "text of megabytes": [
    user({ type: "text", text: "a".repeat(2 ** 20 + 1) }),
    "messages[0].content[0].text",
    /more than 1048576 bytes/,
  ],
};

describe("a request is refused with", () => {
  test.each(Object.entries(refused))("%s", async (_, [fields, param, message, code = "invalid_value"]) => {
    const { server } = await served(model);
    const response = await post(server, { ...hello, ...fields });
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error).toMatchObject({ type: "invalid_request_error", param, code });
    expect(error.message).toMatch(message);
    expect(response.status).toBe(400);
  });
});

test("limits of messages, images and sound are those of the server", async () => {
  const { server } = await served(model, { limits: { messages: 1, images: 1, audioSeconds: 0.5, imagePixels: 1000 } });
  const photo = image(`data:image/jpeg;base64,${sample("photo.jpg")}`);
  const bodies = {
    "messages: Too big": { messages: [...hello.messages, ...hello.messages] },
    "messages: there are 2 images and videos, at most 1": user(photo, photo),
    "the limit is 1000": user(photo),
    "at most 0.5 s are possible": user(audio(sample("speech.wav"))),
  };
  for (const [message, fields] of Object.entries(bodies)) {
    const response = await post(server, { ...hello, ...fields });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining(message)]);
  }
});

test("a body that is no JSON, too long, or too many objects is refused", async () => {
  const { server } = await served(model, { limits: { bodyBytes: 2 ** 20 } });
  for (const body of ["", "{", "nonsense", '{"a": "', "[1, 2", "\u0000"])
    expect(await post(server, body).then((r) => r.json())).toMatchObject({ error: { code: "invalid_json" } });
  expect((await post(server, "null")).status).toBe(400);
  const huge = await post(server, " ".repeat(2 ** 20 + 1));
  expect([huge.status, await huge.json()]).toMatchObject([413, { error: { code: "request_too_large" } }]);
  const unannounced = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(2 ** 16).fill(32)),
  });
  const stream = { method: "POST", body: unannounced, duplex: "half" } as RequestInit;
  const endless = await fetch(`${server.url}/v1/chat/completions`, stream);
  expect(endless.status).toBe(413);
  for (const body of [`[${"[],".repeat(2 ** 18)}[]]`, '""'.repeat(2 ** 18 + 1)]) {
    const many = await post(server, body);
    expect([many.status, await many.text()]).toEqual([400, expect.stringContaining("more than 262144 brackets")]);
  }
});

test("other routes are unknown", async () => {
  const { server } = await served(model);
  for (const [method, path] of [
    ["POST", "/"],
    ["GET", "/index.html"],
    ["GET", "/v1/chat/completions"],
    ["POST", "/v1/models"],
    ["POST", "/v1/embeddings"],
  ]) {
    const response = await fetch(server.url + path, { method });
    expect([response.status, await response.json()]).toMatchObject([404, { error: { code: "unknown_route" } }]);
  }
});

test("a model that was loaded without a part refuses what needs it", async () => {
  const text = await OmniModel.load(model.checkpoint.directory, {
    ...{ device: model.device, vision: false, audio: false, speech: false },
  });
  const { server } = await served(text);
  for (const fields of [
    user(image(`data:image/jpeg;base64,${sample("photo.jpg")}`)),
    spoken({ voice: "a", format: "wav" }),
  ]) {
    const response = await post(server, { ...hello, ...fields });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining("needs a model with")]);
  }
  await server.close();
  text.dispose();
});

test("the faults of a server are reported to its owner, and not explained to clients", async () => {
  const errors: unknown[] = [];
  const text = await OmniModel.load(model.checkpoint.directory, { device: model.device });
  const { server } = await served(text, { onError: (error) => errors.push(error) });
  const fault = new CaracalError("IO_ERROR", `cannot read ${samplePath("secret")}`);
  text.generate = () => {
    throw fault;
  };
  const response = await post(server, hello);
  expect([response.status, await response.json()]).toEqual([
    500,
    {
      error: {
        message: "the server failed to answer this request",
        type: "server_error",
        param: null,
        code: "internal_error",
      },
    },
  ]);
  expect(errors).toEqual([fault]);
  await server.close();
  text.dispose();
});

test.each<[ErrorCode, Record<string, unknown>, number, string]>([
  ["INVALID_ARGUMENT", {}, 400, "invalid_value"],
  ["INVALID_ARGUMENT", { tokens: 9 }, 400, "context_length_exceeded"],
  ["OUT_OF_MEMORY", { tokens: 9 }, 400, "context_length_exceeded"],
  ["OUT_OF_MEMORY", {}, 503, "out_of_memory"],
  ["MEDIA_INVALID", {}, 400, "invalid_media"],
  ["MISSING_TOOL", {}, 501, "missing_tool"],
  ["UNSUPPORTED", {}, 501, "unsupported"],
  ["DISPOSED", {}, 503, "shutting_down"],
  ["ABORTED", {}, 503, "shutting_down"],
  ["DEVICE_FAULT", {}, 500, "internal_error"],
  ["CHECKPOINT_INVALID", {}, 500, "internal_error"],
])("%s with %o has status %i", (code, details, status, clientCode) => {
  const problem = problemOf(new CaracalError(code, "why", details));
  expect(problem).toMatchObject({ status, code: clientCode });
  expect(problem.message === "why").toBe(status === 400 || status === 501);
  expect(errorResponse(problem).headers.get("retry-after")).toBe(status === 503 ? "1" : null);
});
