import { pcm16, wavHeader } from "../media/wav.js";
import type { OmniModel } from "../model/omni.js";
import type { GenerateEvent } from "../model/reply/events.js";
import type { TokenLogProbability } from "../model/reply/logProbabilities.js";
import type { ReplyUsage } from "../model/reply/usage.js";
import { version } from "../version.js";
import { type ChatRequest, wantsSpeech } from "./chatSchema.js";
import type { ChoiceEvent } from "./choices.js";
import { logProbs } from "./logProbs.js";
import type { SpokenReplies } from "./spokenReplies.js";
import { completionUsage } from "./usage.js";

/** A request with the events of its replies. */
export interface ChatReply {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  readonly request: ChatRequest;
  readonly model: OmniModel;
  readonly spoken: SpokenReplies;
  readonly events: AsyncIterable<ChoiceEvent>;
}

type EndEvent = GenerateEvent & { readonly type: "end" };
type AudioEvent = GenerateEvent & { readonly type: "audio" };

/** The fields that a completion and its chunks have in common. */
const head = ({ id, created, request }: ChatReply, object: string) => {
  return { id, object, created, model: request.model, system_fingerprint: `caracal-${version}` };
};

/** The log-probabilities of tokens, without that of the end of the reply, which is no text. */
function choiceLogProbs({ request, model }: ChatReply, tokens: readonly TokenLogProbability[] | null) {
  if (!request.logprobs || tokens === null) return null;
  const { endId } = model.tokenizer;
  return {
    content: logProbs(tokens.at(-1)?.id === endId ? tokens.slice(0, -1) : tokens, model.tokenizer),
    refusal: null,
  };
}

/** Keeps a spoken reply for the next turn. Returns when it will be forgotten. */
const keep = ({ spoken }: ChatReply, id: string, { speech, text }: EndEvent) =>
  spoken.keep(id, speech ? [speech] : text);

/** What follows of a reply's events for a streamed choice. */
class ChoiceStream {
  readonly #reply: ChatReply;
  readonly #audioId: string | null;
  /** Tokens whose log-probabilities were sent. */
  #reported = 0;

  constructor(reply: ChatReply) {
    this.#reply = reply;
    this.#audioId = wantsSpeech(reply.request) ? reply.spoken.newId() : null;
  }

  *chunks(event: GenerateEvent) {
    const id = this.#audioId;
    if (event.type === "text") {
      const delta = id ? { audio: { id, transcript: event.text } } : { content: event.text };
      this.#reported += event.ids.length;
      yield { delta, logprobs: choiceLogProbs(this.#reply, event.logProbabilities), finish_reason: null };
    }
    if (event.type === "audio") {
      const data = Buffer.from(pcm16(event.samples)).toString("base64");
      yield { delta: { audio: { id, data } }, logprobs: null, finish_reason: null };
    }
    if (event.type !== "end") return;
    if (id) {
      const delta = { audio: { id, expires_at: keep(this.#reply, id, event) } };
      yield { delta, logprobs: null, finish_reason: null };
    }
    const held = event.logProbabilities?.slice(this.#reported) ?? null;
    yield { delta: {}, logprobs: choiceLogProbs(this.#reply, held), finish_reason: event.reason };
  }
}

/** The chunks of a streamed completion. */
export async function* chatChunks(reply: ChatReply): AsyncGenerator<object, void> {
  const { request, events } = reply;
  const withUsage = request.stream_options?.include_usage ?? false;
  const chunk = (choices: object[]) => {
    return { ...head(reply, "chat.completion.chunk"), choices, ...(withUsage && { usage: null }) };
  };
  const streams = Array.from({ length: request.n ?? 1 }, () => new ChoiceStream(reply));
  const first = { role: "assistant", refusal: null, ...(!wantsSpeech(request) && { content: "" }) };
  for (const index of streams.keys()) yield chunk([{ index, delta: first, logprobs: null, finish_reason: null }]);
  const usages: ReplyUsage[] = [];
  for await (const { index, event } of events) {
    for (const choice of streams[index]!.chunks(event)) yield chunk([{ index, ...choice }]);
    if (event.type === "end") usages.push(event.usage);
  }
  if (withUsage) yield { ...chunk([]), usage: completionUsage(usages) };
}

/** A whole completion. */
export async function chatCompletion(reply: ChatReply): Promise<object> {
  const { request, events } = reply;
  const ends: EndEvent[] = [];
  const audio: AudioPieces[] = Array.from({ length: request.n ?? 1 }, () => new AudioPieces());
  for await (const { index, event } of events) {
    if (event.type === "audio") audio[index]!.push(event);
    if (event.type === "end") ends[index] = event;
  }
  const choices = ends.map((end, index) => ({
    index,
    message: { role: "assistant", refusal: null, ...wholeMessage(reply, end, audio[index]!) },
    logprobs: choiceLogProbs(reply, end.logProbabilities),
    finish_reason: end.reason,
  }));
  return { ...head(reply, "chat.completion"), choices, usage: completionUsage(ends.map(({ usage }) => usage)) };
}

function wholeMessage(reply: ChatReply, end: EndEvent, audio: AudioPieces): object {
  if (!wantsSpeech(reply.request)) return { content: end.text };
  const id = reply.spoken.newId();
  const file = reply.request.audio!.format === "wav" ? audio.wav(reply.model.speechDecoder.sampleRate) : audio.pcm;
  const data = file.toString("base64");
  return { content: null, audio: { id, data, transcript: end.text, expires_at: keep(reply, id, end) } };
}

/** Speech, encoded as it comes: that of a minute takes ten milliseconds. */
class AudioPieces {
  readonly #pieces: Uint8Array[] = [];

  push({ samples }: AudioEvent): void {
    this.#pieces.push(pcm16(samples));
  }

  get pcm(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  wav(sampleRate: number): Buffer {
    const { pcm } = this;
    return Buffer.concat([wavHeader(sampleRate, pcm.length), pcm]);
  }
}
