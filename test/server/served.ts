import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import type { ChatCompletionCreateParamsNonStreaming } from "openai/resources/chat/completions";
import { afterAll, onTestFinished } from "vitest";
import { OmniModel } from "../../lib/model/omni.js";
import type { Part } from "../../lib/model/prompt/messages.js";
import type { GenerateOptions } from "../../lib/model/reply/options.js";
import type { OmniServer } from "../../lib/server/omniServer.js";
import { type ServeOptions, serve } from "../../lib/server/serve.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";

export const samplePath = (name: string) => fileURLToPath(new URL(`../../samples/${name}`, import.meta.url));
export const sample = (name: string) => readFileSync(samplePath(name)).toString("base64");

/** A tiny model, disposed after the file's tests. Its name in requests is "model". */
export async function tinyModel(seed = 3): Promise<OmniModel> {
  const device = await Device.open({ backend: "cpu", threads: 2 });
  const model = await OmniModel.load(await tinyDirectory(seed), { device });
  afterAll(() => {
    model.dispose();
    device.dispose();
  });
  return model;
}

/** A server with the client of OpenAI, closed after the test. Errors that clients get as status 500 fail the test. */
export async function served(model: OmniModel | Promise<OmniModel>, options: ServeOptions = {}) {
  const server = await serve(model, { port: 0, ...options });
  onTestFinished(() => server.close());
  return { server, client: clientOf(server) };
}

/** The client of OpenAI, which does not try again. */
export const clientOf = (server: OmniServer, apiKey = "none", options = {}) =>
  new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0, ...options });

/** A request for a text. */
export const hello: ChatCompletionCreateParamsNonStreaming = {
  model: "model",
  messages: [{ role: "user", content: "Hello!" }],
  max_tokens: 8,
};

/** A sampled reply that is hundreds of tokens long: its end is one of a thousand tokens. */
export const endless = { ...hello, max_tokens: 4000, temperature: 2, seed: 5, n: 4 };

/** A request without the client, which would refuse to send some. */
export const post = (server: OmniServer, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/v1/chat/completions`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers,
  });

/** The text that the library itself gives. */
export async function libraryText(model: OmniModel, content: string | readonly Part[], options: GenerateOptions = {}) {
  const reply = model.generate([{ role: "user", content }], { speech: false, maxTokens: 8, ...options });
  for await (const event of reply) if (event.type === "end") return event.text;
  throw new Error("there was no end");
}

/** The values of a server's metrics, by their names and labels. */
export async function metricsOf(server: OmniServer): Promise<Record<string, number>> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Object.fromEntries(
    Array.from(text.matchAll(/^([^#\s]\S*) (\S+)$/gm), ([, name, value]) => [name, Number(value)]),
  );
}
