import type { WriteStream } from "node:tty";

/** One line on a terminal that is written over; nothing where nobody can see it. */
export class StatusLine {
  #visible = false;
  #enabled: boolean;

  constructor(
    private readonly stream: WriteStream,
    enabled: boolean,
  ) {
    this.#enabled = enabled && stream.isTTY === true;
  }

  /** @param share of the work that is done, 0 to 1 */
  show(what: string, share: number): void {
    if (!this.#enabled) return;
    this.stream.write(`\r${what} ${Math.round(100 * share)} %\x1b[K`);
    this.#visible = true;
  }

  clear(): void {
    if (this.#visible) this.stream.write("\r\x1b[K");
    this.#visible = false;
  }

  /** Clears the line for good. */
  end(): void {
    this.clear();
    this.#enabled = false;
  }
}
