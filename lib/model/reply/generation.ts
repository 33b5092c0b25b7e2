import { EventBuffer } from "./events.js";
import type { GenerateEvent } from "./options.js";
import { abortError, type Reply } from "./reply.js";

export type Events = EventBuffer<GenerateEvent>;

/**
 * The events of one reply, for one consumer. Nothing happens before the first `next`. `return`, which leaving a
 * `for await` calls, ends the reply and frees what it holds at once, even while a `next` is pending.
 */
export class Generation implements AsyncIterableIterator<GenerateEvent>, AsyncDisposable {
  readonly #events: Events;
  readonly #gone = new AbortController();
  #reply: Reply | undefined;
  #started = false;

  /**
   * @internal
   * @param prepare makes the reply; it stops when its signal is aborted
   * @param onTake called when the consumer asks for an event
   */
  constructor(
    private readonly prepare: (events: Events, signal: AbortSignal) => Promise<Reply>,
    private readonly signal: AbortSignal | undefined,
    onTake: () => void,
  ) {
    this.#events = new EventBuffer(onTake);
  }

  next(): Promise<IteratorResult<GenerateEvent>> {
    if (!this.#started) void this.#run();
    return this.#events.next();
  }

  async return(): Promise<IteratorResult<GenerateEvent>> {
    this.#started = true;
    this.#events.close();
    this.#reply?.cancel();
    this.#gone.abort();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #run(): Promise<void> {
    this.#started = true;
    const signal = AbortSignal.any([this.#gone.signal, ...(this.signal ? [this.signal] : [])]);
    try {
      const reply = await this.prepare(this.#events, signal);
      this.#reply = reply;
      const abort = () => {
        this.#events.drop(); // who aborts wants no more
        reply.fail(abortError(signal.reason));
      };
      if (this.#gone.signal.aborted) reply.cancel();
      else if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { signal: reply.ended });
    } catch (error) {
      this.#events.fail(error);
    }
  }
}
