// Connections that break, stall, or ask too much: none of them disturbs the others.
import { randomBytes } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { pcm16 } from "../../../lib/media/wav.js";
import { OmniModel } from "../../../lib/model/omni.js";
import type { OmniServer } from "../../../lib/server/omniServer.js";
import { speech } from "../../live/speech.js";
import { usedHeap } from "../../support/garbage.js";
import { metricsOf, sample, served, tinyModel } from "../served.js";
import { slowReader } from "../slowReader.js";
import { byHand, exact, RealtimeClient, realtimeUrl, refusedHandshake } from "./client.js";

const model = await tinyModel();
const sound = pcm16(speech());
const endless = { max_output_tokens: 4000, temperature: 2, seed: 2 };
const hello = {
  type: "conversation.item.create",
  item: { type: "message", role: "user", content: [{ type: "input_text", text: "Hello!" }] },
};
const idle = { preparing: 0, waiting: 0, active: 0, preempted: 0, unread: 0, cache: { used: 0 } };
const untilIdle = (server: OmniServer) =>
  vi.waitFor(
    async () => {
      expect(model.stats()).toMatchObject(idle);
      expect((await metricsOf(server)).caracal_realtime_sessions).toBe(0);
    },
    { timeout: 60_000 },
  );

/** What a client was doing when it vanishes. */
const doings: Readonly<Record<string, (client: RealtimeClient) => Promise<unknown>>> = {
  nothing: (client) => client.next("session.created"),
  "speaking, by hand": async (client) => {
    await client.configure(exact);
    client.append(sound);
  },
  "speaking, as it is heard": async (client) => {
    await client.configure({ audio: { input: { format: { type: "audio/pcm", rate: 16000 } } } });
    client.append(sound);
    await client.next("input_audio_buffer.speech_started");
  },
  "sending half an event": async (client) => {
    client.socket.send('{"type": "input_audio', { fin: false });
    await client.next("session.created");
  },
  "adding an image": async (client) => {
    const image_url = `data:image/jpeg;base64,${sample("photo.jpg")}`;
    const item = { type: "message", role: "user", content: [{ type: "input_image", image_url }] };
    await client.ask({ type: "conversation.item.create", item }, "conversation.item.added");
  },
  "having asked for a response": async (client) => {
    client.send(hello);
    await client.ask({ type: "response.create" }, "conversation.item.added");
  },
  "hearing a response": async (client) => {
    client.send(hello);
    await client.ask({ type: "response.create", response: endless }, "response.output_audio.delta");
  },
  "cancelling a response": async (client) => {
    client.send(hello);
    await client.ask({ type: "response.create", response: endless }, "response.output_audio.delta");
    client.send({ type: "response.cancel" });
  },
  "cutting a response": async (client) => {
    client.send(hello);
    const { item_id } = await client.ask({ type: "response.create", response: endless }, "response.output_audio.delta");
    client.send({ type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: 30 });
    client.send({ type: "conversation.item.delete", item_id });
  },
  "changing what the model is told": async (client) => {
    await client.say("Hello!");
    await client.respond({ max_output_tokens: 4 });
    client.send({ type: "session.update", session: { instructions: "Be brief." } });
  },
  "hearing responses outside of the conversation": async (client) => {
    const input = [hello.item];
    for (let i = 0; i < 3; i++)
      client.send({ type: "response.create", response: { ...endless, conversation: "none", input } });
    await client.next("response.output_audio.delta");
  },
};

test("a client that vanishes, whatever it was doing, leaves nothing", async () => {
  const onError = (error: unknown) => expect.unreachable(String(error));
  const { server } = await served(model, { onError });
  for (const [name, doing] of Object.entries(doings))
    for (const leave of ["terminate", "close"] as const) {
      const client = await RealtimeClient.open(server);
      await doing(client).catch((error) => expect.unreachable(`${name}: ${error}`));
      client.socket[leave]();
      await client.closed;
      await untilIdle(server);
    }
});

