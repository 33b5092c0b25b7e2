/** From when to when something lasts, in seconds. */
export type Span = readonly [from: number, to: number];

/** The loudspeaker of a listener: it begins to play a reply a while after its first piece has arrived. Times in seconds. */
export class Playout {
  readonly #buffer: number;
  /** When the reply plays: a span more for each gap. */
  #spans: [from: number, to: number][] = [];
  #underruns = 0;
  #missing = 0;

  /** @param buffer how long it waits before it plays what has arrived */
  constructor(buffer: number) {
    this.#buffer = buffer;
  }

  /** Begins another reply. */
  begin(): void {
    this.#spans = [];
  }

  /** A piece of the reply arrives, of so many seconds. If it should be playing already, there is a gap before it. */
  receive(now: number, seconds: number): void {
    const last = this.#spans.at(-1);
    const late = last ? now - last[1] : 0;
    if (last && late <= 0) {
      last[1] += seconds;
      return;
    }
    const from = last ? now : now + this.#buffer;
    this.#spans.push([from, from + seconds]);
    if (!last) return;
    this.#underruns++;
    this.#missing += late;
  }

  /** When the reply begins to play; 0 if nothing of it has arrived. */
  get start(): number {
    return this.#spans[0]?.[0] ?? 0;
  }

  /** When all that has arrived is played; 0 if nothing has. */
  get end(): number {
    return this.#spans.at(-1)?.[1] ?? 0;
  }

  /** When the reply plays, if it is stopped then. */
  playing(until: number): Span[] {
    return this.#spans.filter(([from]) => from < until).map(([from, to]) => [from, Math.min(to, until)]);
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
