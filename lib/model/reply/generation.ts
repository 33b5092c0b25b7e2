import { CaracalError } from "../../errors.js";
import { checkObject, checkSignal, nativeSignal } from "../../options.js";
import { EventBuffer, type Events, type GenerateEvent } from "./events.js";
import type { GenerateOptions } from "./options.js";
import type { Reply } from "./reply.js";

interface Callbacks {
  /** Makes a reply that pushes to `events`; it stops when `signal` is aborted. */
  readonly prepare: (options: GenerateOptions, events: Events, signal: AbortSignal) => Promise<Reply>;
  /** Called whenever the consumer requests an event. */
  readonly onTake: () => void;
}

/**
 * The events of one reply, for one consumer. Nothing happens before the first `next`. `return`, which leaving a
 * `for await` loop calls, ends the reply and frees its resources at once, even while a `next` is pending.
 */
export class Generation implements AsyncIterableIterator<GenerateEvent>, AsyncDisposable {
  readonly #options: GenerateOptions;
  readonly #prepare: Callbacks["prepare"];
  readonly #events: Events;
  readonly #returned = new AbortController();
  #reply: Reply | undefined;
  #started = false;

  /** @internal Use `OmniModel.generate`. */
  constructor(options: GenerateOptions, { prepare, onTake }: Callbacks) {
    this.#options = options;
    this.#prepare = prepare;
    this.#events = new EventBuffer(onTake);
  }

  /** The next event. @throws {CaracalError} as `OmniModel.generate` */
  next(): Promise<IteratorResult<GenerateEvent>> {
    if (!this.#started) void this.#run();
    return this.#events.next();
  }

  /** Ends the reply and frees its resources. */
  async return(): Promise<IteratorResult<GenerateEvent>> {
    this.#started = true;
    this.#events.close();
    this.#reply?.cancel();
    this.#returned.abort();
    return { done: true, value: undefined };
  }

  /** The events themselves, for `for await`. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #run(): Promise<void> {
    this.#started = true;
    try {
      checkObject("generate", "options", this.#options);
      const options = { ...this.#options }; // read once: a getter could return another value after the check
      checkSignal("generate", options.signal);
      const signals = options.signal ? [nativeSignal(options.signal)] : [];
      const signal = AbortSignal.any([this.#returned.signal, ...signals]);
      const reply = await this.#prepare(options, this.#events, signal);
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
