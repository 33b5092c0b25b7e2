import type { ReplyUsage } from "../../model/reply/usage.js";
import type { Problem } from "../errors.js";
import { errorBody } from "../errors.js";
import { completionUsage } from "../usage.js";
import { byteRateOf } from "./audioFormat.js";
import { AudioOut } from "./audioOut.js";
import { type Item, type ItemPart, itemObject, newId } from "./items.js";
import type { ServerEvent } from "./serverEvents.js";
import type { ReplyConfig } from "./sessionConfig.js";

/** How a response ended. */
export type Ending =
  | { readonly status: "completed" }
  | { readonly status: "incomplete"; readonly reason: "max_output_tokens" }
  | { readonly status: "cancelled"; readonly reason: "turn_detected" | "client_cancelled" }
  | { readonly status: "failed"; readonly problem: Problem };

/** What a client said of a response. */
export interface ResponseContext {
  readonly config: ReplyConfig;
  readonly metadata: Readonly<Record<string, string>> | null;
  /** null: the response belongs to no conversation. */
  readonly conversation: string | null;
}

/** A response of one message, as the events that tell of it. */
export class Response {
  readonly id = newId("resp");
  readonly item: Item;
  readonly context: ResponseContext;
  #audio: AudioOut | undefined;
  #text = "";
  #bytes = 0;

  /** @param live the item's name in the session, "" outside of one */
  constructor(live: string, context: ResponseContext) {
    this.context = context;
    this.item = { id: newId("item"), live, role: "assistant", content: [], status: "in_progress" };
    if (this.#speaks) this.item.spokenSeconds = 0;
  }

  /** @param previous the item before the response's */
  *begin(previous: string | null): Generator<ServerEvent> {
    yield { type: "response.created", response: this.#object("in_progress", null, null) };
    yield { type: "response.output_item.added", ...this.#place, item: itemObject(this.item) };
    if (this.context.conversation !== null)
      yield { type: "conversation.item.added", previous_item_id: previous, item: itemObject(this.item) };
    yield { type: "response.content_part.added", ...this.#partPlace, part: this.#part("") };
  }

  *text(delta: string): Generator<ServerEvent> {
    if (delta === "") return;
    this.#text += delta;
    const type = this.#speaks ? "response.output_audio_transcript.delta" : "response.output_text.delta";
    yield { type, ...this.#partPlace, delta };
  }

  *audio(samples: Float32Array, sampleRate: number): Generator<ServerEvent> {
    this.#audio ??= new AudioOut(this.context.config.output, sampleRate);
    yield* this.#bytesOf(this.#audio.push(samples));
  }

  /**
   * @param previous the item before the response's
   * @param kept what stays of the reply in the conversation
   */
  *end(ending: Ending, usage: ReplyUsage | null, previous: string | null, kept = this.#text): Generator<ServerEvent> {
    const whole = ending.status === "completed" || ending.status === "incomplete";
    if (whole && this.#audio) yield* this.#bytesOf(this.#audio.end());
    if (this.#speaks) {
      yield { type: "response.output_audio.done", ...this.#partPlace };
      yield { type: "response.output_audio_transcript.done", ...this.#partPlace, transcript: this.#text };
    } else yield { type: "response.output_text.done", ...this.#partPlace, text: this.#text };
    yield { type: "response.content_part.done", ...this.#partPlace, part: this.#part(this.#text) };
    this.item.status = ending.status === "completed" ? "completed" : "incomplete";
    this.keep(this.#text);
    const item = itemObject(this.item);
    yield { type: "response.output_item.done", ...this.#place, item };
    this.keep(kept);
    if (this.context.conversation !== null)
      yield { type: "conversation.item.done", previous_item_id: previous, item: itemObject(this.item) };
    yield { type: "response.done", response: this.#object(ending.status, ending, usage, [item]) };
  }

  /** Notes what stays of the reply in the conversation. */
  keep(text: string): void {
    const part: ItemPart = this.#speaks ? { type: "output_audio", transcript: text } : { type: "output_text", text };
    this.item.content = [part];
  }

  get #speaks(): boolean {
    return this.context.config.modality === "audio";
  }

  get #place() {
    return { response_id: this.id, output_index: 0 };
  }

  get #partPlace() {
    return { ...this.#place, item_id: this.item.id, content_index: 0 };
  }

  #part(text: string) {
    return this.#speaks ? { type: "audio", transcript: text } : { type: "text", text };
  }

  *#bytesOf(bytes: Uint8Array): Generator<ServerEvent> {
    if (bytes.length === 0) return;
    this.#bytes += bytes.length;
    this.item.spokenSeconds = this.#bytes / byteRateOf(this.context.config.output);
    const delta = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
    yield { type: "response.output_audio.delta", ...this.#partPlace, delta };
  }

  #object(status: string, ending: Ending | null, usage: ReplyUsage | null, output: readonly object[] = []) {
    const { config, metadata, conversation } = this.context;
    return {
      object: "realtime.response",
      id: this.id,
      status,
      status_details: ending && detailsOf(ending),
      output,
      conversation_id: conversation,
      output_modalities: [config.modality],
      max_output_tokens: config.maxOutputTokens,
      audio: { output: { format: config.output, ...(typeof config.voice === "string" && { voice: config.voice }) } },
      metadata,
      usage: usage && usageObject(usage),
    };
  }
}

function detailsOf(ending: Ending): object | null {
  if (ending.status === "completed") return null;
  if (ending.status !== "failed") return { type: ending.status, reason: ending.reason };
  const { type, code, message } = errorBody(ending.problem).error;
  return { type: "failed", error: { type, code, message } };
}

/** The tokens of a response. A step may give a token of text and a frame of speech: the details can add up to more. */
function usageObject(usage: ReplyUsage) {
  const { prompt_tokens, completion_tokens, total_tokens, ...details } = completionUsage([usage]);
  const { text_tokens, audio_tokens } = details.completion_tokens_details;
  return {
    total_tokens,
    input_tokens: prompt_tokens,
    output_tokens: completion_tokens,
    input_token_details: details.prompt_tokens_details,
    output_token_details: { text_tokens, audio_tokens },
  };
}
