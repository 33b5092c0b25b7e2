import type { RawData, WebSocket } from "ws";
import { Turns } from "../../turns.js";
import { invalid } from "../errors.js";
import { JsonScanner } from "../jsonScanner.js";

/** Messages that wait before the socket is read no further. */
const mostMessages = 256;
/** The bytes of a message that are scanned at a stretch. */
const blockBytes = 2 ** 16;

/** The messages of a client, one after another. While many wait, its socket is not read, so that it has to wait as well. */
export class Inbox {
  readonly #socket: WebSocket;
  readonly #mostBytes: number;
  readonly #signal: AbortSignal;
  readonly #handle: (read: () => Promise<unknown>) => Promise<void>;
  readonly #messages: { readonly data: Buffer; readonly isBinary: boolean }[] = [];
  #bytes = 0;
  #running = false;

  /**
   * @param mostBytes that may wait
   * @param signal ends the reading
   * @param handle called with each message in its turn, and never throws; `read` gives what it says
   */
  constructor(
    socket: WebSocket,
    mostBytes: number,
    signal: AbortSignal,
    handle: (read: () => Promise<unknown>) => Promise<void>,
  ) {
    this.#socket = socket;
    this.#mostBytes = mostBytes;
    this.#signal = signal;
    this.#handle = handle;
    socket.on("message", (data: RawData, isBinary) => this.#push(data as Buffer, isBinary));
  }

  #push(data: Buffer, isBinary: boolean): void {
    if (this.#signal.aborted) return;
    this.#messages.push({ data, isBinary });
    this.#bytes += data.length;
    if (this.#isFull) this.#socket.pause();
    if (!this.#running) void this.#run();
  }

  get #isFull(): boolean {
    return this.#messages.length > mostMessages || this.#bytes > this.#mostBytes;
  }

  async #run(): Promise<void> {
    this.#running = true;
    const turns = new Turns("reading messages");
    for (let next = this.#messages.shift(); next && !this.#signal.aborted; next = this.#messages.shift()) {
      const { data, isBinary } = next;
      await this.#handle(() => read(data, isBinary, turns));
      this.#bytes -= data.length;
      if (!this.#isFull) this.#socket.resume();
      if (turns.due) await turns.next();
    }
    this.#running = false;
  }
}

/** @throws {Refusal} */
async function read(data: Buffer, isBinary: boolean, turns: Turns): Promise<unknown> {
  if (isBinary) throw invalid("events are messages of text, this one was binary", null, "invalid_json");
  const scanner = new JsonScanner("the message");
  for (let at = 0; at < data.length; at += blockBytes) {
    scanner.push(data.subarray(at, at + blockBytes));
    if (turns.due) await turns.next();
  }
  return scanner.end();
}
