import { encodeALaw, encodeMuLaw } from "../../media/g711.js";
import { Resampler } from "../../media/resample.js";
import { pcm16 } from "../../media/wav.js";
import { atOnce } from "../../turns.js";
import { type AudioFormat, rateOf } from "./audioFormat.js";

const encoders = { "audio/pcm": pcm16, "audio/pcmu": encodeMuLaw, "audio/pcma": encodeALaw };

/** Speech of the model, as it comes, in the format of a client. However it is cut, the joined bytes are the same. */
export class AudioOut {
  readonly #format: AudioFormat;
  readonly #resampler: Resampler | undefined;

  /** @param rate of the speech, in Hz */
  constructor(format: AudioFormat, rate: number) {
    this.#format = format;
    if (rateOf(format) !== rate) this.#resampler = atOnce(Resampler.design(rate, rateOf(format)));
  }

  /** The bytes that are known now; there may be none. */
  push(samples: Float32Array): Uint8Array {
    return this.#encode(this.#resampler ? this.#resampler.push(samples) : samples);
  }

  /** The bytes that waited for more speech. */
  end(): Uint8Array {
    return this.#encode(this.#resampler ? this.#resampler.flush() : new Float32Array(0));
  }

  #encode(samples: Float32Array): Uint8Array {
    return encoders[this.#format.type](samples);
  }
}
