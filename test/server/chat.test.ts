import type { ChatCompletionChunk } from "openai/resources";
import { describe, expect, test } from "vitest";
import { clientOf, hello, libraryText, post, served, tinyModel } from "./served.js";

const model = await tinyModel();

async function collected(stream: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletionChunk[]> {
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks: readonly ChatCompletionChunk[], index = 0) =>
  chunks
    .flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
    .map(({ delta }) => delta.content ?? "")
    .join("");

describe("a text", () => {
  test("is the library's, whole and streamed", async () => {
    const { client } = await served(model);
    const text = await libraryText(model, "Hello!");
    const whole = await client.chat.completions.create({ ...hello });
    expect(whole).toMatchObject({ object: "chat.completion", model: "model" });
    expect(whole.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(whole.choices).toEqual([
      {
        index: 0,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: null,
        finish_reason: "length",
      },
    ]);
    const chunks = await collected(await client.chat.completions.create({ ...hello, stream: true }));
    expect(textOf(chunks)).toBe(text);
    expect(chunks[0]!.choices[0]!.delta.role).toBe("assistant");
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.map(({ choices }) => choices[0]?.finish_reason).filter(Boolean)).toEqual(["length"]);
    expect(chunks.every((chunk) => !("usage" in chunk))).toBe(true);
  });

  test("follows system and developer messages, and earlier turns", async () => {
    const { client } = await served(model);
    const turns = [
      { role: "user", content: [{ type: "text", text: "Hello!" }] },
      { role: "assistant", content: "Hi." },
      { role: "user", content: "Why?" },
    ] as const;
    const answers = await Promise.all(
      (["system", "developer"] as const).map((role) =>
        client.chat.completions.create({ ...hello, messages: [{ role, content: "Be brief." }, ...turns] as never }),
      ),
    );
    const reply = model.generate([{ role: "system", content: "Be brief." }, ...turns], { speech: false, maxTokens: 8 });
    let text = "";
    for await (const event of reply) if (event.type === "end") text = event.text;
    expect(answers.map(({ choices }) => choices[0]!.message.content)).toEqual([text, text]);
  });

  test("ends before a stop string", async () => {
    const { client } = await served(model);
    const text = await libraryText(model, "Hello!");
    const stop = text.slice(5, 9);
    for (const given of [stop, ["never found", stop]]) {
      const { choices } = await client.chat.completions.create({ ...hello, stop: given });
      expect(choices[0]).toMatchObject({ message: { content: text.slice(0, text.indexOf(stop)).trimEnd() } });
      expect(choices[0]!.finish_reason).toBe("stop");
    }
  });

  test("of two choices differs, and the same seed gives the same ones, whole and streamed", async () => {
    const { client } = await served(model);
    const request = { ...hello, n: 2, temperature: 1.5, seed: -7 };
    const texts = async () => {
      const { choices } = await client.chat.completions.create(request);
      return choices.map(({ message }) => message.content);
    };
    const [first, again] = [await texts(), await texts()];
    expect(first[0]).not.toBe(first[1]);
    expect(again).toEqual(first);
    const chunks = await collected(await client.chat.completions.create({ ...request, stream: true }));
    expect([textOf(chunks, 0), textOf(chunks, 1)]).toEqual(first);
    const others = await Promise.all([1, 2].map(() => client.chat.completions.create({ ...request, seed: null })));
    expect(others[0]!.choices).not.toEqual(others[1]!.choices); // without a seed, each request has its own
  });

  test("has the tokens that were used, and in a stream only if they are wanted", async () => {
    const { client } = await served(model);
    const request = { ...hello, n: 2, temperature: 1, seed: 1 };
    const { usage } = await client.chat.completions.create(request);
    const { prompt_tokens, completion_tokens, total_tokens } = usage!;
    expect(completion_tokens).toBe(16);
    expect(prompt_tokens).toBeGreaterThan(5);
    expect(total_tokens).toBe(prompt_tokens + 16);
    expect(usage!.completion_tokens_details).toMatchObject({ audio_tokens: 0 });
    const wanted = { ...request, stream: true, stream_options: { include_usage: true } } as const;
    const chunks = await collected(await client.chat.completions.create(wanted));
    expect(chunks.pop()).toMatchObject({ choices: [], usage });
    expect(chunks.every((chunk) => chunk.usage === null)).toBe(true);
  });

  test("has the tokens of the prompt that were cached", async () => {
    const { client } = await served(model);
    const messages = [{ role: "user", content: "Say this again, please. ".repeat(30) }] as const;
    const request = { ...hello, messages: [...messages] };
    const create = async () => (await client.chat.completions.create(request)).usage!;
    const [first, second] = [await create(), await create()];
    expect(first.prompt_tokens_details!.cached_tokens).toBe(0);
    const { cached_tokens } = second.prompt_tokens_details!;
    expect(cached_tokens).toBe(Math.floor((first.prompt_tokens - 1) / 64) * 64);
    expect(cached_tokens).toBeGreaterThan(0);
    const without = { ...second, prompt_tokens_details: { ...second.prompt_tokens_details, cached_tokens: 0 } };
    expect(without).toEqual(first);
  });

  test("has log-probabilities, the same in a stream", async () => {
    const { client } = await served(model);
    const request = { ...hello, logprobs: true, top_logprobs: 2 } as const;
    const { choices } = await client.chat.completions.create(request);
    const content = choices[0]!.logprobs!.content!;
    expect(content).toHaveLength(8);
    const bytes = content.flatMap((token) => token.bytes ?? []);
    expect(Buffer.from(bytes).toString().trim()).toBe(choices[0]!.message.content);
    for (const { logprob, top_logprobs } of content) {
      expect(top_logprobs).toHaveLength(2);
      expect(top_logprobs[0]!.logprob).toBe(logprob); // the likeliest token was taken
    }
    const chunks = await collected(await client.chat.completions.create({ ...request, stream: true }));
    expect(chunks.flatMap((chunk) => chunk.choices[0]!.logprobs?.content ?? [])).toEqual(content);
  });
});

test("a stream ends with [DONE], and its lines are server-sent events", async () => {
  const { server } = await served(model);
  const response = await post(server, { ...hello, stream: true });
  expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const events = (await response.text()).split("\n\n");
  expect(events.pop()).toBe("");
  expect(events.pop()).toBe("data: [DONE]");
  for (const event of events) expect(JSON.parse(event.replace(/^data: /, ""))).toHaveProperty("choices");
});

test("fields without an effect are named in the response", async () => {
  const { server } = await served(model);
  const ignored = { user: "me", tools: [{ type: "function" }], store: null };
  for (const stream of [false, true]) {
    const response = await post(server, { ...hello, ...ignored, tool_choice: "auto", frequency_penalty: 0, stream });
    expect(response.status).toBe(200);
    expect(response.headers.get("caracal-ignored")).toBe("tools, user");
    await response.text();
  }
});

test("the model is listed", async () => {
  const { client, server } = await served(model, { modelName: "omni/small" });
  expect((await client.models.list()).data).toMatchObject([{ id: "omni/small", object: "model" }]);
  expect(await client.models.retrieve("omni/small")).toMatchObject({ id: "omni/small" });
  await expect(client.models.retrieve("other")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  await expect(clientOf(server).chat.completions.create({ ...hello })).rejects.toMatchObject({ status: 404 });
});
