/** Events on their way to one consumer, who may be slower than who makes them. */
export class EventBuffer<T> {
  readonly #events: T[] = [];
  readonly #waiting: { resolve(result: IteratorResult<T>): void; reject(error: unknown): void }[] = [];
  #end: { readonly error?: unknown } | undefined;

  /** @param onTake called when the consumer asks for an event */
  constructor(private readonly onTake: () => void = () => {}) {}

  /** Events that nobody has taken. */
  get length(): number {
    return this.#events.length;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(event: T): void {
    if (this.#end) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: event });
    else this.#events.push(event);
  }

  /** No more events; those that nobody has taken still can be. */
  end(): void {
    this.#finish({});
  }

  /** Forgets what nobody has taken. */
  drop(): void {
    this.#events.length = 0;
  }

  /** Like `end`, but the consumer gets an error once, after the events. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  /** Ends at once. */
  close(): void {
    this.drop();
    this.#end = {};
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<T>> {
    const result = new Promise<IteratorResult<T>>((resolve, reject) => {
      const event = this.#events.shift();
      if (event !== undefined) resolve({ done: false, value: event });
      else if (this.#end) this.#settle({ resolve, reject });
      else this.#waiting.push({ resolve, reject });
    });
    this.onTake();
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
