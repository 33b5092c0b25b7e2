import type { Attachment } from "./attachments.js";
import { element } from "./element.js";

interface Turn {
  readonly article: HTMLElement;
  readonly text: HTMLElement;
  readonly note: HTMLElement;
}

const seconds = (value: number) => `${value.toFixed(1)} s`;

function waveform(loudness: readonly number[]): HTMLElement {
  const bars = loudness.map((level) => {
    const bar = element("span");
    bar.style.height = `${100 * Math.max(0.1, level)}%`;
    return bar;
  });
  const wave = element("span", "wave", ...bars);
  wave.setAttribute("aria-hidden", "true");
  return wave;
}

/** Who said what: a log, which screen readers read out when a turn is complete. */
export class Captions {
  readonly #log: HTMLElement;
  readonly #turns = new Map<string, Turn>();

  constructor(log: HTMLElement) {
    this.#log = log;
  }

  /** The user begins to speak. */
  userSpeaks(id: string): void {
    this.#add(id, "user", "speaking …").article.classList.add("spoken");
  }

  /** The user has spoken for so long. @param loudness of the parts of the turn, up to 1 */
  userSpoke(id: string, duration: number, loudness: readonly number[]): void {
    this.#turns.get(id)?.text.replaceChildren(waveform(loudness), `spoken turn (${seconds(duration)})`);
    this.#finish(id);
  }

  userWrote(id: string, text: string, attachments: readonly Attachment[]): void {
    const { article } = this.#add(id, "user", text);
    for (const { name, part, seconds: duration } of attachments) {
      if (part.type === "input_audio") {
        article.append(element("p", "file", duration === undefined ? name : `${name} (${seconds(duration)})`));
        continue;
      }
      const image = element("img");
      image.src = part.image_url;
      image.alt = name;
      image.addEventListener("load", () => this.#follow(), { once: true });
      article.append(image);
    }
    this.#finish(id);
  }

  /** A reply begins. */
  reply(id: string): void {
    this.#add(id, "assistant", "");
  }

  /** A reply goes on. */
  text(id: string, delta: string): void {
    const turn = this.#turns.get(id);
    turn?.text.append(delta);
    this.#follow();
  }

  /** A reply was interrupted. */
  interrupted(id: string): void {
    const turn = this.#turns.get(id);
    if (!turn) return;
    turn.article.classList.add("interrupted");
    turn.note.textContent = "interrupted";
    this.#finish(id);
  }

  /** Of a reply that was interrupted, the conversation keeps this beginning; the user did not hear what follows. */
  keep(id: string, kept: string): void {
    const turn = this.#turns.get(id);
    if (!turn) return;
    const all = turn.text.textContent ?? "";
    if (!all.startsWith(kept)) return;
    const unheard = all.slice(kept.length);
    turn.text.replaceChildren(kept);
    if (unheard === "") return;
    turn.text.append(element("del", "", unheard));
    this.interrupted(id);
  }

  /** A reply has ended. */
  done(id: string, note = ""): void {
    const turn = this.#turns.get(id);
    if (turn && note !== "") turn.note.textContent = note;
    this.#finish(id);
  }

  clear(): void {
    this.#turns.clear();
    this.#log.replaceChildren();
  }

  #add(id: string, role: "user" | "assistant", words: string): Turn {
    const text = element("p", "text", words);
    const note = element("span", "note");
    const who = element("p", "who", role === "user" ? "You" : "Model", note);
    const article = element("article", `turn ${role}`, who, text);
    article.setAttribute("aria-busy", "true");
    const turn = { article, text, note };
    this.#turns.set(id, turn);
    this.#log.append(article);
    this.#follow(true);
    return turn;
  }

  #finish(id: string): void {
    this.#turns.get(id)?.article.removeAttribute("aria-busy");
    this.#follow();
  }

  /** Shows the end of the log, unless the user reads what was said before. */
  #follow(always = false): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    if (always || scrollHeight - scrollTop - clientHeight < 120) this.#log.scrollTop = scrollHeight;
  }
}
