// @ts-check
// A spoken question about an image: the answer's speech is written while it is generated.
//   node examples/spoken.mjs models/mini samples/photo.jpg samples/speech.wav out/answer.pcm
//   ffmpeg -f s16le -ar 24000 -ac 1 -i out/answer.pcm out/answer.wav
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { OmniModel } from "caracal";

const [directory, image, question, out] = process.argv.slice(2);
if (!directory || !image || !question || !out)
  throw new Error("usage: node examples/spoken.mjs MODEL_DIRECTORY IMAGE AUDIO FILE.pcm");

const model = await OmniModel.load(directory);
/** @type {import("caracal").Message[]} */
const messages = [
  {
    role: "user",
    content: [
      { type: "image", image: await readFile(image), maxPixels: 2 ** 24 }, // bytes, as a service receives them
      { type: "audio", audio: question }, // a path
    ],
  },
];

/** The speech as 16-bit samples; the text and the end go to the terminal. */
async function* speech() {
  for await (const event of model.generate(messages, { maxTokens: 48 })) {
    if (event.type === "text") process.stdout.write(event.text);
    if (event.type === "audio") yield Buffer.from(Int16Array.from(event.samples, (x) => x * 32767).buffer);
    if (event.type === "end")
      console.log(`\n${event.usage.audioSeconds.toFixed(2)} s of speech, ended by ${event.reason}`);
  }
}

// A slow writer slows the reply down: the pipeline asks for the next event when there is room.
await pipeline(Readable.from(speech()), createWriteStream(out));
model.dispose();
