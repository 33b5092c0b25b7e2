import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { ServerState, Service } from "./service.js";

/** Milliseconds for what is left when all replies have ended, before the connections are cut. */
const lastWords = 1000;

/** A server that listens. */
export class OmniServer implements AsyncDisposable {
  /** Where it listens, such as `http://127.0.0.1:8000`. The routes of OpenAI's API are below `/v1`. */
  readonly url: string;
  readonly #server: Server;
  readonly #service: Service;
  /** All connections: the server itself forgets those that have not agreed on TLS yet. */
  readonly #sockets = new Set<Socket>();
  #closed: Promise<void> | undefined;

  /** @internal Use `serve`. */
  constructor(server: Server, service: Service, scheme: "http" | "https") {
    const { address, family, port } = server.address() as AddressInfo;
    this.url = `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
    this.#server = server;
    this.#service = service;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /** Whether it answers, as `/health` says it. */
  get state(): ServerState {
    return this.#service.state;
  }

  /**
   * Refuses new requests with 503, and lets those in progress end, for at most `limits.drainSeconds`; then it ends them,
   * and all connections. It resolves when it no longer listens. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { requests, sessions, limits, metrics } = this.#service;
    await Promise.all([requests.drain(limits.drainSeconds), sessions.drain(limits.drainSeconds)]);
    const closed = once(this.#server, "close");
    this.#server.close(); // this also closes the connections that are idle
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, lastWords);
    await closed;
    clearTimeout(cut);
    metrics.stop();
  }
}
