// Clients that leave, wait, or are too many: none of them disturbs the others.
import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import type { OmniServer } from "../../lib/server/omniServer.js";
import { endless, hello, libraryText, metricsOf, post, served, tinyModel } from "./served.js";
import { postOf, slowReader } from "./slowReader.js";

const model = await tinyModel();
const idle = { preparing: 0, waiting: 0, active: 0, preempted: 0, unread: 0 };
const untilIdle = () =>
  vi.waitFor(() => expect(model.stats()).toMatchObject({ ...idle, cache: { used: 0 } }), { timeout: 60_000 });
const portOf = (server: OmniServer) => Number(new URL(server.url).port);

/** Begins a long reply, and reads its first chunk. */
async function longReply(server: OmniServer, signal?: AbortSignal) {
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ ...endless, n: 1, stream: true }),
    ...(signal && { signal }),
  });
  expect(response.status).toBe(200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value!;
  return {
    /** The rest, to its end. */
    async rest() {
      for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
      return text;
    },
  };
}

describe("a client that leaves ends its reply", () => {
  test("amid a stream", async () => {
    const { server, client } = await served(model);
    const leaving = new AbortController();
    await longReply(server, leaving.signal);
    expect(model.stats().active).toBe(1);
    leaving.abort();
    await untilIdle();
    const stream = await client.chat.completions.create({ ...endless, stream: true });
    for await (const _ of stream) break; // as the client of OpenAI leaves
    await untilIdle();
    const route = 'caracal_http_requests_total{route="/v1/chat/completions",status="499"}';
    await vi.waitFor(async () => expect(await metricsOf(server)).toMatchObject({ [route]: 2 }));
  });

  test("while it waits for a whole one", async () => {
    const { server } = await served(model);
    const leaving = new AbortController();
    const body = JSON.stringify({ ...endless });
    const whole = fetch(`${server.url}/v1/chat/completions`, { method: "POST", body, signal: leaving.signal });
    await vi.waitFor(() => expect(model.stats().active).toBe(4), { timeout: 60_000 });
    leaving.abort();
    await expect(whole).rejects.toThrow("aborted");
    await untilIdle();
  });
});

