import { z } from "zod";
import { invalid } from "./errors.js";
import { anything, dataUri, mediaText, refusalOf, text } from "./fields.js";
import type { Limits } from "./limits.js";
import { LongString } from "./longString.js";

// The fields of a request for a chat completion. Fields that are null count as absent, as OpenAI's do. Every object is
// strict: what is not listed is refused by name, rather than ignored silently.

/** Fields that are taken and have no effect on the reply. A response names them in its header. */
const ignored = {
  functions: anything,
  metadata: anything,
  parallel_tool_calls: anything,
  prediction: anything,
  prompt_cache_key: anything,
  prompt_cache_retention: anything,
  reasoning_effort: anything,
  safety_identifier: anything,
  service_tier: anything,
  store: anything,
  tools: anything,
  user: anything,
  verbosity: anything,
};

const noTools = "this model calls no tools: omit it, or pass none or auto";
const noPenalty = "it is not supported, but repetition_penalty is: omit it, or pass 0";

/** Fields that are refused, but for values without an effect: without them, the reply would be another one. */
const refused = {
  tool_choice: z.enum(["none", "auto"], { error: noTools }).nullish(),
  function_call: z.enum(["none", "auto"], { error: noTools }).nullish(),
  response_format: z
    .strictObject({
      type: z.literal("text", { error: "the form of replies cannot be prescribed: only text is supported" }),
    })
    .nullish(),
  frequency_penalty: z.literal(0, { error: noPenalty }).nullish(),
  presence_penalty: z.literal(0, { error: noPenalty }).nullish(),
  logit_bias: z.record(z.string(), z.never({ error: "it is not supported" })).nullish(),
  web_search_options: z.null({ error: "it is not supported" }).optional(),
};

/** Text, or a list of parts; text becomes a list of one. */
const content = <P extends z.ZodType>(part: P) =>
  z.preprocess(
    (value) => (typeof value === "string" || value instanceof LongString ? [{ type: "text", text: value }] : value),
    z.array(part, { error: "it must be text or a list of parts" }).min(1),
  );

const textPart = z.strictObject({ type: z.literal("text", { error: "only text is taken here" }), text });
const userPart = z.discriminatedUnion(
  "type",
  [
    textPart,
    z.strictObject({
      type: z.literal("image_url"),
      image_url: z.strictObject({ url: dataUri, detail: anything }),
    }),
    z.strictObject({
      type: z.literal("input_audio"),
      input_audio: z.strictObject({ data: mediaText, format: z.enum(["wav", "mp3"]) }),
    }),
    z.strictObject({ type: z.literal("video_url"), video_url: z.strictObject({ url: dataUri }) }),
  ],
  { error: "it must be text, image_url, input_audio or video_url" },
);

const name = anything;
const message = z.discriminatedUnion(
  "role",
  [
    z.strictObject({ role: z.enum(["system", "developer"]), content: content(textPart), name }),
    z.strictObject({ role: z.literal("user"), content: content(userPart), name }),
    z.strictObject({
      role: z.literal("assistant"),
      content: content(textPart).nullish(),
      audio: z.looseObject({ id: z.string() }).nullish(),
      name,
      refusal: z.null({ error: "it is not supported" }).optional(),
      annotations: anything,
      tool_calls: z.array(z.never({ error: noTools })).nullish(),
      function_call: z.null({ error: noTools }).optional(),
    }),
  ],
  { error: "it must be system, developer, user or assistant" },
);

const number = (least: number, most: number) => z.number().min(least).max(most).nullish();
const count = (least: number, most: number) => z.int().min(least).max(most).nullish();

const schema = ({ messages, choices, maxTokens }: Limits) =>
  z.strictObject({
    ...ignored,
    ...refused,
    model: z.string(),
    messages: z.array(message).min(1).max(messages),
    modalities: z
      .array(z.enum(["text", "audio"]))
      .min(1)
      .nullish(),
    audio: z.strictObject({ voice: anything, format: z.string() }).nullish(),
    stream: z.boolean().nullish(),
    stream_options: z.strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: anything }).nullish(),
    max_completion_tokens: count(1, maxTokens),
    max_tokens: count(1, maxTokens),
    temperature: number(0, 2),
    top_p: z.number().gt(0).max(1).nullish(),
    top_k: count(0, 2 ** 31 - 1),
    repetition_penalty: z.number().positive().nullish(),
    seed: z.int().nullish(),
    n: count(1, choices),
    stop: z
      .preprocess(
        (value) => (typeof value === "string" ? [value] : value),
        z.array(z.string().min(1).max(256)).max(4, { error: "at most 4 are possible" }),
      )
      .nullish(),
    logprobs: z.boolean().nullish(),
    top_logprobs: count(0, 20),
    mm_processor_kwargs: z.strictObject({ use_audio_in_video: z.boolean().nullish() }).nullish(),
  });

/** A checked request. */
export type ChatRequest = z.output<ReturnType<typeof schema>>;
export type ChatMessage = ChatRequest["messages"][number];
export type UserPart = z.output<typeof userPart>;

/** Checks requests for chat completions. */
export class ChatSchema {
  readonly #schema: ReturnType<typeof schema>;
  readonly #limits: Limits;

  constructor(limits: Limits) {
    this.#schema = schema({ ...limits, choices: Math.min(limits.choices, limits.replies) });
    this.#limits = limits;
  }

  /** @throws {Refusal} 400, which names the first field that is wrong */
  parse(body: unknown): ChatRequest {
    const { data, error } = this.#schema.safeParse(body);
    if (error) throw refusalOf(error.issues[0]!, Object.keys(this.#schema.shape), "the request");
    const images = data.messages.flatMap(({ role, content }) =>
      role === "user" ? content.filter(({ type }) => type === "image_url" || type === "video_url") : [],
    );
    if (images.length > this.#limits.images)
      throw invalid(
        `there are ${images.length} images and videos, at most ${this.#limits.images} are taken`,
        "messages",
      );
    checkTogether(data);
    return data;
  }
}

/** The fields of a request that have no effect. */
export const ignoredFields = (request: ChatRequest): string[] =>
  Object.keys(ignored).filter((field) => (request[field as keyof typeof ignored] ?? null) !== null);

export const wantsSpeech = ({ modalities }: ChatRequest): boolean => modalities?.includes("audio") ?? false;

/** Refuses fields that do not go together. */
function checkTogether(request: ChatRequest): void {
  const { audio, modalities, stream, max_tokens, max_completion_tokens } = request;
  if (modalities && !modalities.includes("text"))
    throw invalid('speech comes with its text: pass ["text", "audio"]', "modalities");
  if (wantsSpeech(request) !== Boolean(audio))
    throw invalid('audio and the modalities ["text", "audio"] go together', audio ? "modalities" : "audio");
  if (audio && stream && audio.format !== "pcm16")
    throw invalid("a streamed reply has pcm16", "audio.format", "unsupported_value");
  if (audio && !["wav", "pcm16"].includes(audio.format))
    throw invalid("it must be wav or pcm16", "audio.format", "unsupported_value");
  if (request.stream_options && !stream) throw invalid("only with stream: true", "stream_options");
  if ((request.top_logprobs ?? null) !== null && !request.logprobs)
    throw invalid("only with logprobs: true", "top_logprobs");
  if ((max_tokens ?? max_completion_tokens) !== (max_completion_tokens ?? max_tokens))
    throw invalid("max_completion_tokens has another value", "max_tokens");
}
