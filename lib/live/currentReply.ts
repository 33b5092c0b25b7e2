import type { CheckedOptions } from "../model/reply/options.js";
import type { Playback } from "./playback.js";
import type { PreparedReply, ReplyRows } from "./preparedReply.js";
import type { Turn } from "./turn.js";

/** The reply of a session that was delivered last, or is being delivered. */
export class CurrentReply implements Disposable {
  /** The turn that it answers; undefined if it answers the conversation as it is. */
  readonly turn: Turn | undefined;
  readonly prepared: PreparedReply;
  readonly playback: Playback;
  readonly options: CheckedOptions;
  /** Resolves when all of it was delivered, or it was interrupted. */
  readonly done: Promise<void>;
  #isDone = false;
  #stopped: { rows: ReplyRows | undefined } | undefined;
  #setDone!: () => void;

  constructor(turn: Turn | undefined, prepared: PreparedReply, playback: Playback, options: CheckedOptions) {
    this.turn = turn;
    this.prepared = prepared;
    this.playback = playback;
    this.options = options;
    this.done = new Promise((resolve) => {
      this.#setDone = resolve;
    });
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  get item(): string {
    return this.playback.item;
  }

  /** Ends the delivery. What the reply has said by now counts. */
  stop(): void {
    if (!this.#stopped) {
      this.#stopped = { rows: this.prepared.takeRows() };
      this.prepared.drop();
    }
    this.finish();
  }

  /** Nothing is left to deliver. */
  finish(): void {
    this.#isDone = true;
    this.#setDone();
  }

  /** Stops the reply, and gives what it has said to the caller. */
  takeRows(): ReplyRows | undefined {
    this.stop();
    const { rows } = this.#stopped!;
    this.#stopped = { rows: undefined };
    return rows;
  }

  dispose(): void {
    this.#stopped ??= { rows: undefined };
    this.prepared.drop();
    const rows = this.takeRows();
    rows?.sequence?.dispose();
    rows?.parts.tail?.dispose();
    rows?.parts.start.dispose();
    this.turn?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
