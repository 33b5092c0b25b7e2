/** The loudspeaker of a listener: it begins to play a reply a while after its first piece has arrived. Times in seconds. */
export class Playout {
  readonly #buffer: number;
  #start = 0;
  #received = 0;
  #underruns = 0;
  #missing = 0;

  /** @param buffer how long it waits before it plays what has arrived */
  constructor(buffer: number) {
    this.#buffer = buffer;
  }

  /** Begins another reply. */
  begin(): void {
    this.#received = 0;
  }

  /** A piece of the reply arrives, of so many seconds. If it should be playing already, there is a gap before it. */
  receive(now: number, seconds: number): void {
    if (this.#received === 0) this.#start = now + this.#buffer;
    const late = now - this.end;
    if (late > 0) {
      this.#underruns++;
      this.#missing += late;
      this.#start += late;
    }
    this.#received += seconds;
  }

  /** When the reply begins to play; of one with gaps, when it would have begun if there were none. */
  get start(): number {
    return this.#start;
  }

  /** When all that has arrived is played. */
  get end(): number {
    return this.#start + this.#received;
  }

  /** Gaps amid replies. */
  get underruns(): number {
    return this.#underruns;
  }

  /** Seconds of gaps. */
  get missing(): number {
    return this.#missing;
  }
}
