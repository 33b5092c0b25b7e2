// @ts-check
// A conversation on the terminal, one question per line. Ctrl-C ends the current answer.
//   mkdir -p models && npx caracal synth models/mini --preset mini && node examples/chat.mjs models/mini
import { createInterface } from "node:readline";
import { CaracalError, OmniModel } from "caracal";

const [directory] = process.argv.slice(2);
if (!directory) throw new Error("usage: node examples/chat.mjs MODEL_DIRECTORY");

const model = await OmniModel.load(directory); // on a device of its own
if (model.synthetic) console.log("The weights are random: the answers mean nothing.");

/** @type {import("caracal").Message[]} */
const messages = [{ role: "system", content: "Answer briefly." }];
const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: "\n> " });
/** @type {AbortController | undefined} */
let answering;
lines.on("SIGINT", () => (answering ? answering.abort() : lines.close()));

lines.prompt();
for await (const line of lines) {
  messages.push({ role: "user", content: line });
  answering = new AbortController();
  let answer = "";
  try {
    const options = { speech: false, maxTokens: 200, signal: answering.signal };
    for await (const event of model.generate(messages, options)) {
      if (event.type !== "text") continue;
      process.stdout.write(event.text);
      answer += event.text;
    }
  } catch (error) {
    if (!(error instanceof CaracalError && error.code === "ABORTED")) throw error;
  }
  answering = undefined;
  messages.push({ role: "assistant", content: answer });
  lines.prompt();
}

model.dispose();
