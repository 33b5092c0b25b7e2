import { randomInt, randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { ReadableStream } from "node:stream/web";
import { promptStages } from "../model/prompt/progress.js";
import type { GenerateEvent } from "../model/reply/events.js";
import type { GenerateOptions } from "../model/reply/options.js";
import { readJson } from "./body.js";
import { chatPrompt } from "./chatPrompt.js";
import { type ChatReply, chatChunks, chatCompletion } from "./chatReply.js";
import { type ChatRequest, ChatSchema, ignoredFields, wantsSpeech } from "./chatSchema.js";
import { type ChoiceEvent, choiceEvents } from "./choices.js";
import { errorBody, type problemOf, Refusal } from "./errors.js";
import type { RunningRequest } from "./requests.js";
import type { Service } from "./service.js";

/** `POST /v1/chat/completions`. */
export class ChatRoute {
  readonly #service: Service;
  readonly #schema: ChatSchema;

  constructor(service: Service) {
    this.#service = service;
    this.#schema = new ChatSchema(service.limits);
  }

  /** @throws {Refusal}, and the errors of `OmniModel.generate` for what fails before the reply begins */
  async answer(incoming: IncomingMessage, running: RunningRequest): Promise<Response> {
    const start = performance.now();
    const { limits, spoken } = this.#service;
    const request = this.#schema.parse(await readJson(incoming, limits.bodyBytes));
    const model = this.#service.named(request.model);
    running.want(request.n ?? 1);
    const { signal } = running;
    const { messages, clientNames } = await chatPrompt(request, { limits, spoken, signal });
    const generations = Array.from({ length: request.n ?? 1 }, (_, index) =>
      model.generate(messages, this.#options(request, index, signal)),
    );
    const report = (error: unknown) => this.#service.problemOf(error, clientNames);
    try {
      const events = await begun(this.#measured(choiceEvents(generations), start));
      const id = `chatcmpl-${randomUUID().replaceAll("-", "")}`;
      const reply = { id, created: Math.floor(Date.now() / 1000), request, model, spoken, events };
      return withIgnored(
        request,
        request.stream ? streamed(reply, report) : Response.json(await chatCompletion(reply)),
      );
    } catch (error) {
      throw new Refusal(report(error));
    }
  }

  #options(request: ChatRequest, index: number, signal: AbortSignal): GenerateOptions {
    const { maxTokens, audioSeconds, imagePixels } = this.#service.limits;
    return {
      signal,
      speech: wantsSpeech(request),
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? maxTokens,
      stop: request.stop ?? undefined,
      logProbabilities: request.logprobs ? (request.top_logprobs ?? 0) : false,
      temperature: request.temperature ?? undefined,
      topP: request.top_p ?? undefined,
      topK: request.top_k ?? undefined,
      repetitionPenalty: request.repetition_penalty ?? undefined,
      seed: seedOf(request.seed ?? randomInt(2 ** 47), index),
      limits: { audioSeconds, imagePixels },
    };
  }

  async *#measured(events: AsyncIterable<ChoiceEvent>, start: number): AsyncGenerator<ChoiceEvent, void> {
    const { metrics } = this.#service;
    let isFirst = true;
    for await (const choice of events) {
      const { event } = choice;
      if (isFirst && (event.type === "text" || event.type === "audio")) {
        isFirst = false;
        metrics.firstToken((performance.now() - start) / 1000);
      }
      if (event.type === "end") metrics.reply(event.usage);
      yield choice;
    }
  }
}

/** OpenAI's seeds may be negative, those of the library are whole numbers. Choices differ by their seeds. */
const seedOf = (seed: number, index: number): number => (Math.abs(seed) + (seed < 0 ? 2 ** 52 : 0) + index) % 2 ** 53;

const isPreparing = ({ event }: { event: GenerateEvent }) =>
  event.type === "stage" && promptStages.some((stage) => stage === event.stage);

/** The events from the moment on when a prompt was read: what is wrong with it then still has its own status. */
async function begun(events: AsyncGenerator<ChoiceEvent, void>): Promise<AsyncIterable<ChoiceEvent>> {
  let next = await events.next();
  while (!next.done && isPreparing(next.value)) next = await events.next();
  const first = next;
  return (async function* () {
    if (!first.done) yield first.value;
    yield* events;
  })();
}

function withIgnored(request: ChatRequest, response: Response): Response {
  const ignored = ignoredFields(request);
  if (ignored.length > 0) response.headers.set("Caracal-Ignored", ignored.join(", "));
  return response;
}

/** A completion as server-sent events. The next chunk is made when the client has taken the last one. */
function streamed(reply: ChatReply, report: (error: unknown) => ReturnType<typeof problemOf>): Response {
  async function* lines() {
    const line = (data: unknown) => Buffer.from(`data: ${JSON.stringify(data)}\n\n`);
    try {
      for await (const chunk of chatChunks(reply)) yield line(chunk);
      yield Buffer.from("data: [DONE]\n\n");
    } catch (error) {
      yield line(errorBody(report(error))); // a status was sent already
    }
  }
  const headers = { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache" };
  return new Response(ReadableStream.from(lines()) as ReadableStream<Uint8Array>, { headers });
}
