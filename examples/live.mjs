// @ts-check
// A conversation with a microphone: turns are found, answered, and can be interrupted.
//   arecord -q -f FLOAT_LE -r 16000 -c 1 | node examples/live.mjs models/mini out/answers.wav
//   ffmpeg -loglevel error -i samples/speech.wav -f f32le -ar 16000 -ac 1 - | node examples/live.mjs models/mini out/answers.wav
import { writeFile } from "node:fs/promises";
import { encodeWav, OmniModel } from "caracal";

const [directory, out] = process.argv.slice(2);
if (!directory || !out) throw new Error("usage: … | node examples/live.mjs MODEL_DIRECTORY FILE.wav");

const model = await OmniModel.load(directory, { vision: false });
const session = model.live({ maxTokens: 48 });

/** Passes 32-bit samples on as they come, then a second of silence, after which the last turn has ended. */
async function hear() {
  let rest = Buffer.alloc(0);
  for await (const bytes of process.stdin) {
    const all = Buffer.concat([rest, bytes]);
    const whole = all.length - (all.length % 4); // a pipe may cut a sample
    rest = all.subarray(whole);
    await session.push(new Float32Array(all.buffer.slice(all.byteOffset, all.byteOffset + whole)));
  }
  await session.push(new Float32Array(16000));
}

/** @type {Float32Array[]} */
const spoken = [];
let speaking = false;
let heardAll = false;
const hearing = hear().finally(() => {
  heardAll = true;
  if (!speaking) session.dispose();
});
for await (const event of session) {
  if (event.type === "speechStart") console.log(`speech from ${(event.sample / 16000).toFixed(2)} s on`);
  if (event.type === "speechEnd") console.log(`a turn until ${(event.sample / 16000).toFixed(2)} s`);
  if (event.type === "audio") spoken.push(event.samples);
  if (event.type === "reply") speaking = true;
  if (event.type === "interrupted") console.log(`interrupted after ${event.heardSeconds.toFixed(2)} s`);
  if (event.type === "replyEnd") {
    console.log(`${event.item}: ${event.text} (${event.usage.audioSeconds.toFixed(2)} s)`);
    speaking = false;
    if (heardAll) break;
  }
}
await hearing;
const samples = new Float32Array(spoken.reduce((sum, { length }) => sum + length, 0));
let at = 0;
for (const piece of spoken) {
  samples.set(piece, at);
  at += piece.length;
}
await writeFile(out, encodeWav(samples, model.speechDecoder.sampleRate));
model.dispose();
