import { CaracalError } from "../errors.js";
import type { Steps } from "../turns.js";

// Written here because the output must not depend on how a stream is split, and a hostile rate must not cost gigabytes.

/** Stop-band attenuation in dB. */
const attenuation = 96;
/** Fraction of the lower Nyquist band that passes unchanged. */
const passband = 0.93;
/**
 * Upper bounds on interpolation phases and on the taps of all phases, which take about 40 ms to compute. Common rates
 * need 160 phases or fewer; others get the nearest ratio within the bounds, a few millionths off.
 */
const maxPhases = 1000;
const maxTaps = 2 ** 18;

/** The modified Bessel function I0, which defines the Kaiser window, by its power series. */
function besselI0(x: number): number {
  let sum = 1;
  for (let term = 1, k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function* designTaps(phases: number, half: number, cutoff: number): Steps<Float32Array> {
  const width = 2 * half;
  const beta = 0.1102 * (attenuation - 8.7);
  const taps = new Float32Array(phases * width);
  const row = new Float64Array(width);
  for (let phase = 0; phase < phases; phase++) {
    let gain = 0;
    for (let k = 0; k < width; k++) {
      const t = k - (half - 1) - phase / phases;
      const angle = 2 * Math.PI * cutoff * t;
      const sinc = t === 0 ? 1 : Math.sin(angle) / angle;
      row[k] = sinc * besselI0(beta * Math.sqrt(Math.max(0, 1 - (t / half) ** 2)));
      gain += row[k]!;
    }
    for (let k = 0; k < width; k++) taps[phase * width + k] = row[k]! / gain;
    yield;
  }
  return taps;
}

/** The nearest fraction to `value` with a denominator of at most `limit`, by continued fractions. */
function nearestFraction(value: number, limit: number): [number, number] {
  let [n0, d0, n1, d1] = [0, 1, 1, 0];
  for (let x = value; ; x = 1 / (x - Math.floor(x))) {
    const digit = Math.floor(x + 1e-9);
    [n0, d0, n1, d1] = [n1, d1, n1 * digit + n0, d1 * digit + d0];
    if (d1 > limit) return [n0, d0];
    if (Math.abs(n1 / d1 - value) < 1e-12 * value) return [n1, d1];
  }
}

interface Filter {
  readonly step: number; // output n is at input position n · step / phases
  readonly phases: number;
  readonly half: number; // taps on each side, an even number
  readonly taps: Float32Array; // [phases][2 · half]
}

/**
 * Changes a signal's sample rate with a polyphase FIR filter, a sinc under a Kaiser window: linear phase without delay,
 * aliases at least 90 dB down, flat to 93 % of the lower Nyquist frequency. Push chunks of any size and then `flush`:
 * the output does not depend on how the input was split, and has `ceil(inputs · to / from)` samples in total.
 */
export class Resampler {
  readonly #step: number;
  readonly #phases: number;
  readonly #half: number;
  readonly #taps: Float32Array;
  #pending: Float32Array; // input from index #first on
  #first: number;
  #received = 0;
  #emitted = 0;

  private constructor(filter: Filter) {
    this.#step = filter.step;
    this.#phases = filter.phases;
    this.#half = filter.half;
    this.#taps = filter.taps;
    this.#pending = new Float32Array(this.#half - 1); // silence before the first sample
    this.#first = 1 - this.#half;
  }

  /**
   * Designs a resampler, in steps.
   * @param from the input's sample rate in Hz
   * @param to the output's sample rate in Hz
   * @throws {CaracalError} `INVALID_ARGUMENT` when a rate is not positive and finite
   */
  static *design(from: number, to: number): Steps<Resampler> {
    if (!(from > 0 && to > 0 && Number.isFinite(from) && Number.isFinite(to))) {
      throw new CaracalError("INVALID_ARGUMENT", `sample rates must be positive, got ${from} and ${to}`, { from, to });
    }
    const nyquist = 0.5 * Math.min(1, to / from); // cycles per input sample
    const transition = (1 - passband) * nyquist;
    const half = 2 * Math.ceil((attenuation - 7.95) / (2.285 * 2 * Math.PI * transition) / 4); // even, for #emit
    const mostPhases = Math.max(1, Math.min(maxPhases, Math.floor(maxTaps / (2 * half))));
    const [step, phases] = nearestFraction(from / to, mostPhases);
    const taps = yield* designTaps(phases, half, nyquist - transition / 2);
    return new Resampler({ step, phases, half, taps });
  }

  /** Adds input and returns the output that no longer depends on later input. */
  push(samples: Float32Array): Float32Array {
    this.#append(samples);
    this.#received += samples.length;
    // Output n reads input up to floor(n · step / phases) + half.
    const ready = Math.ceil(((this.#received - this.#half) * this.#phases) / this.#step);
    return this.#emit(ready);
  }

  /** Ends the input and returns the remaining output. Then restarts. */
  flush(): Float32Array {
    this.#append(new Float32Array(this.#half + 1));
    const remaining = this.#emit(Math.ceil((this.#received * this.#phases) / this.#step));
    this.#pending = new Float32Array(this.#half - 1);
    this.#first = 1 - this.#half;
    this.#received = 0;
    this.#emitted = 0;
    return remaining;
  }

  #append(samples: Float32Array): void {
    const joined = new Float32Array(this.#pending.length + samples.length);
    joined.set(this.#pending);
    joined.set(samples, this.#pending.length);
    this.#pending = joined;
  }

  #emit(until: number): Float32Array {
    const out = new Float32Array(Math.max(0, until - this.#emitted));
    const input = this.#pending;
    const taps = this.#taps;
    const width = 2 * this.#half;
    const inputOf = (n: number): number => Math.floor((n * this.#step) / this.#phases) - this.#half + 1 - this.#first;
    for (let i = 0; i < out.length; i++) {
      const n = this.#emitted + i;
      const from = inputOf(n);
      const row = ((n * this.#step) % this.#phases) * width;
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]; // one sum would wait for each addition
      for (let k = 0; k < width; k += 4) {
        sum0 += taps[row + k]! * input[from + k]!;
        sum1 += taps[row + k + 1]! * input[from + k + 1]!;
        sum2 += taps[row + k + 2]! * input[from + k + 2]!;
        sum3 += taps[row + k + 3]! * input[from + k + 3]!;
      }
      out[i] = sum0 + sum1 + (sum2 + sum3);
    }
    this.#emitted += out.length;
    const used = Math.min(Math.max(0, inputOf(this.#emitted)), input.length);
    this.#pending = input.slice(used);
    this.#first += used;
    return out;
  }
}
