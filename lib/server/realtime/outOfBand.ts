import { EventEmitter } from "node:events";
import type { OmniModel } from "../../model/omni.js";
import type { Message } from "../../model/prompt/messages.js";
import type { ReplyUsage } from "../../model/reply/usage.js";
import { invalid, type Problem, Refusal } from "../errors.js";
import type { Service } from "../service.js";
import type { ResponseRequest } from "./clientEvents.js";
import type { InputItem } from "./itemSchema.js";
import type { Item, Items } from "./items.js";
import { messageOf, type ReadItem } from "./messages.js";
import { type Ending, Response, type ResponseContext } from "./response.js";
import type { ServerEvent } from "./serverEvents.js";
import { replyOptions } from "./sessionConfig.js";

/** The messages that a response of its own reads: the given items, or the conversation. @throws {Refusal} */
export async function messagesOf(request: ResponseRequest, items: Items, read: ReadItem): Promise<Message[]> {
  const { instructions, input } = request;
  const messages: Message[] = instructions ? [{ role: "system", content: instructions }] : [];
  if (!input) return [...messages, ...items.all.map((item) => keptMessage(item, "response.input"))];
  for (const [i, item] of input.entries()) messages.push(await inputMessage(item, `response.input[${i}]`, items, read));
  return messages;
}

async function inputMessage(item: InputItem, param: string, items: Items, read: ReadItem): Promise<Message> {
  if (item.type === "item_reference") return keptMessage(items.get(item.id, "item_not_found"), `${param}.id`);
  return messageOf(item, param, read);
}

/** An item of the conversation, whose sound and images are not kept. */
function keptMessage({ id, role, content }: Item, param: string): Message {
  const texts = content.map((part) => ("text" in part ? part.text : "transcript" in part ? part.transcript : null));
  if (texts.every((text) => text !== null)) return { role, content: texts.map((text) => ({ type: "text", text })) };
  const message = `sound and images of the item ${id} are not kept: send them in response.input`;
  throw invalid(message, param, "unsupported_value");
}

/** The responses of a connection that belong to no conversation. Each counts as a request for a reply. */
export class OutOfBand {
  readonly #model: OmniModel;
  readonly #service: Service;
  readonly #send: (event: ServerEvent) => void;
  readonly #room: () => Promise<void>;
  /** Responses that have not ended, and what stops them. */
  readonly #running = new Map<string, { readonly response: Response; readonly stopping: AbortController }>();

  /** @param room resolves when the client has taken enough of what was sent */
  constructor(model: OmniModel, service: Service, send: (event: ServerEvent) => void, room: () => Promise<void>) {
    this.#model = model;
    this.#service = service;
    this.#send = send;
    this.#room = room;
  }

  /** The number of responses in progress. */
  get size(): number {
    return this.#running.size;
  }

  /** Begins a response. @throws {Refusal} 429 for too many at once, 503 */
  start(messages: readonly Message[], context: ResponseContext): void {
    const { choices } = this.#service.limits;
    if (this.size >= choices) {
      const message = `${choices} responses outside of the conversation are in progress: wait for one`;
      throw new Refusal({ status: 429, message, code: "queue_full" });
    }
    const request = new EventEmitter();
    const { signal } = this.#service.requests.begin(request);
    const response = new Response("", context);
    const stopping = new AbortController();
    this.#running.set(response.id, { response, stopping });
    const stop = AbortSignal.any([signal, stopping.signal]);
    void this.#run(response, messages, stop).finally(() => request.emit("close"));
  }

  /** Ends a response. @returns false if there is none of this name */
  cancel(id: string): boolean {
    return this.#stop(id, { status: "cancelled", reason: "client_cancelled" });
  }

  /** Ends all responses. @param problem why */
  close(problem: Problem): void {
    for (const id of [...this.#running.keys()]) this.#stop(id, { status: "failed", problem });
  }

  /** Tells at once that a response has ended: after the last event of the connection, nobody could. */
  #stop(id: string, ending: Ending): boolean {
    const running = this.#running.get(id);
    if (!running) return false;
    this.#end(running.response, ending, null);
    running.stopping.abort();
    return true;
  }

  /** Tells how a response has ended, unless that was told. */
  #end(response: Response, ending: Ending, usage: ReplyUsage | null): void {
    if (this.#running.delete(response.id)) this.#tell(response.end(ending, usage, null));
  }

  #tell(events: Iterable<ServerEvent>): void {
    for (const event of events) this.#send(event);
  }

  /** @param signal ends the reply */
  async #run(response: Response, messages: readonly Message[], signal: AbortSignal): Promise<void> {
    const { limits, metrics } = this.#service;
    this.#tell(response.begin(null));
    try {
      const options = { ...replyOptions(response.context.config, limits.maxTokens), signal };
      const { audioSeconds, imagePixels } = limits;
      for await (const event of this.#model.generate(messages, { ...options, limits: { audioSeconds, imagePixels } })) {
        await this.#room();
        if (!this.#running.has(response.id)) return;
        if (event.type === "text") this.#tell(response.text(event.text));
        if (event.type === "audio") this.#tell(response.audio(event.samples, event.sampleRate));
        if (event.type !== "end") continue;
        metrics.reply(event.usage);
        const ending: Ending =
          event.reason === "length" ? { status: "incomplete", reason: "max_output_tokens" } : { status: "completed" };
        this.#end(response, ending, event.usage);
      }
    } catch (error) {
      this.#end(response, { status: "failed", problem: this.#service.problemOf(error) }, null);
    }
  }
}
