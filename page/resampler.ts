/** Zeros of the sinc on each side of a sample. */
const lobes = 12;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Changes the rate of sound that arrives in blocks, by a windowed sinc. However it is cut, the result is the same. */
export class Resampler {
  /** Output sample n is at the input's n * step / phases. */
  readonly #step: number;
  readonly #filters: readonly Float32Array[];
  readonly #reach: number;
  /** Input from the first sample that is still needed on. */
  #waiting: Float32Array;
  /** Where the next output sample is, in 1/phases of an input sample from the beginning of `waiting`. */
  #position: number;

  /** @param from rate of the input, in Hz; @param to rate of the output */
  constructor(from: number, to: number) {
    const common = gcd(from, to);
    const phases = to / common;
    this.#step = from / common;
    const cutoff = 0.94 * Math.min(1, to / from); // below the lower rate's half, which leaves room for the slope
    this.#reach = Math.ceil(lobes / cutoff);
    this.#filters = Array.from({ length: phases }, (_, phase) => this.#design(cutoff, phase / phases));
    this.#waiting = new Float32Array(this.#reach - 1); // silence before the sound
    this.#position = (this.#reach - 1) * phases;
  }

  /** The samples that can be computed now. */
  push(samples: Float32Array): Float32Array {
    const phases = this.#filters.length;
    const input = new Float32Array(this.#waiting.length + samples.length);
    input.set(this.#waiting);
    input.set(samples, this.#waiting.length);
    const end = (input.length - this.#reach) * phases;
    const output = new Float32Array(Math.max(0, Math.ceil((end - this.#position) / this.#step)));
    for (let n = 0; n < output.length; n++, this.#position += this.#step) {
      const first = Math.floor(this.#position / phases) - this.#reach + 1;
      const filter = this.#filters[this.#position % phases]!;
      let sum = 0;
      for (let tap = 0; tap < filter.length; tap++) sum += filter[tap]! * input[first + tap]!;
      output[n] = sum;
    }
    const used = Math.min(Math.floor(this.#position / phases) - this.#reach + 1, input.length);
    this.#waiting = input.slice(used);
    this.#position -= used * phases;
    return output;
  }

  /** The weights of 2 * reach input samples for an output that is `fraction` after the sample in their middle. */
  #design(cutoff: number, fraction: number): Float32Array {
    const filter = Float32Array.from({ length: 2 * this.#reach }, (_, tap) => {
      const distance = tap - this.#reach + 1 - fraction;
      const x = Math.PI * cutoff * distance;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * distance) / (this.#reach + 1));
      return (x === 0 ? 1 : Math.sin(x) / x) * window;
    });
    const sum = filter.reduce((total, weight) => total + weight, 0);
    return filter.map((weight) => weight / sum); // so that a constant stays what it is
  }
}
