// The random choices of one call: a function of the run's seed and the call's number alone, so that any call can be
// drawn again.

export class Random {
  #state;

  constructor(seed, call) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(call + 1, 0x85ebca6b)) >>> 0;
    this.unit();
  }

  /** Uniform in [0, 1) (mulberry32). */
  unit() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  /** From low to high, inclusive. */
  int(low, high) {
    return low + Math.floor(this.unit() * (high - low + 1));
  }
  chance(probability) {
    return this.unit() < probability;
  }
  pick(...from) {
    return from[this.int(0, from.length - 1)];
  }
  /** What `make` returns, or undefined. */
  maybe(make) {
    return this.chance(0.5) ? make() : undefined;
  }
  list(count, make) {
    return Array.from({ length: count }, (_, i) => make(i));
  }
  ints(count, low, high) {
    return this.list(count, () => this.int(low, high));
  }
  /** A dimension: often 0, 1, or next to a multiple of a vector's or a tile's width. */
  dim(max = 70, min = 0) {
    const chosen = this.chance(0.4) ? this.pick(0, 1, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65) : this.int(1, max);
    return Math.min(max, Math.max(min, chosen));
  }
  shape(minRank, maxRank) {
    return this.list(this.int(minRank, maxRank), (i) => this.dim(i === 0 ? 40 : 12));
  }
}
