import { CaracalError } from "../../errors.js";
import type { KvSequence } from "../language/kvCache.js";
import type { Rows } from "../types.js";

/** Rows that the scheduler appends to a sequence, in passes that it shares with others. */
export interface PrefillTask {
  /** `[T, hidden size]` */
  readonly prompt: Rows;
  readonly sequence: KvSequence;
  /** Rows that the sequence has before these. */
  readonly base: number;
  /** Aborted when there is no more work. */
  readonly settled: AbortSignal;
  /** Notes that rows `[from, to)` are in the cache, and took this long. */
  prefill(from: number, to: number, milliseconds: number): void;
  fail(error: unknown): void;
}

/** What a conversation has got since: nothing is generated after it. */
export class Continuation implements PrefillTask {
  readonly prompt: Rows;
  readonly sequence: KvSequence;
  readonly base: number;
  readonly #settled = new AbortController();
  /** Resolves when all rows are in the cache. @throws {CaracalError} `ABORTED`, `OUT_OF_MEMORY`, a device's errors */
  readonly done: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  /** @param prompt `[T, hidden size]`, which the task owns; the sequence stays the caller's */
  constructor(prompt: Rows, sequence: KvSequence, signal: AbortSignal) {
    this.prompt = prompt;
    this.sequence = sequence;
    this.base = sequence.length;
    this.done = new Promise((resolve, reject) => {
      [this.#resolve, this.#reject] = [resolve, reject];
    });
    this.done.catch(() => {}); // a caller that has given up need not wait
    signal.addEventListener("abort", () => this.#abort(signal), { once: true, signal: this.settled });
    if (signal.aborted) this.#abort(signal);
  }

  get settled(): AbortSignal {
    return this.#settled.signal;
  }

  prefill(_: number, to: number): void {
    if (to < this.prompt.shape[0]) return;
    this.#settle();
    this.#resolve();
  }

  fail(error: unknown): void {
    this.#settle();
    this.#reject(error);
  }

  #abort(signal: AbortSignal): void {
    this.fail(new CaracalError("ABORTED", "prefill was aborted", {}, { cause: signal.reason }));
  }

  #settle(): void {
    this.prompt.dispose();
    this.#settled.abort();
  }
}
