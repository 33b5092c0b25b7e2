// @ts-check
// A spoken conversation with `caracal serve`, over the real-time protocol (npm install ws). Sound is 16 bit, mono, 24 kHz.
//   npx caracal serve --model models/mini
//   arecord -q -f S16_LE -r 24000 -c 1 | node examples/voice-client.mjs ws://127.0.0.1:8000 | aplay -q -f S16_LE -r 24000 -c 1
// Use headphones: a loudspeaker that the microphone hears interrupts the replies.
import WebSocket from "ws";

const [url] = process.argv.slice(2);
if (!url) throw new Error("usage: … | node examples/voice-client.mjs URL | …");

const key = process.env.CARACAL_API_KEY;
const socket = new WebSocket(`${url}/v1/realtime`, key ? { headers: { Authorization: `Bearer ${key}` } } : {});
/** @param {object} event */
const send = (event) => socket.send(JSON.stringify(event));

/** Sends what the microphone hears, then two seconds of silence, after which the last turn has ended. */
async function speak() {
  for await (const bytes of process.stdin) send({ type: "input_audio_buffer.append", audio: bytes.toString("base64") });
  send({ type: "input_audio_buffer.append", audio: Buffer.alloc(2 * 2 * 24000).toString("base64") });
  heardAll = true;
}
let heardAll = false;

socket.on("message", (data) => {
  const event = JSON.parse(String(data));
  switch (event.type) {
    case "session.created":
      send({
        type: "session.update",
        session: { type: "realtime", instructions: "Answer briefly.", max_output_tokens: 400 },
      });
      void speak();
      break;
    case "input_audio_buffer.speech_started":
      console.error("(you speak)");
      break;
    case "response.output_audio.delta":
      process.stdout.write(Buffer.from(event.delta, "base64"));
      break;
    case "response.output_audio_transcript.done":
      console.error(`> ${event.transcript}`);
      break;
    case "response.done":
      if (event.response.status !== "completed") console.error(`(${event.response.status})`);
      if (heardAll) socket.close();
      break;
    case "error":
      console.error(event.error.message);
  }
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
