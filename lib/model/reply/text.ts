const pauseMark = "</pause>";
const endMark = "</longcat_s>";

/** A plain copy of a `ReplyText`'s state. */
export interface ReplyTextSnapshot {
  readonly mark: string;
  readonly held: string;
  readonly afterPeriod: boolean;
  readonly started: boolean;
  readonly stopString: string | null;
}

/**
 * Cleans a reply's text while it streams: `.</pause>` becomes ". ", other `</pause>` and `</longcat_s>` vanish, white
 * space at both ends is dropped (LongCat-Flash-Omni's published post-processing). The text ends before the stop string
 * that is complete first. The possible beginning of a mark or stop string and trailing white space are held back until
 * more text decides.
 */
export class ReplyText {
  readonly #stops: readonly string[];
  #mark = ""; // held back: may become a mark
  #held = ""; // clean, but held back: may turn out to be trailing, or to begin a stop string
  #afterPeriod = false; // whether the raw text so far ends in "."
  #started = false; // whether any text was returned
  #stopString: string | null = null;

  /** @param stops strings that end the text, none of them empty */
  constructor(stops: readonly string[] = []) {
    this.#stops = stops;
  }

  /** The stop string that ended the text; null while none did. */
  get stopString(): string | null {
    return this.#stopString;
  }

  /** Adds raw decoded text and returns the clean text that became final; nothing more once a stop string was found. */
  push(text: string): string {
    const raw = this.#mark + text;
    this.#mark = possibleMark(raw);
    return this.#clean(raw.slice(0, raw.length - this.#mark.length));
  }

  /** Ends the text and returns its remaining part. */
  end(): string {
    const remaining = this.#clean(this.#mark) + this.#held.trimEnd();
    this.#mark = "";
    this.#held = "";
    return remaining;
  }

  /** Copies the state. `restore` rolls a reply back to it when a live session retracts text. */
  snapshot(): ReplyTextSnapshot {
    return {
      mark: this.#mark,
      held: this.#held,
      afterPeriod: this.#afterPeriod,
      started: this.#started,
      stopString: this.#stopString,
    };
  }

  /** Returns to the state of a snapshot. */
  restore(snapshot: ReplyTextSnapshot): void {
    this.#mark = snapshot.mark;
    this.#held = snapshot.held;
    this.#afterPeriod = snapshot.afterPeriod;
    this.#started = snapshot.started;
    this.#stopString = snapshot.stopString;
  }

  #clean(raw: string): string {
    if (raw === "" || this.#stopString !== null) return "";
    const prefix = this.#afterPeriod ? "." : "";
    const clean = (prefix + raw).replaceAll(`.${pauseMark}`, ". ").replaceAll(pauseMark, "").replaceAll(endMark, "");
    this.#afterPeriod = raw.endsWith(".");
    const added = this.#held + clean.slice(prefix.length);
    const text = this.#started ? added : added.trimStart();
    const stop = firstStop(text, this.#stops);
    if (stop) this.#stopString = stop.string;
    const body = text.slice(0, stop?.start ?? possibleStop(text, this.#stops)).trimEnd();
    this.#held = stop ? "" : text.slice(body.length);
    this.#started ||= body !== "";
    return body;
  }
}

/** The longest suffix of `text` that may begin a mark. */
function possibleMark(text: string): string {
  const from = text.lastIndexOf("<");
  const tail = from < 0 ? "" : text.slice(from);
  const open = [pauseMark, endMark].some((mark) => tail.length < mark.length && mark.startsWith(tail));
  return open ? tail : "";
}

/** The stop string that is complete first; of several that end together, the longest. */
function firstStop(text: string, stops: readonly string[]): { string: string; start: number } | undefined {
  const found = stops.map((string) => ({ string, start: text.indexOf(string) })).filter(({ start }) => start >= 0);
  const end = ({ string, start }: { string: string; start: number }) => start + string.length;
  return found.sort((a, b) => end(a) - end(b) || a.start - b.start)[0];
}

/** Where the longest suffix of `text` begins that may begin a stop string; the end of the text if none does. */
function possibleStop(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let from = Math.max(0, text.length - longest); from < text.length; from++)
    if (stops.some((stop) => stop.startsWith(text.slice(from)))) return from;
  return text.length;
}
