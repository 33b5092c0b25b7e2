import { CaracalError } from "../../lib/errors.js";
import { loadAudio } from "../../lib/media/audio.js";
import { loadImage, type RgbImage } from "../../lib/media/image.js";
import { packageFile } from "../../lib/native/packageFile.js";

/** What is quieter than this at the ends of a recording is silence. */
const quiet = 0.02;
const isLoud = (sample: number) => Math.abs(sample) > quiet;

/** What the scripted users say, mono at 16 kHz: the package's sample without the silence around it, again and again. */
export async function loadSpeech(seconds: number): Promise<Float32Array> {
  const samples = await loadAudio(shipped("speech.wav"));
  const words = samples.subarray(samples.findIndex(isLoud), samples.findLastIndex(isLoud) + 1);
  return Float32Array.from({ length: Math.round(16000 * seconds) }, (_, i) => words[i % words.length]!);
}

/** What their cameras see: the package's photo. */
export const loadFrame = (): Promise<RgbImage> => loadImage(shipped("photo.jpg"));

function shipped(sample: string): string {
  const path = packageFile(`samples/${sample}`);
  if (path !== undefined) return path;
  throw new CaracalError("IO_ERROR", `the package has no samples/${sample}: install it again`);
}
