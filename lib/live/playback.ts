import type { LiveClock } from "./options.js";

/** How much of a reply a listener has heard, if it is played as it arrives. */
export class Playback {
  readonly item: string;
  readonly #clock: LiveClock;
  #first: number | undefined;
  #sent = 0;
  #ended = false;

  constructor(item: string, clock: LiveClock) {
    this.item = item;
    this.#clock = clock;
  }

  /** Seconds of speech that are sent now. */
  add(seconds: number): void {
    this.#first ??= this.#clock.now();
    this.#sent += seconds;
  }

  /** Nothing more will be sent. */
  end(): void {
    this.#ended = true;
  }

  /** Seconds of speech heard so far. */
  get heard(): number {
    return this.#first === undefined ? 0 : Math.min(this.#sent, this.#clock.now() - this.#first);
  }

  /** Whether everything was sent and heard. */
  get finished(): boolean {
    return this.#ended && this.heard >= this.#sent;
  }
}