test("a session that has ended is not kept in memory", async () => {
  const { server } = await served(model);
  const openAndClose = async (sessions: number) => {
    for (let i = 0; i < sessions; i++) {
      const client = await RealtimeClient.open(server);
      client.socket.close();
      await client.closed;
    }
    await untilIdle(server);
  };
  await openAndClose(40);
  const before = await usedHeap();
  await openAndClose(160);
  expect((await usedHeap()) - before).toBeLessThan(160 * 6000); // a session has 15 KB
});

test("two hundred sessions, opened and closed, leave nothing", async () => {
  const { server } = await served(model);
  const before = model.stats();
  for (let i = 0; i < 200; i += 20)
    await Promise.all(
      Array.from({ length: 20 }, async (_, j) => {
        const client = await RealtimeClient.open(server);
        client.send(hello);
        if (j % 2 === 0) await client.ask({ type: "response.create", response: endless }, "response.created");
        client.socket.terminate();
        await client.closed;
      }),
    );
  await untilIdle(server);
  expect(model.stats()).toEqual({ ...before, preemptions: expect.any(Number) });
  const client = await RealtimeClient.open(server);
  await client.say("Hello!");
  expect((await client.respond({ max_output_tokens: 3 })).status).toBe("incomplete");
});

/** A frame of a client, which is masked with zeros. */
function frame(event: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(event));
  const head = Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
}

