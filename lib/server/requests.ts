import { type EventEmitter, once, setMaxListeners } from "node:events";
import { Refusal } from "./errors.js";

/** A request that takes the model's time, or the room of other requests. */
export interface RunningRequest {
  /** Aborted when the request ends: when its response is complete, its client has left, or the server stops. */
  readonly signal: AbortSignal;
  /** Aborted when the server begins to stop. */
  readonly draining: AbortSignal;
  /** Counts the replies that the request turns out to want, instead of one. @throws {Refusal} 429 */
  want(replies: number): void;
}

/** The requests in progress. They are bounded, so that what a client gets is an answer or a refusal, but no endless wait. */
export class Requests {
  readonly #most: number;
  readonly #things: string;
  readonly #running = new Map<AbortController, number>();
  readonly #draining = new AbortController();

  /** @param most at once @param things that are wanted, for messages */
  constructor(most: number, things = "replies") {
    this.#most = most;
    this.#things = things;
    setMaxListeners(0, this.#draining.signal);
  }

  /** The replies that the requests in progress want. */
  get replies(): number {
    return [...this.#running.values()].reduce((sum, replies) => sum + replies, 0);
  }

  get draining(): boolean {
    return this.#draining.signal.aborted;
  }

  /**
   * Begins a request.
   * @param response what it ends with, by the event `close`
   * @throws {Refusal} 429, or 503 after `drain`
   */
  begin(response: EventEmitter): RunningRequest {
    if (this.draining)
      throw new Refusal({ status: 503, message: "the server is shutting down", code: "shutting_down" });
    const request = new AbortController();
    const want = (replies: number) => {
      if (this.replies - (this.#running.get(request) ?? 0) + replies > this.#most)
        throw new Refusal({
          status: 429,
          message: `the server has ${this.#most} ${this.#things} at most at once, and ${this.replies} are in progress: try again`,
          code: "queue_full",
        });
      this.#running.set(request, replies);
    };
    want(1);
    response.once("close", () => {
      this.#running.delete(request);
      request.abort();
    });
    return { signal: request.signal, draining: this.#draining.signal, want };
  }

  /** Refuses further requests, and waits for those in progress; after `seconds`, they are aborted. */
  async drain(seconds: number): Promise<void> {
    const ends = [...this.#running.keys()].map(({ signal }) => once(signal, "abort"));
    this.#draining.abort();
    const deadline = setTimeout(() => {
      for (const request of this.#running.keys()) request.abort();
    }, 1000 * seconds);
    await Promise.all(ends);
    clearTimeout(deadline);
  }
}
