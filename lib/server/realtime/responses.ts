import type { LiveEvent } from "../../live/events.js";
import { type Problem, Refusal } from "../errors.js";
import type { Item, Items } from "./items.js";
import { type Ending, Response, type ResponseContext } from "./response.js";
import type { ServerEvent } from "./serverEvents.js";

type ReplyEvent = Extract<LiveEvent, { readonly type: "reply" | "text" | "audio" | "replyEnd" | "interrupted" }>;

interface Active {
  readonly response: Response;
  /** The item before its own. */
  readonly previous: string | null;
  readonly ended: Promise<void>;
  readonly end: () => void;
  /** Whether the client asked for its end. */
  stopped: boolean;
}

/** The responses of a conversation, one at a time: what a session tells of its replies, as events. */
export class Responses {
  readonly #items: Items;
  readonly #send: (event: ServerEvent) => void;
  readonly #automatic: () => ResponseContext;
  /** What clients asked of replies that have not begun yet. */
  readonly #asked = new Map<string, ResponseContext>();
  #active: Active | undefined;
  /** The item that the client is cutting, by its name in the session. */
  #cutting: string | undefined;

  /** @param automatic the context of a reply that no client asked for */
  constructor(items: Items, send: (event: ServerEvent) => void, automatic: () => ResponseContext) {
    this.#items = items;
    this.#send = send;
    this.#automatic = automatic;
  }

  /** The response in progress. */
  get active(): Response | undefined {
    return this.#active?.response;
  }

  /** Whether a response is in progress, or was asked for. */
  get busy(): boolean {
    return this.#active !== undefined || this.#asked.size > 0;
  }

  /** Notes what a client asked of a reply, before it begins. */
  ask(live: string, context: ResponseContext): void {
    this.#asked.set(live, context);
  }

  /** Tells what became of a reply. */
  on(event: ReplyEvent): void {
    if (event.type === "reply") this.#begin(event.item);
    else if (event.type === "interrupted") this.#onInterrupted(event);
    else {
      const active = this.#active;
      if (active?.response.item.live !== event.item) return;
      if (event.type === "text") this.#tell(active.response.text(event.text));
      if (event.type === "audio") this.#tell(active.response.audio(event.samples, event.sampleRate));
      if (event.type !== "replyEnd") return;
      const isCut = event.reason === "length";
      this.#end(isCut ? { status: "incomplete", reason: "max_output_tokens" } : { status: "completed" }, event.usage);
    }
  }

  /**
   * Stops the response in progress, for the client.
   * @param interrupt stops it in the session
   * @returns when it has ended
   */
  async stop(interrupt: () => void): Promise<void> {
    const active = this.#active!;
    active.stopped = true;
    interrupt();
    await active.ended;
  }

  /** Cuts a spoken reply to what the client has played of it. @returns false if it cannot be cut (any more) */
  async cut(item: Item, truncate: () => Promise<boolean>): Promise<boolean> {
    const active = this.#active?.response.item === item ? this.#active : undefined;
    if (active) active.stopped = true;
    this.#cutting = item.live;
    try {
      const done = await truncate();
      if (done) await active?.ended;
      return done;
    } finally {
      this.#cutting = undefined;
    }
  }

  /** Ends the response in progress, because the session has ended. */
  close(problem: Problem): void {
    this.#asked.clear();
    if (this.#active) this.#end({ status: "failed", problem }, null);
  }

  #begin(live: string): void {
    // The next reply may begin before it is known what stays of one that was interrupted.
    if (this.#active) this.#cancel(this.#active, null);
    const context = this.#asked.get(live) ?? this.#automatic();
    this.#asked.delete(live);
    const response = new Response(live, context);
    const previous = this.#items.add(response.item);
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#active = { response, previous, ended, end, stopped: false };
    this.#tell(response.begin(previous));
  }

  #onInterrupted({ item: live, text, heardSeconds, usage }: ReplyEvent & { readonly type: "interrupted" }): void {
    const active = this.#active;
    if (active?.response.item.live === live) this.#cancel(active, usage, text);
    const item = this.#items.ofSession(live);
    if (!item) return;
    const isSpoken = item.spokenSeconds !== undefined;
    item.content = [isSpoken ? { type: "output_audio", transcript: text } : { type: "output_text", text }];
    item.status = "incomplete";
    if (!isSpoken || live === this.#cutting || active?.stopped) return;
    const audio_end_ms = Math.round(1000 * heardSeconds);
    this.#send({ type: "conversation.item.truncated", item_id: item.id, content_index: 0, audio_end_ms });
  }

  #cancel({ stopped }: Active, usage: Parameters<Response["end"]>[1], kept?: string): void {
    this.#end({ status: "cancelled", reason: stopped ? "client_cancelled" : "turn_detected" }, usage, kept);
  }

  #end(ending: Ending, usage: Parameters<Response["end"]>[1], kept?: string): void {
    const { response, previous, end } = this.#active!;
    this.#active = undefined;
    this.#tell(response.end(ending, usage, previous, kept));
    end();
  }

  #tell(events: Iterable<ServerEvent>): void {
    for (const event of events) this.#send(event);
  }
}

/** The refusal of a second response at a time. */
export const alreadyActive = () =>
  new Refusal({
    status: 400,
    message: "a response is in progress: cancel it, or wait for its end",
    code: "conversation_already_has_active_response",
  });