test("a client that does not read pauses its reply, not those of others, and is left after a time", async () => {
  const key = randomBytes(16).toString("base64");
  const headers = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`;
  const handshake = Buffer.from(`GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n\r\n`);
  const sent = Buffer.concat([handshake, frame(hello), frame({ type: "response.create", response: endless })]);
  const { server: patient } = await served(model, { limits: { unreadBytes: 20_000 } });
  {
    using _ = slowReader(Number(new URL(patient.url).port), sent);
    await vi.waitFor(() => expect(model.stats().unread).toBe(1), { timeout: 60_000 });
    const client = await RealtimeClient.open(patient);
    await client.say("Hello!");
    expect((await client.respond({ max_output_tokens: 3 })).status).toBe("incomplete");
    expect(model.stats().unread).toBe(1);
    await client.close();
  }
  await untilIdle(patient); // it has closed its connection

  const { server: hasty } = await served(model, { limits: { unreadBytes: 20_000, readSeconds: 0.3 } });
  using _ = slowReader(Number(new URL(hasty.url).port), sent);
  await vi.waitFor(() => expect(model.stats().active).toBeGreaterThan(0), { timeout: 60_000 });
  await untilIdle(hasty);
});

describe("a client", () => {
  test("that gives no sign of life is left", async () => {
    const { server } = await served(model, { limits: { readSeconds: 0.2 } });
    const options = { autoPong: false };
    const silent = await RealtimeClient.open(server, "", [], options as object);
    const alive = await RealtimeClient.open(server);
    expect(await silent.closed).toEqual([1006, ""]);
    await alive.say("Hello!");
  });

  test("whose message is too long is left, with its reason", async () => {
    const { server } = await served(model, { limits: { messageBytes: 10_000 } });
    const client = await RealtimeClient.open(server);
    const other = await RealtimeClient.open(server);
    client.send({ type: "input_audio_buffer.append", audio: "A".repeat(10_000) });
    expect((await client.closed)[0]).toBe(1009);
    await other.say("Hello!");
  });

  test("whose frames are wrong is left", async () => {
    const { server } = await served(model);
    const client = await RealtimeClient.open(server);
    const { _socket: raw } = client.socket as unknown as { _socket: { write(bytes: Buffer): void } };
    raw.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    expect((await client.closed)[0]).toBe(1002);
    await untilIdle(server);
  });

  test("that sends more nonsense than it reads answers to has to wait", async () => {
    const { server } = await served(model);
    const client = await RealtimeClient.open(server);
    const other = await RealtimeClient.open(server);
    for (let i = 0; i < 5000; i++) client.send("{");
    await other.say("Hello!");
    expect((await other.respond({ max_output_tokens: 3 })).status).toBe("incomplete");
    await client.say("Hello!");
    expect(client.events.filter(({ type }) => type === "error")).toHaveLength(5000);
  });

  test("has its session for a time", async () => {
    const { server } = await served(model, { limits: { sessionSeconds: 0.3 } });
    const client = await RealtimeClient.open(server);
    expect((await client.next("error")).error.code).toBe("session_expired");
    expect(await client.closed).toEqual([1008, expect.stringMatching(/limit of time/)]);
  });

  test("is told how each response has ended when its time is over, before the connection is", async () => {
    const { server } = await served(model, { limits: { sessionSeconds: 1 } });
    const client = await RealtimeClient.open(server);
    client.send(hello);
    client.send({ type: "response.create", response: endless });
    for (let i = 0; i < 2; i++)
      client.send({ type: "response.create", response: { ...endless, conversation: "none", input: [hello.item] } });
    await client.closed;
    const ids = (type: string) =>
      client.events.filter((event) => event.type === type).map(({ response }) => response.id);
    expect(ids("response.created")).toHaveLength(3);
    expect(new Set(ids("response.done"))).toEqual(new Set(ids("response.created")));
    for (const { response } of client.events.filter(({ type }) => type === "response.done"))
      expect(response).toMatchObject({ status: "failed", status_details: { error: { code: "session_expired" } } });
    await untilIdle(server);
  });
});

describe("a server that is closed", () => {
  test("lets responses end, refuses other sessions, and then is gone", async () => {
    const { server } = await served(model);
    const [client, resting] = [await RealtimeClient.open(server), await RealtimeClient.open(server)];
    await client.configure(byHand);
    await client.say("Hello!");
    client.send({ type: "response.create", response: { ...endless, max_output_tokens: 100 } });
    await client.next("response.created");
    const closed = server.close();
    expect(await resting.closed).toEqual([1001, "the server is shutting down"]);
    expect(await refusedHandshake(realtimeUrl(server))).toMatchObject({
      status: 503,
      error: { code: "shutting_down" },
    });
    expect((await client.next("response.done")).response.status).toMatch(/completed|incomplete/);
    expect((await client.closed)[0]).toBe(1001);
    await closed;
  });

  test("ends responses that take too long", async () => {
    const { server } = await served(model, { limits: { drainSeconds: 0.05 } });
    const client = await RealtimeClient.open(server);
    await client.say("Hello!");
    await client.ask({ type: "response.create", response: endless }, "response.created");
    await server.close();
    expect((await client.next("response.done")).response.status_details.error.code).toBe("shutting_down");
    expect((await client.closed)[0]).toBe(1001);
    await vi.waitFor(() => expect(model.stats()).toMatchObject(idle));
  });
});

test("a model that is disposed ends its sessions", async () => {
  const own = await OmniModel.load(model.checkpoint.directory, { device: model.device });
  const { server } = await served(own, { modelName: "model" });
  const client = await RealtimeClient.open(server);
  await client.say("Hello!");
  await client.ask({ type: "response.create", response: endless }, "response.output_audio.delta");
  own.dispose();
  const { response } = await client.next("response.done");
  expect(response).toMatchObject({ status: "failed", status_details: { error: { code: "shutting_down" } } });
  expect((await client.next("error")).error.code).toBe("shutting_down");
  expect((await client.closed)[0]).toBe(1001);
});

test("a conversation that is too long for the cache ends alone", async () => {
  const parts = { device: model.device, kvCacheTokens: 256 };
  const small = await OmniModel.load(model.checkpoint.directory, parts);
  const { server } = await served(small, { modelName: "model" });
  const [client, other] = [await RealtimeClient.open(server), await RealtimeClient.open(server)];
  const item = { ...hello.item, content: [{ type: "input_text", text: "word ".repeat(60) }] };
  for (let i = 0; i < 12; i++) client.send({ type: "conversation.item.create", item });
  const { error } = await client.next("error");
  expect(["out_of_memory", "context_length_exceeded"]).toContain(error.code);
  expect((await client.closed)[0]).toBe(1011);
  await other.say("Hello!");
  expect((await other.respond({ max_output_tokens: 3 })).status).toBe("incomplete");
  await server.close();
  small.dispose();
});
