import { CaracalError } from "../../lib/errors.js";
import { loadAudio } from "../../lib/media/audio.js";
import { packageFile } from "../../lib/native/packageFile.js";

/** What is quieter than this at either end of a recording is silence. */
const quiet = 0.02;

/** What the scripted speakers say, mono at 16 kHz: the package's sample, from its first word to the end of its last. */
export async function loadSpeech(): Promise<Float32Array> {
  const path = packageFile("samples/speech.wav");
  if (path === undefined) throw new CaracalError("IO_ERROR", "the package has no samples/speech.wav: install it again");
  const samples = await loadAudio(path);
  const isLoud = (sample: number) => Math.abs(sample) > quiet;
  return samples.subarray(samples.findIndex(isLoud), samples.findLastIndex(isLoud) + 1);
}
