// Signals of other classes than this realm's AbortSignal.

/** As little of an `AbortSignal` as a polyfill may have. */
export class DuckSignal {
  aborted = false;
  reason: unknown;
  readonly #listeners: (() => void)[] = [];

  addEventListener(_type: "abort", listener: () => void): void {
    this.#listeners.push(listener);
  }

  abort(reason?: unknown): void {
    this.aborted = true;
    this.reason = reason;
    for (const listener of this.#listeners) listener();
  }
}

/** A controller as another realm has it: its signal behaves like a native one and is an instance of another class. */
export function foreignController(): { readonly signal: AbortSignal; abort(reason?: unknown): void } {
  const target = new EventTarget();
  const state = { aborted: false, reason: undefined as unknown };
  const signal = {
    get aborted() {
      return state.aborted;
    },
    get reason() {
      return state.reason;
    },
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
  };
  const abort = (reason?: unknown) => {
    Object.assign(state, { aborted: true, reason });
    target.dispatchEvent(new Event("abort"));
  };
  return { signal: signal as unknown as AbortSignal, abort };
}
