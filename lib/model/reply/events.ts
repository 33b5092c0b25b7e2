import type { SpeechPart } from "./history.js";
import type { TokenLogProbability } from "./logProbabilities.js";
import type { ReplyUsage, Stage } from "./usage.js";

/** An event of a reply. `step` counts the language model's steps completed when the event became possible. */
export type GenerateEvent =
  | { readonly type: "stage"; readonly stage: Stage; readonly done: number; readonly total: number }
  | {
      readonly type: "text";
      /** What became final. */
      readonly text: string;
      /** Text tokens of the reply so far. */
      readonly tokens: number;
      /** The ids of the text tokens since the last text event. The text of the last ones may still be held back. */
      readonly ids: readonly number[];
      /** One for each of `ids`; null unless they were asked for. */
      readonly logProbabilities: readonly TokenLogProbability[] | null;
      readonly step: number;
    }
  | {
      readonly type: "audio";
      /** In [−1, 1]. */
      readonly samples: Float32Array;
      readonly sampleRate: number;
      readonly step: number;
    }
  | {
      readonly type: "end";
      /** `stop`: the model or a stop string ended the reply; `length`: `maxTokens` or the model's positions did. */
      readonly reason: "stop" | "length";
      /** The stop string that ended the text, which is not part of it; null if none did. */
      readonly stopString: string | null;
      /** The texts of all text events. */
      readonly text: string;
      /** The ids of all text tokens, those of a stop string and of the end included. */
      readonly ids: readonly number[];
      /** One for each of `ids`; null unless they were asked for. */
      readonly logProbabilities: readonly TokenLogProbability[] | null;
      /**
       * The reply as a part of an assistant's message, for the prompt of the next turn: the text as the model wrote it,
       * and the codec codes. Of text that was ahead when the reply was cut off, it holds as many tokens as there are
       * frames of speech. Null if nothing was spoken.
       */
      readonly speech: SpeechPart | null;
      readonly usage: ReplyUsage;
    };

/** The events of one reply. */
export type Events = EventBuffer<GenerateEvent>;

/** Buffers events for one consumer that may be slower than the producer. */
export class EventBuffer<T> {
  readonly #events: T[] = [];
  readonly #waiting: { resolve(result: IteratorResult<T>): void; reject(error: unknown): void }[] = [];
  readonly #onTake: () => void;
  #end: { readonly error?: unknown } | undefined;
  #changed = performance.now();

  /** @param onTake called whenever the consumer requests an event */
  constructor(onTake: () => void = () => {}) {
    this.#onTake = onTake;
  }

  /** Events not yet taken. */
  get length(): number {
    return this.#events.length;
  }

  /** When an event was last added or requested, as `performance.now()`. */
  get changed(): number {
    return this.#changed;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(event: T): void {
    if (this.#end) return;
    this.#changed = performance.now();
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: event });
    else this.#events.push(event);
  }

  /** Ends the events. Buffered events can still be taken. */
  end(): void {
    this.#finish({});
  }

  /** Discards the buffered events. */
  drop(): void {
    this.#events.length = 0;
  }

  /** Like `end`, but the consumer receives the error once, after the buffered events. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  /** Ends at once, discarding the buffered events. */
  close(): void {
    this.drop();
    this.#end = {};
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<T>> {
    this.#changed = performance.now();
    const result = new Promise<IteratorResult<T>>((resolve, reject) => {
      const event = this.#events.shift();
      if (event !== undefined) resolve({ done: false, value: event });
      else if (this.#end) this.#settle({ resolve, reject });
      else this.#waiting.push({ resolve, reject });
    });
    this.#onTake();
    return result;
  }

  #finish(end: { error?: unknown }): void {
    if (this.#end) return;
    this.#end = end;
    for (const waiting of this.#waiting.splice(0)) this.#settle(waiting);
  }

  #settle({ resolve, reject }: { resolve(result: IteratorResult<T>): void; reject(error: unknown): void }): void {
    const end = this.#end!;
    this.#end = {};
    if ("error" in end) reject(end.error);
    else resolve({ done: true, value: undefined });
  }
}
