import { setImmediate } from "node:timers/promises";
import { CaracalError, throwIfAborted } from "../errors.js";

/** Stop band in dB below the signal, and the part of the lower Nyquist band that passes untouched. */
const attenuation = 96;
const passband = 0.93;
/** Interpolation phases kept at most; common rates need 160 or fewer, odd ones get the nearest such ratio. */
const maxPhases = 1000;

/** Modified Bessel function I0, the series of the Kaiser window. */
function besselI0(x: number): number {
  let sum = 1;
  for (let term = 1, k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** The fraction nearest to `value` with a denominator of at most `limit`, by continued fractions. */
function nearestFraction(value: number, limit: number): [number, number] {
  let [n0, d0, n1, d1] = [0, 1, 1, 0];
  for (let rest = value; ; rest = 1 / (rest - Math.floor(rest))) {
    const digit = Math.floor(rest + 1e-9);
    [n0, d0, n1, d1] = [n1, d1, n1 * digit + n0, d1 * digit + d0];
    if (d1 > limit) return [n0, d0];
    if (Math.abs(n1 / d1 - value) < 1e-12 * value) return [n1, d1];
  }
}

/**
 * Changes a signal's sample rate: a polyphase FIR filter, sinc under a Kaiser window. Linear phase without delay,
 * aliases at least 90 dB down, flat to 93 % of the lower Nyquist frequency. Feed any chunks and then `flush`: the
 * output does not depend on how the input was cut. `ceil(inputs · to / from)` samples come out in all.
 */
export class Resampler {
  readonly #step: number; // output n stands at input position n · step / phases
  readonly #phases: number;
  readonly #half: number; // taps on each side
  readonly #taps: Float32Array; // [phases][2 · half]
  #pending: Float32Array; // input from absolute index #first
  #first: number;
  #received = 0;
  #emitted = 0;

  /** @param from, to sample rates in Hz */
  constructor(from: number, to: number) {
    if (!(from > 0 && to > 0 && Number.isFinite(from) && Number.isFinite(to))) {
      throw new CaracalError("INVALID_ARGUMENT", `sample rates must be positive, got ${from} and ${to}`, { from, to });
    }
    [this.#step, this.#phases] = nearestFraction(from / to, maxPhases);
    const nyquist = 0.5 * Math.min(1, to / from); // cycles per input sample
    const transition = (1 - passband) * nyquist;
    this.#half = Math.ceil((attenuation - 7.95) / (2.285 * 2 * Math.PI * transition) / 2);
    this.#taps = this.#designTaps(nyquist - transition / 2);
    this.#pending = new Float32Array(this.#half - 1); // silence before the first sample
    this.#first = 1 - this.#half;
  }

  #designTaps(cutoff: number): Float32Array {
    const width = 2 * this.#half;
    const beta = 0.1102 * (attenuation - 8.7);
    const taps = new Float32Array(this.#phases * width);
    const row = new Float64Array(width);
    for (let phase = 0; phase < this.#phases; phase++) {
      let gain = 0;
      for (let k = 0; k < width; k++) {
        const t = k - (this.#half - 1) - phase / this.#phases;
        const angle = 2 * Math.PI * cutoff * t;
        const sinc = t === 0 ? 1 : Math.sin(angle) / angle;
        row[k] = sinc * besselI0(beta * Math.sqrt(Math.max(0, 1 - (t / this.#half) ** 2)));
        gain += row[k]!;
      }
      for (let k = 0; k < width; k++) taps[phase * width + k] = row[k]! / gain;
    }
    return taps;
  }

  /** Adds input; returns the output that no longer depends on what follows. */
  push(samples: Float32Array): Float32Array {
    this.#append(samples);
    this.#received += samples.length;
    // Output n reads input up to floor(n · step / phases) + half.
    const ready = Math.ceil(((this.#received - this.#half) * this.#phases) / this.#step);
    return this.#emit(ready);
  }

  /** The input has ended: returns the remaining output and starts anew. */
  flush(): Float32Array {
    this.#append(new Float32Array(this.#half + 1));
    const rest = this.#emit(Math.ceil((this.#received * this.#phases) / this.#step));
    this.#pending = new Float32Array(this.#half - 1);
    this.#first = 1 - this.#half;
    this.#received = 0;
    this.#emitted = 0;
    return rest;
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
      let sum = 0;
      for (let k = 0; k < width; k++) sum += taps[row + k]! * input[from + k]!;
      out[i] = sum;
    }
    this.#emitted += out.length;
    const used = Math.min(Math.max(0, inputOf(this.#emitted)), input.length);
    this.#pending = input.slice(used);
    this.#first += used;
    return out;
  }
}

/** A whole signal at another sample rate, leaving the event loop free in between. */
export async function resample(
  samples: Float32Array,
  from: number,
  to: number,
  options: { signal?: AbortSignal } = {},
): Promise<Float32Array> {
  if (from === to) return samples;
  const resampler = new Resampler(from, to);
  const parts: Float32Array[] = [];
  for (let at = 0; at < samples.length; at += 65536) {
    throwIfAborted(options.signal, "resampling");
    parts.push(resampler.push(samples.subarray(at, at + 65536)));
    await setImmediate();
  }
  parts.push(resampler.flush());
  return concat(parts);
}

/** The parts of a signal as one. */
export function concat(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
