import { inputChunk, inputRate } from "./pcm.js";

/** How loud each chunk of the sound was that was sent. */
export class Loudness {
  readonly #levels: number[] = [];

  /** Takes a chunk. @returns the root of its mean square */
  push(samples: Float32Array): number {
    const level = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
    this.#levels.push(level);
    return level;
  }

  /** The loudest moments of so many equal parts of a time, in milliseconds from the first chunk; the greatest is 1. */
  parts(from: number, to: number, count: number): number[] {
    const chunk = (1000 * inputChunk) / inputRate;
    const levels = this.#levels.slice(Math.round(from / chunk), Math.round(to / chunk));
    const greatest = Math.max(...levels, 1e-6);
    return Array.from({ length: count }, (_, part) => {
      const first = Math.floor((part * levels.length) / count);
      const end = Math.max(first + 1, Math.floor(((part + 1) * levels.length) / count));
      return Math.max(0, ...levels.slice(first, end)) / greatest;
    });
  }
}
