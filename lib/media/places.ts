import { throwIfAborted } from "../errors.js";
import { untilAborted } from "./input.js";

/** Places for processes: so many may run at once, the others wait for their turn. */
export class Places {
  readonly #limit: () => number;
  readonly #waiting: (() => void)[] = [];
  #taken = 0;

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  /**
   * Waits until another process may run. Every call that succeeds needs one `leave`.
   * @throws {CaracalError} `ABORTED`
   */
  async take(signal: AbortSignal | undefined, during: string): Promise<void> {
    throwIfAborted(signal, during);
    if (this.#taken < this.#limit()) {
      this.#taken++;
      return;
    }
    let begin = () => {};
    const turn = new Promise<void>((resolve) => {
      begin = resolve;
    });
    this.#waiting.push(begin);
    try {
      await untilAborted(turn, signal, during);
    } catch (error) {
      const at = this.#waiting.indexOf(begin);
      if (at >= 0) this.#waiting.splice(at, 1);
      else this.leave(); // the turn came in the same moment
      throw error;
    }
  }

  /** Gives the place to the one that waits longest. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken--;
  }
}
