import { CaracalError } from "../../errors.js";
import { checkSignal, nativeSignal } from "../../options.js";
import { EventBuffer, type Events, type GenerateEvent } from "./events.js";
import type { Reply } from "./reply.js";

/** Makes a reply that pushes to `events`; it stops when `signal` is aborted. */
type Prepare = (events: Events, signal: AbortSignal) => Promise<Reply>;

/**
 * The events of one reply, for one consumer. Nothing happens before the first `next`. `return`, which leaving a
 * `for await` loop calls, ends the reply and frees its resources at once, even while a `next` is pending.
 */
export class Generation implements AsyncIterableIterator<GenerateEvent>, AsyncDisposable {
  readonly #prepare: Prepare;
  readonly #signal: AbortSignal | undefined;
  readonly #events: Events;
  readonly #returned = new AbortController();
  #reply: Reply | undefined;
  #started = false;

  /**
   * @internal Use `OmniModel.generate`.
   * @param onTake called whenever the consumer requests an event
   */
  constructor(prepare: Prepare, signal: AbortSignal | undefined, onTake: () => void) {
    this.#prepare = prepare;
    this.#signal = signal;
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
    this.#returned.abort();
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
    try {
      checkSignal("generate", this.#signal);
      const signals = this.#signal ? [nativeSignal(this.#signal)] : [];
      const signal = AbortSignal.any([this.#returned.signal, ...signals]);
      const reply = await this.#prepare(this.#events, signal);
      this.#reply = reply;
      const abort = () => {
        this.#events.drop(); // after an abort, the consumer receives nothing but the error
        reply.fail(new CaracalError("ABORTED", "the reply was aborted", {}, { cause: signal.reason }));
      };
      if (this.#returned.signal.aborted) reply.cancel();
      else if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { signal: reply.ended });
    } catch (error) {
      this.#events.fail(error);
    }
  }
}
