import { CaracalError } from "../errors.js";
import { EventBuffer } from "../model/reply/events.js";
import { Chain } from "./chain.js";
import { Conversation } from "./conversation.js";
import type { LiveEvent } from "./events.js";
import type { LiveHost } from "./host.js";
import type { CheckedLiveOptions } from "./options.js";

/** What the parts of a session share: what it tells, its conversation, its time, and how it ends. */
export class SessionCore {
  readonly host: LiveHost;
  readonly events: EventBuffer<LiveEvent>;
  readonly conversation: Conversation;
  options: CheckedLiveOptions;
  readonly #ended = new AbortController();
  readonly #onEnd: () => void;
  readonly #startTime: number;
  /** What changes the conversation, in order. */
  readonly #writing = new Chain();
  #items = 0;

  /** @param hooks called whenever an event is requested, and once at the end */
  constructor(host: LiveHost, options: CheckedLiveOptions, hooks: { onTake: () => void; onEnd: () => void }) {
    this.host = host;
    this.options = options;
    this.events = new EventBuffer(hooks.onTake);
    this.#onEnd = hooks.onEnd;
    this.#startTime = options.clock.now();
    this.conversation = new Conversation(host, this.ended);
  }

  /** Aborted when the session has ended. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Seconds since the session began. */
  get now(): number {
    return this.options.clock.now() - this.#startTime;
  }

  /** A name for what comes next in the conversation. */
  nextItem(): string {
    return `item_${++this.#items}`;
  }

  checkOpen(): void {
    if (this.ended.aborted) throw new CaracalError("DISPOSED", "the live session has ended: open another");
  }

  /** Ends the session, with an error if there was one. The first end counts. */
  end(error?: { readonly error: unknown }): void {
    if (this.ended.aborted) return;
    if (error) this.events.fail(error.error);
    this.#ended.abort();
    this.#onEnd();
    this.conversation.dispose();
  }

  /** Runs work on a chain; what goes wrong ends the session. @throws {CaracalError} `DISPOSED` if it ends before */
  async run<T>(chain: Chain, work: () => Promise<T> | T): Promise<T> {
    try {
      return await chain.run(() => {
        this.checkOpen();
        return work();
      });
    } catch (error) {
      this.checkOpen(); // what was under way when the session ended has failed for that
      this.end({ error });
      throw error;
    }
  }

  /** Lets work change the conversation, after what was asked before. */
  write<T>(work: () => Promise<T> | T): Promise<T> {
    const result = this.run(this.#writing, work);
    result.catch(() => {}); // it has ended the session, which tells
    return result;
  }
}
