import { inputChunk, inputRate } from "./pcm.js";
import { Resampler } from "./resampler.js";

/** A message to the page. */
export interface MicrophoneMessage {
  readonly samples: Float32Array<ArrayBuffer>;
}

/** Sends what the microphone hears to the page in chunks, mono and at the session's rate. */
class Microphone extends AudioWorkletProcessor {
  readonly #resampler = new Resampler(sampleRate, inputRate);
  #samples = new Float32Array(inputChunk);
  #count = 0;

  process([input]: readonly Float32Array[][]): boolean {
    const samples = input?.[0];
    if (!samples) return true; // it is not connected yet, or no longer
    for (const sample of this.#resampler.push(samples)) {
      this.#samples[this.#count++] = sample;
      if (this.#count < inputChunk) continue;
      this.port.postMessage({ samples: this.#samples } satisfies MicrophoneMessage, [this.#samples.buffer]);
      this.#samples = new Float32Array(inputChunk);
      this.#count = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
