import type { WebSocket } from "ws";
import type { OmniModel } from "../../model/omni.js";
import { errorBody, type Problem } from "../errors.js";
import type { RunningRequest } from "../requests.js";
import type { Service } from "../service.js";
import { betaEvent, presentEvent } from "./betaNames.js";
import { type ClientEvents, eventIdOf } from "./clientEvents.js";
import { Conversation } from "./conversation.js";
import { Inbox } from "./inbox.js";
import { Outbox } from "./outbox.js";
import type { ServerEvent } from "./serverEvents.js";

/** Why a connection is closed: the codes of RFC 6455. */
const closing = { goingAway: 1001, policy: 1008, failed: 1011 };
/** What becomes of a response whose connection ends. */
const gone = { status: 503, code: "shutting_down" } as const;
/** Milliseconds for the client to say goodbye. */
const lastWords = 1000;

export interface ConnectionContext {
  readonly service: Service;
  readonly model: OmniModel;
  readonly events: ClientEvents;
  /** Whether the client wants the names of events that they had once. */
  readonly beta: boolean;
  readonly running: RunningRequest;
}

/** The connection of a client: its messages in their order, its events as it takes them, and what ends it. */
export class Connection {
  readonly #socket: WebSocket;
  readonly #context: ConnectionContext;
  readonly #outbox: Outbox;
  readonly #conversation: Conversation;
  readonly #timers: NodeJS.Timeout[] = [];
  #isAlive = true;
  #isClosing = false;
  #sent = 0;

  /** @throws {CaracalError} for a model that cannot hear */
  constructor(socket: WebSocket, context: ConnectionContext) {
    this.#socket = socket;
    this.#context = context;
    const { service, model, running } = context;
    const { readSeconds: seconds, sessionSeconds, unreadBytes: most, messageBytes } = service.limits;
    const onStuck = () => this.#close(closing.policy, { ...gone, message: `nothing was read for ${seconds} s` });
    this.#outbox = new Outbox(socket, { most, seconds, onStuck });
    this.#conversation = new Conversation({
      service,
      model,
      expires: Math.floor(Date.now() / 1000 + sessionSeconds),
      send: (event) => this.#send(event),
      room: () => this.#outbox.room(),
      fail: (error, eventId) => this.#fail(error, eventId),
    });
    service.metrics.realtime.opened();
    new Inbox(socket, messageBytes, running.signal, (read) => this.#handle(read));
    socket.on("pong", () => this.#hear());
    socket.once("close", () => this.#onClose());
    running.draining.addEventListener("abort", () => this.#onDrain(), { once: true, signal: running.signal });
    running.signal.addEventListener("abort", () => this.#shutDown(), { once: true });
    this.#timers.push(
      setTimeout(() => this.#expire(), 1000 * sessionSeconds),
      setInterval(() => this.#checkAlive(), 1000 * seconds),
    );
    void this.#tell();
    if (running.draining.aborted) this.#onDrain();
  }

  /** Tells what happens in the session, as the client takes it. */
  async #tell(): Promise<void> {
    try {
      for await (const event of this.#conversation.live) {
        await this.#outbox.room();
        this.#conversation.on(event);
        if (this.#context.running.draining.aborted) this.#onDrain();
      }
    } catch (error) {
      const problem = this.#context.service.problemOf(error);
      this.#conversation.close(problem);
      this.#sendError(problem, null);
      this.#close(problem.code === "shutting_down" ? closing.goingAway : closing.failed, problem);
    }
  }

  /** Does what a message asks for. */
  async #handle(read: () => Promise<unknown>): Promise<void> {
    this.#hear();
    await this.#outbox.room();
    let eventId: string | null = null;
    try {
      const value = await read();
      eventId = eventIdOf(value);
      const { events, beta } = this.#context;
      await this.#conversation.handle(events.parse(beta ? presentEvent(value) : value));
    } catch (error) {
      this.#fail(error, eventId);
    }
    if (this.#context.running.draining.aborted) this.#onDrain();
  }

  /** Tells what went wrong with an event, unless the session has ended, of which its own error tells. */
  #fail(error: unknown, eventId: string | null): void {
    if (this.#isClosing || this.#conversation.live.ended.aborted) return;
    this.#sendError(this.#context.service.problemOf(error), eventId);
  }

  #sendError(problem: Problem, eventId: string | null): void {
    this.#context.service.metrics.realtime.error(problem.code);
    this.#send({ type: "error", error: { ...errorBody(problem).error, event_id: eventId } });
  }

  #send(event: ServerEvent): void {
    if (this.#isClosing) return;
    const written = this.#context.beta ? betaEvent(event) : event;
    if (written) this.#outbox.send({ ...written, event_id: `event_${++this.#sent}` });
  }

  #hear(): void {
    this.#isAlive = true;
  }

  /** Asks a silent client for a sign of life; one that gave none since the last time is gone. */
  #checkAlive(): void {
    if (this.#socket.isPaused) return; // it may have given one
    if (!this.#isAlive) this.#socket.terminate();
    this.#isAlive = false;
    this.#socket.ping();
  }

  #expire(): void {
    const message = "the session has reached its limit of time: open another";
    const problem = { status: 400, code: "session_expired", message } as const;
    this.#conversation.close(problem);
    this.#sendError(problem, null);
    this.#close(closing.policy, problem);
  }

  /** The server is closed: what is being said may be said to its end. */
  #onDrain(): void {
    if (!this.#conversation.busy) this.#shutDown();
  }

  #shutDown(): void {
    this.#close(closing.goingAway, { ...gone, message: "the server is shutting down" });
  }

  /** Ends the session, then the connection, of which its client is told why. */
  #close(code: number, problem: Problem): void {
    if (this.#isClosing) return;
    this.#conversation.close(problem);
    this.#isClosing = true;
    this.#outbox.close();
    this.#socket.close(code, problem.message.slice(0, 100));
    this.#timers.push(setTimeout(() => this.#socket.terminate(), lastWords));
  }

  #onClose(): void {
    this.#isClosing = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#outbox.close();
    this.#conversation.close({ ...gone, message: "the connection was closed" });
    this.#context.service.metrics.realtime.closed();
  }
}
