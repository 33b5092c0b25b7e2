import { element } from "./element.js";
import { type Stage, stagesOf, type TurnTimes, totalOf } from "./latency.js";

/** Turns that are shown. */
const most = 5;

/** A bar for each of the latest spoken turns, from the end of speech to the first sound of the reply. */
export class LatencyStrip {
  readonly #list: HTMLElement;
  readonly #underruns: HTMLElement;
  readonly #turns: TurnTimes[] = [];

  /** @param list takes an item for each turn; @param underruns says how often the sound broke off */
  constructor(list: HTMLElement, underruns: HTMLElement) {
    this.#list = list;
    this.#underruns = underruns;
  }

  /** Shows a turn, or what became of it. */
  show(times: TurnTimes): void {
    if (!this.#turns.includes(times)) this.#turns.unshift(times);
    this.#turns.splice(most);
    const turns = this.#turns.map(stagesOf);
    const longest = Math.max(...turns.map(totalOf));
    this.#list.replaceChildren(...turns.map((stages, age) => item(stages, longest, age === 0)));
  }

  set underruns(count: number) {
    const text = count === 0 ? "" : `The sound broke off ${count === 1 ? "once" : `${count} times`}.`;
    if (this.#underruns.textContent !== text) this.#underruns.textContent = text;
  }

  clear(): void {
    this.#turns.length = 0;
    this.#list.replaceChildren();
  }
}

/** @param isLatest whether its stages are written out, also for those who can see the bar */
function item(stages: readonly Stage[], longest: number, isLatest: boolean): HTMLElement {
  const total = totalOf(stages);
  const bar = element("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.style.width = `${(100 * total) / Math.max(1, longest)}%`;
  const legend = element("span", isLatest ? "legend" : "visually-hidden");
  for (const { key, label, milliseconds } of stages) {
    const segment = element("span", key);
    segment.style.flexGrow = String(milliseconds);
    bar.append(segment);
    legend.append(element("span", key, `${label} ${milliseconds}`), " ");
  }
  const number = element("strong", "", String(total));
  return element("li", "", element("span", "total", number, " ms"), bar, legend);
}
