import { chunkTokens, type InterleavedPiece } from "../model/prompt/interleave.js";

/** Seconds of a chunk, as published. */
export const chunkSeconds = 1;

/**
 * The order of what a user says and shows, while it arrives: `interleaveSequential` without knowing the end. A chunk's
 * visual units come before its audio tokens; whatever audio follows the last unit simply goes on.
 */
export class TurnLayout {
  #chunk = 0;
  /** Audio tokens that the chunk has got. */
  #written = 0;
  #spoken = false;
  /** The chunk that each unit came in, of those that have no place yet, from unit number `#placed` on. */
  #units: number[] = [];
  #placed = 0;

  /** Units that have no place, because no audio followed them. */
  get waitingUnits(): number {
    return this.#units.length;
  }

  /** Adds a unit of frames that were seen during a chunk, or since the one before it. */
  addUnit(chunk: number): void {
    this.#units.push(chunk);
  }

  /** The pieces that audio tokens which are now final lead to. */
  addAudio(tokens: number): InterleavedPiece[] {
    const pieces: InterleavedPiece[] = [];
    for (let left = tokens; left > 0; ) {
      if (this.#written === 0) pieces.push(...this.#unitsOfChunk());
      if (!this.#spoken) pieces.push({ type: "audioStart" });
      this.#spoken = true;
      const room = chunkTokens(this.#chunk, chunkSeconds) - this.#written;
      const count = Math.min(left, room);
      pieces.push({ type: "audio", tokens: count });
      left -= count;
      this.#written = count === room ? 0 : this.#written + count;
      if (count === room) this.#chunk++;
    }
    return pieces;
  }

  /** The pieces after the last audio token. */
  end(): InterleavedPiece[] {
    return this.#spoken ? [{ type: "audioEnd" }] : [];
  }

  /** A layout that has got the same. */
  fork(): TurnLayout {
    const fork = new TurnLayout();
    fork.#chunk = this.#chunk;
    fork.#written = this.#written;
    fork.#spoken = this.#spoken;
    fork.#units = [...this.#units];
    fork.#placed = this.#placed;
    return fork;
  }

  #unitsOfChunk(): InterleavedPiece[] {
    const later = this.#units.findIndex((chunk) => chunk > this.#chunk);
    const placed = this.#units.splice(0, later < 0 ? this.#units.length : later);
    return placed.map(() => ({ type: "unit", unit: this.#placed++ }));
  }
}
