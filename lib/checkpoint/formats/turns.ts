import { setImmediate } from "node:timers/promises";

/** The time for which a loop may hold up the event loop. */
const longest = 10;

/** Lets the event loop turn now and then during a long loop: `await turns.next()` in every round. */
export class Turns {
  #began = performance.now();

  async next(): Promise<void> {
    if (performance.now() - this.#began < longest) return;
    await setImmediate();
    this.#began = performance.now();
  }
}
