import type { RgbImage } from "../media/image.js";

/** Frames per second that are kept while the user speaks, as published: a unit has two. */
const denseFps = 2;
/** Seconds between frames that are kept otherwise, as published. */
const sparseSeconds = 2;

/** A visual unit of a turn. */
export interface SeenUnit {
  readonly frames: readonly [RgbImage] | readonly [RgbImage, RgbImage];
  /** Seconds from the start of the session. */
  readonly seconds: number;
}

/**
 * Chooses from the frames of a camera: two for each second of the user's speech, which make a unit, and one every two
 * seconds between turns, each a unit of its own for the beginning of the next turn ("sparse-dense sampling").
 */
export class FrameSampler {
  readonly #mostWaiting: number;
  #waiting: SeenUnit[] = [];
  #slot = -1;
  #spoken: Map<number, RgbImage> | undefined;

  /** @param mostWaiting units kept between turns; the oldest give way */
  constructor(mostWaiting: number) {
    this.#mostWaiting = mostWaiting;
  }

  /**
   * @param seconds when the frame was seen, from the start of the session
   * @param spoken how long the user has been speaking in this turn, in seconds; undefined between turns
   */
  look(frame: RgbImage, seconds: number, spoken: number | undefined): void {
    if (spoken !== undefined && this.#spoken) {
      const slot = Math.floor(spoken * denseFps);
      if (!this.#spoken.has(slot)) this.#spoken.set(slot, frame);
      return;
    }
    const slot = Math.floor(seconds / sparseSeconds);
    if (slot === this.#slot) return;
    this.#slot = slot;
    this.#waiting.push({ frames: [frame], seconds });
    if (this.#waiting.length > this.#mostWaiting) this.#waiting.shift();
  }

  /** Begins a turn. @returns the units that were seen before it */
  startTurn(): SeenUnit[] {
    this.#spoken = new Map();
    return this.#waiting.splice(0);
  }

  /**
   * The unit of a second of the user's speech, if anything was seen then. What was seen in earlier ones is forgotten.
   * @param start when the turn began, in seconds from the start of the session
   */
  unit(second: number, start: number): SeenUnit | undefined {
    const slots = Array.from({ length: denseFps }, (_, i) => second * denseFps + i);
    const [first, other] = slots.flatMap((slot) => this.#spoken?.get(slot) ?? []);
    for (const slot of this.#spoken?.keys() ?? []) if (slot < slots[0]!) this.#spoken!.delete(slot);
    return first && { frames: other ? [first, other] : [first], seconds: start + second };
  }

  endTurn(): void {
    this.#spoken = undefined;
  }
}
