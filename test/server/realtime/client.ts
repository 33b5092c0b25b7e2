import { once } from "node:events";
import { onTestFinished } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import type { OmniServer } from "../../../lib/server/omniServer.js";

// biome-ignore lint/suspicious/noExplicitAny: events are what the tests look into
export type AnyEvent = { readonly type: string; readonly [field: string]: any };

/** Where a server's real-time sessions are. */
export const realtimeUrl = (server: OmniServer, query = "?model=model") =>
  `${server.url.replace("http", "ws")}/v1/realtime${query}`;

/** A client that keeps what it gets. It sends what it is told to, right or wrong. */
export class RealtimeClient {
  readonly events: AnyEvent[] = [];
  readonly socket: WebSocket;
  /** Code and reason, when the socket is closed. */
  readonly closed: Promise<readonly [code: number, reason: string]>;
  #waiting: (() => void)[] = [];
  #seen = 0;
  #isClosed = false;

  constructor(url: string, protocols: string[] = [], options: ClientOptions = {}) {
    this.socket = new WebSocket(url, protocols, options);
    this.socket.on("message", (data) => {
      this.events.push(JSON.parse(String(data)));
      this.#changed();
    });
    this.closed = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => {
        this.#isClosed = true;
        this.#changed();
        resolve([code, String(reason)]);
      });
    });
    this.socket.on("error", () => {});
    onTestFinished(() => this.socket.terminate());
  }

  /** A client that is connected. */
  static async open(server: OmniServer, query?: string, protocols?: string[], options?: ClientOptions) {
    const client = new RealtimeClient(realtimeUrl(server, query), protocols, options);
    await once(client.socket, "open");
    return client;
  }

  send(event: unknown): void {
    this.socket.send(typeof event === "string" ? event : JSON.stringify(event));
  }

  /** Sends sound, in pieces of so many bytes. */
  append(bytes: Uint8Array, piece = 4800): void {
    for (let at = 0; at < bytes.length; at += piece) {
      const audio = Buffer.from(bytes.subarray(at, at + piece)).toString("base64");
      this.send({ type: "input_audio_buffer.append", audio });
    }
  }

  /** The next event of a type, of those that `next` has not given yet; those before it are passed over. */
  async next(type: string): Promise<AnyEvent> {
    for (;;) {
      const index = this.events.findIndex((event, i) => i >= this.#seen && event.type === type);
      if (index >= 0) {
        this.#seen = index + 1;
        return this.events[index]!;
      }
      if (this.#isClosed) throw new Error(`no ${type} came, but ${this.events.map((event) => event.type).join(" ")}`);
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  /** Sends an event and returns the next one of a type. */
  ask(event: unknown, type: string): Promise<AnyEvent> {
    this.send(event);
    return this.next(type);
  }

  /** Changes the session. */
  async configure(session: object): Promise<AnyEvent> {
    return (await this.ask({ type: "session.update", session: { type: "realtime", ...session } }, "session.updated"))
      .session;
  }

  /** Adds a text of the user. @returns its item */
  async say(text: string, item: object = {}): Promise<string> {
    const content = [{ type: "input_text", text }];
    this.send({ type: "conversation.item.create", item: { type: "message", role: "user", content, ...item } });
    return (await this.next("conversation.item.done")).item.id;
  }

  /** A whole response. */
  async respond(response: object = {}): Promise<AnyEvent> {
    return (await this.ask({ type: "response.create", response }, "response.done")).response;
  }

  /** The bytes and the text of a response's events. */
  heard(responseId: string) {
    const of = (type: string) =>
      this.events.filter((event) => event.response_id === responseId && event.type === `response.${type}.delta`);
    const audio = Buffer.concat(of("output_audio").map(({ delta }) => Buffer.from(delta, "base64")));
    const text = [...of("output_audio_transcript"), ...of("output_text")].map(({ delta }) => delta).join("");
    return { audio, text };
  }

  /** The types of all events, those in a row once. */
  types(from = 0): string[] {
    const types = this.events.slice(from).map(({ type }) => type);
    return types.filter((type, i) => type !== types[i - 1]);
  }

  #changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}

/** The handshake of a client that is refused: its status and the error of its body. */
export async function refusedHandshake(url: string, protocols: string[] = [], options: ClientOptions = {}) {
  const socket = new WebSocket(url, protocols, options);
  socket.on("error", () => {});
  const [, response] = await once(socket, "unexpected-response");
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode as number, headers: response.headers, error: JSON.parse(body).error };
}

/** A session without turn detection, for exact turns. */
export const byHand = { audio: { input: { turn_detection: null } } };

/** A session that hears 16 kHz, which is not resampled. */
export const exact = { audio: { input: { turn_detection: null, format: { type: "audio/pcm", rate: 16000 } } } };
