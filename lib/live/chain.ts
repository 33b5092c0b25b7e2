/** Runs pieces of work one after another. */
export class Chain {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs work after all that came before it has succeeded. @throws whatever it, or work before it, throws */
  run<T>(work: () => Promise<T> | T): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result;
    result.catch(() => {}); // whoever waits for it sees the error, and so does all work after it
    return result;
  }
}
