import type { Cmvn } from "../../checkpoint/cmvn.js";
import { type AudioFeatureConfig, parseAudioFeatureConfig } from "../../checkpoint/config.js";
import { openAudioFeatures } from "../../checkpoint/parts.js";
import { CaracalError } from "../../errors.js";
import * as ops from "../../ops/index.js";
import { checkedFloats, checkOption, checkOptions, type OptionRule, optional, plainView } from "../../options.js";
import { deviceRule } from "../../tensor/check.js";
import type { Device, Tensor } from "../../tensor/tensor.js";
import type { Rows } from "../types.js";
import { type OpenModuleOptions, openModuleOptions } from "../weights.js";
import { audioFraming } from "./framing.js";

/** Options of `AudioFeatures.open`. */
export type OpenFeaturesOptions = Omit<OpenModuleOptions, "onProgress">;
const { onProgress: _, ...openFeaturesOptions } = openModuleOptions;

/**
 * The audio encoder's front end: log-mel filter banks, mean and variance normalisation, and stacking of neighbouring
 * frames, as in LongCat-Flash-Omni's published feature code. Samples are mono, in [−1, 1].
 */
export class AudioFeatures implements Disposable {
  readonly device: Device;
  readonly config: AudioFeatureConfig;
  /** Samples per second. */
  readonly sampleRate: number;
  /** @internal */
  readonly fbank: ops.FbankOptions;
  readonly #cmvn: { readonly mean: Tensor<"f32">; readonly inverseStd: Tensor<"f32"> } | undefined;

  /**
   * @param cmvn the normalisation; without it, frames are not normalised
   * @throws {CaracalError} `UNSUPPORTED` for delta features, `CHECKPOINT_INVALID` for a wrong field of the config,
   *   `INVALID_ARGUMENT` for another device or normalisation
   */
  constructor(device: Device, config: AudioFeatureConfig, cmvn?: Cmvn) {
    checkOption("AudioFeatures", "device", device, deviceRule);
    checkOption("AudioFeatures", "cmvn", cmvn, optional(cmvnRule));
    const checked = parseAudioFeatureConfig(config, "AudioFeatures: config");
    const { fbank, delta } = checked;
    if (delta.delta_order > 0)
      throw new CaracalError(
        "UNSUPPORTED",
        `delta features are unsupported: delta_order is ${delta.delta_order}, not 0`,
      );
    const { sampleRate, windowSamples, hopSamples } = audioFraming(checked);
    this.device = device;
    this.config = checked;
    this.sampleRate = sampleRate;
    this.fbank = {
      sampleRate,
      frameLength: windowSamples,
      frameShift: hopSamples,
      fftSize: 2 ** Math.ceil(Math.log2(windowSamples)),
      melBins: fbank.num_mel_bins,
      lowHz: fbank.low_freq,
      highHz: fbank.high_freq,
      preemphasis: fbank.preemphasis,
    };
    const vector = (values: Float64Array) => device.tensor(values, [plainView(values, Float64Array)!.length]);
    this.#cmvn = cmvn && { mean: vector(cmvn.mean), inverseStd: vector(cmvn.istd) };
  }

  /**
   * Loads the front end alone from a model directory: reads `audio/preprocessor_config.json` and `audio/global_cmvn`,
   * and needs no other file.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a file is missing or inconsistent, `UNSUPPORTED` for delta
   *   features, `ABORTED`, `IO_ERROR`, `INVALID_ARGUMENT` when an option is unknown
   */
  static async open(directory: string, options: OpenFeaturesOptions): Promise<AudioFeatures> {
    checkOptions("AudioFeatures.open", options, openFeaturesOptions);
    const { features, cmvn } = await openAudioFeatures(directory, options);
    return new AudioFeatures(options.device, features, cmvn);
  }

  /**
   * The log-mel frames of a whole recording, before normalisation: f32 `[frames, num_mel_bins]`. As all functions that
   * take samples, it copies them on the event loop, in 0.1 ms for each second of sound.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no Float32Array, as `extract` and the streams
   */
  melFrames(samples: Float32Array): Rows<"f32"> {
    const values = checkedFloats("AudioFeatures", "samples", samples);
    using wave = this.device.tensor(toInt16Range(values), [values.length]);
    return ops.fbank(wave, this.fbank) as Rows<"f32">;
  }

  /** The encoder's input for a whole recording: f32 `[ceil(frames / stride), num_mel_bins · (left + 1 + right)]`. */
  extract(samples: Float32Array): Rows<"f32"> {
    return this.device.scope(() => {
      return ops.splice(this.normalise(this.melFrames(samples)), this.config.splice) as Rows<"f32">;
    });
  }

  /** Extracts features from samples as they arrive. */
  stream(): AudioFeatureStream {
    return new AudioFeatureStream(this);
  }

  /** @internal */
  normalise(frames: Tensor<"f32">): Tensor<"f32"> {
    return this.#cmvn ? ops.cmvn(frames, this.#cmvn.mean, this.#cmvn.inverseStd) : frames;
  }

  /** Frees the normalisation's tensors. */
  dispose(): void {
    this.#cmvn?.mean.dispose();
    this.#cmvn?.inverseStd.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Extracts the features of one recording in pieces. However it is split, the joined pieces equal the whole. */
export class AudioFeatureStream implements Disposable {
  readonly #features: AudioFeatures;
  readonly #fbank: ops.FbankStream;
  readonly #splice: ops.SpliceStream;

  /** @internal Use `AudioFeatures.stream`. */
  constructor(features: AudioFeatures, from?: AudioFeatureStream) {
    const { device, config } = features;
    this.#features = features;
    this.#fbank = from ? from.#fbank.fork() : new ops.FbankStream(device, features.fbank);
    this.#splice = from ? from.#splice.fork() : new ops.SpliceStream(device, config.fbank.num_mel_bins, config.splice);
  }

  /** Returns the steps whose right context has arrived, `[n, C]`, n may be 0; with `last`, all remaining steps. */
  push(samples: Float32Array, options: ops.PushOptions = {}): Rows<"f32"> {
    const values = checkedFloats("AudioFeatureStream.push", "samples", samples);
    return this.#features.device.scope(() => {
      const frames = this.#fbank.push(toInt16Range(values));
      return this.#splice.push(this.#features.normalise(frames), options) as Rows<"f32">;
    });
  }

  /** A stream that has got the same samples; both then go on by themselves. */
  fork(): AudioFeatureStream {
    return new AudioFeatureStream(this.#features, this);
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#splice.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const cmvnRule: OptionRule = {
  accepts: (value) => {
    const { mean, istd } = Object(value) as Partial<Cmvn>;
    const length = plainView(mean, Float64Array)?.length;
    return length !== undefined && plainView(istd, Float64Array)?.length === length;
  },
  expected: "{ mean, istd }, two Float64Arrays of one length",
};

/** Filter banks expect the range of 16-bit integers, because the floor under their logarithm is absolute. */
function toInt16Range(samples: Float32Array): Float32Array {
  const scaled = new Float32Array(samples.length);
  for (let i = 0; i < scaled.length; i++) scaled[i] = samples[i]! * 32768; // many times as fast as `map`
  return scaled;
}
