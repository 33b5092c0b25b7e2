// @ts-check
// One module alone: the speech decoder turns frames of codes into a waveform as they arrive.
//   mkdir -p models && npx caracal synth models/tiny && node examples/speech-decoder.mjs models/tiny out/speech.wav
import { writeFile } from "node:fs/promises";
import { Device, encodeWav, SpeechDecoder } from "caracal";

const [directory, out] = process.argv.slice(2);
if (!directory || !out) throw new Error("usage: node examples/speech-decoder.mjs MODEL_DIRECTORY FILE.wav");

const device = await Device.open();
const decoder = await SpeechDecoder.open(directory, { device }); // reads the codec's files and no others
const { semantic_token_nums, codec_codebooks, codec_codebook_size } = decoder.config;

/** A frame of random codes. A model would generate them. */
const randomFrame = () => [
  Math.floor(Math.random() * semantic_token_nums),
  ...Array.from({ length: codec_codebooks }, () => Math.floor(Math.random() * codec_codebook_size ** 2)),
];

const stream = decoder.stream();
/** @type {Float32Array[]} */
const pieces = [];
for (let frame = 0; frame < 16; frame++) {
  const samples = await stream.push([randomFrame()]);
  if (samples) pieces.push(samples);
}
pieces.push((await stream.flush()) ?? new Float32Array());

const samples = Float32Array.from(pieces.flatMap((piece) => [...piece]));
await writeFile(out, encodeWav(samples, decoder.sampleRate));
console.log(`${out}: ${samples.length} samples at ${decoder.sampleRate} Hz, in ${pieces.length} pieces`);

stream.dispose();
decoder.dispose();
device.dispose();
