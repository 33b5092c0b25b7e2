import type { AudioFeatureConfig } from "../../checkpoint/config.js";
import type { Cmvn } from "../../checkpoint/kaldi.js";
import { CaracalError } from "../../errors.js";
import * as ops from "../../ops/index.js";
import type { Device } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";

/**
 * The audio encoder's front end: log-mel filter banks, mean and variance normalisation, and stacking of neighbouring
 * frames, as LongCat-Flash-Omni's published feature code has it. Samples are mono, in [−1, 1].
 */
export class AudioFeatures {
  /** Samples per second. */
  readonly sampleRate: number;
  /** @internal */
  readonly fbank: ops.FbankOptions;
  readonly #cmvn: { readonly mean: Tensor<"f32">; readonly inverseStd: Tensor<"f32"> } | undefined;

  /**
   * @param cmvn left out, frames are not normalised
   * @throws `UNSUPPORTED` for delta features
   */
  constructor(
    readonly device: Device,
    readonly config: AudioFeatureConfig,
    cmvn?: Cmvn,
  ) {
    const { fbank, delta } = config;
    if (delta.delta_order > 0)
      throw new CaracalError("UNSUPPORTED", `delta features are not there: delta_order is ${delta.delta_order}, not 0`);
    this.sampleRate = fbank.freq;
    const frameLength = Math.round((fbank.freq * fbank.frame_length) / 1000);
    this.fbank = {
      sampleRate: fbank.freq,
      frameLength,
      frameShift: Math.round((fbank.freq * fbank.frame_shift) / 1000),
      fftSize: 2 ** Math.ceil(Math.log2(frameLength)),
      melBins: fbank.num_mel_bins,
      lowHz: fbank.low_freq,
      highHz: fbank.high_freq,
      preemphasis: fbank.preemphasis,
    };
    const vector = (values: Float64Array) => device.tensor(values, [values.length]);
    this.#cmvn = cmvn && { mean: vector(cmvn.mean), inverseStd: vector(cmvn.istd) };
  }

  /** The log-mel frames of a whole recording, before normalisation: f32 `[frames, num_mel_bins]`. */
  melFrames(samples: Float32Array): Tensor<"f32"> {
    using wave = this.device.tensor(toInt16Range(samples), [samples.length]);
    return ops.fbank(wave, this.fbank);
  }

  /** The encoder's input for a whole recording: f32 `[ceil(frames / stride), num_mel_bins · (left + 1 + right)]`. */
  extract(samples: Float32Array): Tensor<"f32"> {
    return this.device.scope(() => ops.splice(this.normalise(this.melFrames(samples)), this.config.splice));
  }

  /** The same as samples arrive. */
  stream(): AudioFeatureStream {
    return new AudioFeatureStream(this);
  }

  /** @internal */
  normalise(frames: Tensor<"f32">): Tensor<"f32"> {
    return this.#cmvn ? ops.cmvn(frames, this.#cmvn.mean, this.#cmvn.inverseStd) : frames;
  }

  dispose(): void {
    this.#cmvn?.mean.dispose();
    this.#cmvn?.inverseStd.dispose();
  }
}

/** Extracts the features of one recording piece by piece; whatever the pieces, together they are those of the whole. */
export class AudioFeatureStream {
  readonly #fbank: ops.FbankStream;
  readonly #splice: ops.SpliceStream;

  constructor(private readonly features: AudioFeatures) {
    const { device, config } = features;
    this.#fbank = new ops.FbankStream(device, features.fbank);
    this.#splice = new ops.SpliceStream(device, config.fbank.num_mel_bins, config.splice);
  }

  /** The steps whose right context is there by now, `[n, C]`, n may be 0; with `last` all that are left. */
  push(samples: Float32Array, options: ops.PushOptions = {}): Tensor<"f32"> {
    return this.features.device.scope(() => {
      const frames = this.#fbank.push(toInt16Range(samples));
      return this.#splice.push(this.features.normalise(frames), options);
    });
  }

  dispose(): void {
    this.#splice.dispose();
  }
}

/** Filter banks take the range of 16-bit integers: the floor under their logarithm is absolute. */
const toInt16Range = (samples: Float32Array): Float32Array => samples.map((sample) => sample * 32768);
