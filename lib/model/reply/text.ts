const pauseMark = "</pause>";
const endMark = "</longcat_s>";

/** A plain copy of a `ReplyText`'s state. */
export interface ReplyTextSnapshot {
  readonly mark: string;
  readonly space: string;
  readonly afterStop: boolean;
  readonly started: boolean;
}

/**
 * Cleans a reply's text while it streams: `.</pause>` becomes ". ", other `</pause>` and `</longcat_s>` vanish, white
 * space at both ends is dropped (LongCat-Flash-Omni's published post-processing). The possible beginning of a mark and
 * trailing white space are held back until more text decides.
 */
export class ReplyText {
  #mark = ""; // held back: may become a mark
  #space = ""; // held back: may turn out to be trailing
  #afterStop = false; // whether the raw text so far ends in "."
  #started = false; // whether any text was returned

  /** Adds raw decoded text and returns the clean text that became final. */
  push(text: string): string {
    const raw = this.#mark + text;
    this.#mark = possibleMark(raw);
    return this.#clean(raw.slice(0, raw.length - this.#mark.length));
  }

  /** Ends the text and returns its remaining part. */
  end(): string {
    const remaining = this.#clean(this.#mark);
    this.#mark = "";
    this.#space = "";
    return remaining;
  }

  /** Copies the state. `restore` rolls a reply back to it when a live session retracts text. */
  snapshot(): ReplyTextSnapshot {
    return { mark: this.#mark, space: this.#space, afterStop: this.#afterStop, started: this.#started };
  }

  /** Returns to the state of a snapshot. */
  restore(snapshot: ReplyTextSnapshot): void {
    this.#mark = snapshot.mark;
    this.#space = snapshot.space;
    this.#afterStop = snapshot.afterStop;
    this.#started = snapshot.started;
  }

  #clean(raw: string): string {
    if (raw === "") return "";
    const prefix = this.#afterStop ? "." : "";
    const clean = (prefix + raw).replaceAll(`.${pauseMark}`, ". ").replaceAll(pauseMark, "").replaceAll(endMark, "");
    this.#afterStop = raw.endsWith(".");
    const text = this.#space + clean.slice(prefix.length);
    const body = (this.#started ? text : text.trimStart()).trimEnd();
    this.#space = text.slice(text.trimEnd().length);
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
