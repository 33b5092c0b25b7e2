import { aLaw, muLaw } from "../../media/g711.js";
import { Resampler } from "../../media/resample.js";
import { atOnce } from "../../turns.js";
import { type AudioFormat, rateOf } from "./audioFormat.js";

/** Sound of a client, as it comes, as the samples that a session hears. However it is cut, the samples are the same. */
export class AudioIn {
  readonly format: AudioFormat;
  readonly #resampler: Resampler | undefined;
  /** The first byte of a sample whose second one has not come yet. */
  #half: number | undefined;

  /** @param rate of the samples that are heard, in Hz */
  constructor(format: AudioFormat, rate: number) {
    this.format = format;
    if (rateOf(format) !== rate) this.#resampler = atOnce(Resampler.design(rateOf(format), rate));
  }

  /** The samples that are known now. */
  push(bytes: Uint8Array): Float32Array {
    const samples = this.#decode(bytes);
    return this.#resampler ? this.#resampler.push(samples) : samples;
  }

  /** Ends the sound: the samples that waited for more of it. What is pushed next begins another. */
  end(): Float32Array {
    this.#half = undefined;
    return this.#resampler ? this.#resampler.flush() : new Float32Array(0);
  }

  #decode(bytes: Uint8Array): Float32Array {
    if (this.format.type !== "audio/pcm") {
      const values = this.format.type === "audio/pcma" ? aLaw : muLaw;
      return Float32Array.from(bytes, (code) => values[code]!);
    }
    const joined = this.#half === undefined ? bytes : Uint8Array.of(this.#half, ...bytes.subarray(0, 1));
    if (joined.length < 2) {
      this.#half = joined[0];
      return new Float32Array(0);
    }
    const rest = this.#half === undefined ? bytes : bytes.subarray(1);
    const first = this.#half === undefined ? [] : [sampleAt(joined, 0)];
    const count = rest.length >> 1;
    const samples = new Float32Array(first.length + count);
    samples.set(first);
    for (let i = 0; i < count; i++) samples[first.length + i] = sampleAt(rest, 2 * i);
    this.#half = rest.length % 2 === 1 ? rest.at(-1) : undefined;
    return samples;
  }
}

/** A sample of 16 bits, little-endian. */
const sampleAt = (bytes: Uint8Array, at: number) => ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) / 2 ** 31;
