import type { AudioFeatureConfig } from "../../checkpoint/config.js";

/** Seconds of audio that one audio token covers. */
export const audioTokenSeconds = 0.08;

/** How samples become audio tokens; lengths are in samples. */
export interface AudioFraming {
  /** Hz. */
  readonly sampleRate: number;
  readonly windowSamples: number;
  readonly hopSamples: number;
  /** Feature frames stacked into one token. */
  readonly stride: number;
}

/** 25 ms windows every 10 ms at 16 kHz, eight per token: 80 ms. */
export const defaultAudioFraming: AudioFraming = { sampleRate: 16000, windowSamples: 400, hopSamples: 160, stride: 8 };

/** The framing of an audio front end. */
export function audioFraming({ fbank, splice }: AudioFeatureConfig): AudioFraming {
  const samples = (milliseconds: number) => Math.round((fbank.freq * milliseconds) / 1000);
  return {
    sampleRate: fbank.freq,
    windowSamples: samples(fbank.frame_length),
    hopSamples: samples(fbank.frame_shift),
    stride: splice.stride,
  };
}

/** The number of audio tokens of `samples` samples; 0 for less than one window. */
export function audioTokenCount(samples: number, framing: AudioFraming = defaultAudioFraming): number {
  const frames = Math.floor((samples - framing.windowSamples) / framing.hopSamples) + 1;
  return Math.max(0, Math.ceil(frames / framing.stride));
}