test("a client that sends requests before it has the responses is left, and its replies end", async () => {
  const { server } = await served(model);
  const body = JSON.stringify({ ...endless, stream: true });
  const request = `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const socket = connect(portOf(server), "127.0.0.1");
  const closed = once(socket, "close");
  socket.on("error", () => {}); // it is reset
  socket.resume().write(request.repeat(8));
  await closed;
  await untilIdle();
});

test("a client that does not read pauses its reply, not those of others, and is left after a time", async () => {
  const asked = { ...endless, stream: true, logprobs: true, top_logprobs: 20 };
  const request = postOf("/v1/chat/completions", JSON.stringify(asked));
  const { server: patient, client } = await served(model);
  const expected = await libraryText(model, "Hello!");
  {
    using _ = slowReader(portOf(patient), request);
    await vi.waitFor(() => expect(model.stats().unread).toBeGreaterThan(0), { timeout: 60_000 });
    const { choices } = await client.chat.completions.create({ ...hello });
    expect(choices[0]!.message.content).toBe(expected);
    expect(model.stats().unread).toBeGreaterThan(0);
  }
  await untilIdle(); // it has closed its connection

  const { server: hasty } = await served(model, { limits: { readSeconds: 0.3 } });
  using _ = slowReader(portOf(hasty), request);
  await vi.waitFor(() => expect(model.stats().active).toBeGreaterThan(0), { timeout: 60_000 });
  await untilIdle();
});

test("a client that does not send its request is left after a time", async () => {
  const onError = vi.fn();
  const { server } = await served(model, { limits: { readSeconds: 0.3, replies: 1 }, onError });
  const socket = connect(portOf(server), "127.0.0.1");
  socket.write('POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"model"');
  await once(socket, "close");
  expect((await post(server, hello)).status).toBe(200); // its place is free again
  expect(onError).not.toHaveBeenCalled(); // it is no fault of the server
});

test.each([
  ["nothing", ""],
  ["half a line", "POST /v1/chat"],
  ["half of the head", "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-"],
])(
  "a client that sends %s is left after a time",
  async (_, sent) => {
    const { server } = await served(model, { limits: { readSeconds: 0.3 } });
    const socket = connect(portOf(server), "127.0.0.1");
    socket.on("error", () => {}); // it may be reset
    if (sent !== "") socket.write(sent);
    socket.resume(); // what it is told
    await once(socket, "close");
  },
  20_000,
);

test("requests beyond the limit are told to come back, and those in progress go on", async () => {
  const { server, client } = await served(model, { limits: { replies: 2 } });
  const leaving = new AbortController();
  const { rest } = await longReply(server, leaving.signal);
  await expect(client.chat.completions.create({ ...hello, n: 2 })).rejects.toMatchObject({
    ...{ status: 429, code: "queue_full", type: "rate_limit_error" },
  });
  const refused = await post(server, { ...hello, n: 2 });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
  expect((await post(server, hello)).status).toBe(200); // the refused one has left its place
  expect((await post(server, { ...hello, n: 3 })).status).toBe(400); // which would never fit
  expect(model.stats().active).toBe(1);
  leaving.abort();
  await expect(rest()).rejects.toThrow("aborted");
  await vi.waitFor(async () => expect((await post(server, { ...hello, n: 2 })).status).toBe(200));
});

describe("a server that is closed", () => {
  test("lets replies end, refuses others, and then is gone", async () => {
    const { server } = await served(model);
    const request = { ...endless, n: 1, max_tokens: 100, stream: true };
    const response = await post(server, request);
    expect(response.status).toBe(200);
    const closed = server.close();
    expect(server.state).toBe("draining");
    const refused = await post(server, hello);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(refused.headers.get("connection")).toBe("close");
    expect(await refused.json()).toMatchObject({ error: { code: "shutting_down", type: "server_error" } });
    const health = await fetch(`${server.url}/health`);
    expect([health.status, await health.json()]).toEqual([503, { status: "draining" }]);
    expect(await response.text()).toContain("data: [DONE]");
    await closed;
    await expect(fetch(`${server.url}/health`)).rejects.toThrow("fetch failed");
  });

  test("ends replies that take too long", async () => {
    const { server } = await served(model, { limits: { drainSeconds: 0.01 } });
    const { rest } = await longReply(server);
    const closed = server.close();
    const text = await rest();
    expect(text).not.toContain("[DONE]");
    expect(JSON.parse(text.trim().split("\n\n").at(-1)!.replace("data: ", ""))).toMatchObject({
      error: { code: "shutting_down" },
    });
    await closed;
    await untilIdle();
  });

  test("has nothing to wait for without requests", async () => {
    const { server } = await served(model);
    expect((await post(server, hello)).status).toBe(200);
    await Promise.all([server.close(), server.close()]);
  });
});

test("a server has metrics of its requests, replies and queue", async () => {
  const { server, client } = await served(model);
  const one = await client.chat.completions.create({ ...hello });
  const two = await client.chat.completions.create({ ...hello, n: 2, temperature: 1 });
  const steps = one.usage!.completion_tokens + two.usage!.completion_tokens;
  expect((await post(server, "{")).status).toBe(400);
  await fetch(`${server.url}/nowhere`).then((response) => response.text());
  const values = await metricsOf(server);
  const requests = (route: string, status: number) =>
    `caracal_http_requests_total{route="${route}",status="${status}"}`;
  expect(values).toMatchObject({
    [requests("/v1/chat/completions", 200)]: 2,
    [requests("/v1/chat/completions", 400)]: 1,
    caracal_time_to_first_token_seconds_count: 2,
    caracal_completion_tokens_total: steps,
    caracal_audio_output_seconds_total: 0,
    'caracal_replies{state="active"}': 0,
    'caracal_kv_cache_tokens{state="free"}': model.llm.cache.tokens,
    'caracal_kv_cache_tokens{state="cached"}': model.llm.cache.cachedTokens,
    caracal_cached_prompt_tokens_total: expect.any(Number),
    caracal_longest_wait_seconds: 0,
    caracal_preemptions: expect.any(Number),
    'caracal_event_loop_delay_seconds{quantile="0.99"}': expect.any(Number),
  });
  expect(values.caracal_prompt_tokens_total! % 3).toBe(0); // one prompt, for three choices
  expect(values.caracal_prompt_tokens_total).toBeGreaterThan(15);
  const routes = Object.keys(values).filter((name) => name.startsWith("caracal_http_requests_total"));
  expect(routes.filter((name) => name.includes("nowhere"))).toEqual([]); // strangers cannot make labels
  expect(routes.filter((name) => name.includes('"404"'))).toHaveLength(1);
});
