// @ts-check
// A conversation with `caracal serve` on the terminal, through OpenAI's client (npm install openai). One question per line.
//   npx caracal serve --model models/mini
//   node examples/chat-client.mjs http://127.0.0.1:8000
import { createInterface } from "node:readline";
import OpenAI from "openai";

const [url] = process.argv.slice(2);
if (!url) throw new Error("usage: node examples/chat-client.mjs URL");

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.CARACAL_API_KEY ?? "none" });
const [model] = (await client.models.list()).data;
if (!model) throw new Error("the server has no model");

/** @type {OpenAI.ChatCompletionMessageParam[]} */
const messages = [{ role: "system", content: "Answer briefly." }];
const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: "\n> " });

lines.prompt();
for await (const line of lines) {
  messages.push({ role: "user", content: line });
  let answer = "";
  const stream = await client.chat.completions.create({ model: model.id, messages, max_tokens: 200, stream: true });
  for await (const { choices } of stream) {
    const text = choices[0]?.delta.content ?? "";
    process.stdout.write(text);
    answer += text;
  }
  messages.push({ role: "assistant", content: answer });
  lines.prompt();
}
