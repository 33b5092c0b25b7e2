// Who becomes a real-time session, and what the others are told.
import { once } from "node:events";
import { request } from "node:http";
import { describe, expect, test, vi } from "vitest";
import { OmniModel } from "../../../lib/model/omni.js";
import { metricsOf, served, tinyModel } from "../served.js";
import { RealtimeClient, realtimeUrl, refusedHandshake } from "./client.js";

const model = await tinyModel();
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });
const inProtocol = (key: string) => ["realtime", `openai-insecure-api-key.${key}`, "openai-beta.realtime-v1"];

describe("a server with a key", () => {
  test("takes it from a header or, as browsers send it, from a subprotocol, which it does not repeat", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const client = await RealtimeClient.open(server, "?model=model", [], bearer("sk-right"));
    expect((await client.next("session.created")).session.model).toBe("model");
    const browser = await RealtimeClient.open(server, "?model=model", inProtocol("sk-right"));
    await browser.next("session.created");
    expect([client.socket.protocol, browser.socket.protocol]).toEqual(["", "realtime"]);
  });

  test("refuses all others before they are sessions", async () => {
    const { server } = await served(model, { apiKey: "sk-right" });
    const url = realtimeUrl(server);
    for (const [protocols, options] of [
      [[], {}],
      [[], bearer("sk-wrong")],
      [["realtime"], {}],
      [inProtocol("sk-wrong"), {}],
      [inProtocol("sk-right"), bearer("sk-wrong")],
    ] as const) {
      const { status, headers, error } = await refusedHandshake(url, [...protocols], options);
      expect([status, headers["www-authenticate"]]).toEqual([401, "Bearer"]);
      expect(error).toMatchObject({ code: "invalid_api_key", type: "authentication_error" });
    }
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});

test("web pages are refused, unless their origin is allowed", async () => {
  const { server } = await served(model);
  const origin = "https://chat.example";
  await RealtimeClient.open(server, "", [], { origin: server.url }); // the server's own page
  const refused: Record<string, string>[] = [
    { origin },
    { origin: "null" },
    { origin: server.url.replace("http", "https") },
    { origin: "http://rebound.example", host: "rebound.example" },
  ];
  for (const headers of refused)
    expect(await refusedHandshake(realtimeUrl(server), [], { headers })).toMatchObject({
      ...{ status: 403, error: { code: "origin_not_allowed" } },
    });
  const { server: open } = await served(model, { cors: origin });
  await RealtimeClient.open(open, "", [], { origin });
  expect(await refusedHandshake(realtimeUrl(open), [], { origin: "https://evil.example" })).toMatchObject({
    status: 403,
  });
});

test("what is no real-time session is refused by its name", async () => {
  const { server } = await served(model);
  await RealtimeClient.open(server, ""); // the only model
  for (const [path, status, code] of [
    ["/v1/realtime?model=other", 404, "model_not_found"],
    ["/v1/realtime?call_id=a", 400, "unsupported_value"],
    ["/v1/realtime?intent=transcription", 400, "unsupported_value"],
    ["/v1/chat/completions", 404, "unknown_route"],
    ["//", 404, "unknown_route"],
  ] as const)
    expect(await refusedHandshake(server.url.replace("http", "ws") + path), path).toMatchObject({
      status,
      error: { code },
    });
  const plain = await fetch(`${server.url}/v1/realtime`);
  expect([plain.status, await plain.json()]).toMatchObject([426, { error: { code: "upgrade_required" } }]);
  const wrong = request(`${server.url}/v1/realtime`, { headers: { Connection: "Upgrade", Upgrade: "h2c" } }).end();
  const [response] = await once(wrong, "response");
  expect(response.statusCode).toBe(400);
  response.resume();
  const values = await metricsOf(server);
  expect(values).toMatchObject({
    'caracal_http_requests_total{route="/v1/realtime",status="404"}': 3,
    'caracal_http_requests_total{route="/v1/realtime",status="400"}': 3,
    caracal_realtime_sessions: 1,
  });
});

test("a model that is not there, or cannot hear, has no sessions", async () => {
  let loaded = (_: OmniModel) => {};
  const loading = new Promise<OmniModel>((resolve) => {
    loaded = resolve;
  });
  const { server } = await served(loading);
  const early = await refusedHandshake(realtimeUrl(server));
  expect([early.status, early.error.code, early.headers["retry-after"]]).toEqual([503, "model_loading", "1"]);
  loaded(model);
  await vi.waitFor(() => expect(server.state).toBe("ready"));
  await RealtimeClient.open(server);

  const parts = { device: model.device, vision: false, audio: false };
  const deaf = await OmniModel.load(model.checkpoint.directory, parts);
  const { server: other } = await served(deaf, { modelName: "model" });
  expect(await refusedHandshake(realtimeUrl(other))).toMatchObject({ status: 400, error: { code: "invalid_value" } });
  await other.close();
  deaf.dispose();
});

test("a model without speech writes, and says that it cannot speak", async () => {
  const mute = await OmniModel.load(model.checkpoint.directory, { device: model.device, speech: false });
  const { server } = await served(mute, { modelName: "model" });
  const client = await RealtimeClient.open(server);
  expect((await client.next("session.created")).session.output_modalities).toEqual(["text"]);
  client.send({ type: "session.update", session: { output_modalities: ["audio"] } });
  expect((await client.next("error")).error).toMatchObject({ param: "session.output_modalities" });
  await client.say("Hello!");
  expect((await client.respond({ max_output_tokens: 3 })).output[0].content[0].type).toBe("output_text");
  await client.close();
  await server.close();
  mute.dispose();
});

test("there are so many sessions at once", async () => {
  const { server } = await served(model, { limits: { sessions: 2 } });
  const clients = [await RealtimeClient.open(server), await RealtimeClient.open(server)];
  const { status, headers, error } = await refusedHandshake(realtimeUrl(server));
  expect([status, headers["retry-after"], error.code]).toEqual([429, "1", "queue_full"]);
  await clients[0]!.close();
  await vi.waitFor(() => RealtimeClient.open(server));
  await clients[1]!.say("Hello!");
});
