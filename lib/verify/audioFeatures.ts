import { parseAudioFeatureConfig } from "../checkpoint/config.js";
import { AudioFeatures } from "../model/audio/features.js";
import type { Golden } from "./golden.js";

/** Converts samples in the range of 16-bit integers to log-mel frames and to stacked frames. */
export async function verifyAudioFeatures(golden: Golden): Promise<void> {
  const features = new AudioFeatures(golden.device, golden.config(parseAudioFeatureConfig));
  const samples = (await golden.input("waveform", "f32").read()).map((sample) => sample / 32768);
  using frames = features.melFrames(samples);
  golden.compare("fbank", frames, golden.f32);
  using spliced = features.extract(samples);
  golden.compare("spliced", spliced, golden.f32);
}
