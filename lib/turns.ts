import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "./errors.js";

/** The longest that work runs at a stretch. */
const sliceMilliseconds = 5;

/** Long work, which yields where it may pause. */
export type Steps<T> = Generator<void, T>;

/** Does work to its end at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Gives the event loop its turns during long work on its thread: `if (turns.due) await turns.next()`. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
  readonly #work: string;
  #start = performance.now();

  /** @param work names the work in the error of an aborted `signal` */
  constructor(work: string, signal?: AbortSignal) {
    this.#work = work;
    this.#signal = signal;
  }

  /** Whether the event loop has waited long enough. */
  get due(): boolean {
    return performance.now() - this.#start >= sliceMilliseconds;
  }

  /** Lets the event loop do what it has to do. @throws {CaracalError} `ABORTED` */
  async next(): Promise<void> {
    await setImmediate();
    throwIfAborted(this.#signal, this.#work);
    this.#start = performance.now();
  }

  /** Does work to its end; where it pauses, the event loop has its turns. @throws {CaracalError} `ABORTED` */
  async during<T>(steps: Steps<T>): Promise<T> {
    throwIfAborted(this.#signal, this.#work);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      if (this.due) await this.next();
    }
  }
}
