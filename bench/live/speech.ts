import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CaracalError } from "../../lib/errors.js";
import { loadAudio } from "../../lib/media/audio.js";

/** What is quieter than this at either end of a recording is silence. */
const quiet = 0.02;

/** What the scripted speakers say, mono at 16 kHz: the package's sample, from its first word to the end of its last. */
export async function loadSpeech(): Promise<Float32Array> {
  const samples = await loadAudio(shippedSpeech());
  const isLoud = (sample: number) => Math.abs(sample) > quiet;
  return samples.subarray(samples.findIndex(isLoud), samples.findLastIndex(isLoud) + 1);
}

function shippedSpeech(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)), up = 0; up < 4; folder = dirname(folder), up++)
    if (existsSync(join(folder, "samples/speech.wav"))) return join(folder, "samples/speech.wav");
  throw new CaracalError("IO_ERROR", "the package has no samples/speech.wav: install it again");
}
