import type { WebSocket } from "ws";

/** Events on their way to a client, who may be slower than the model. */
export class Outbox {
  readonly #socket: WebSocket;
  readonly #most: number;
  readonly #patience: number;
  readonly #onStuck: () => void;
  readonly #waiting: (() => void)[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param most bytes that may wait for the client before `room` waits
   * @param seconds for which it may take none of them
   * @param onStuck called when it has taken none for so long
   */
  constructor(socket: WebSocket, { most, seconds, onStuck }: { most: number; seconds: number; onStuck: () => void }) {
    this.#socket = socket;
    this.#most = most;
    this.#patience = 1000 * seconds;
    this.#onStuck = onStuck;
  }

  send(event: object): void {
    if (this.#closed) return;
    const data = Buffer.from(JSON.stringify(event));
    if (this.#bytes === 0) this.#watch();
    this.#bytes += data.length;
    this.#socket.send(data, { binary: false }, () => this.#onTaken(data.length));
  }

  /** Resolves when the client has taken enough of what was sent, or is gone. */
  async room(): Promise<void> {
    while (this.#bytes > this.#most && !this.#closed)
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#wake();
  }

  /** Called when bytes were given to the system, or cannot be any more. */
  #onTaken(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#closed) return;
    this.#watch();
    if (this.#bytes <= this.#most) this.#wake();
  }

  #watch(): void {
    clearTimeout(this.#timer);
    if (this.#bytes > 0) this.#timer = setTimeout(this.#onStuck, this.#patience);
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
