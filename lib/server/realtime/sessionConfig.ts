import type { LiveOptions, LiveReplyOptions } from "../../live/options.js";
import type { TurnDetectorOptions } from "../../live/turnDetector.js";
import { invalid } from "../errors.js";
import type { AudioFormat } from "./audioFormat.js";
import type { ResponseRequest } from "./clientEvents.js";
import { type Sampling, type SessionUpdate, samplingFields } from "./sessionSchema.js";

/** The turn detection of a session, as it is in effect. */
export interface TurnDetection {
  readonly type: "server_vad";
  readonly threshold: number;
  readonly prefix_padding_ms: number;
  readonly silence_duration_ms: number;
  readonly create_response: boolean;
  readonly interrupt_response: boolean;
}

/** What a reply is made with. */
export interface ReplyConfig {
  readonly modality: "audio" | "text";
  readonly output: AudioFormat;
  readonly voice: unknown;
  readonly maxOutputTokens: number | "inf";
  readonly sampling: Sampling;
}

/** The configuration of a session. */
export interface SessionConfig extends ReplyConfig {
  readonly instructions: string;
  readonly input: AudioFormat;
  readonly turnDetection: TurnDetection | null;
  /** Whether the client wants transcripts of what it says, which this server has none of. */
  readonly transcription: boolean;
}

const pcm: AudioFormat = { type: "audio/pcm", rate: 24000 };
/** As OpenAI's. */
const defaultTurns: TurnDetection = {
  type: "server_vad",
  threshold: 0.5,
  prefix_padding_ms: 300,
  silence_duration_ms: 500,
  create_response: true,
  interrupt_response: true,
};

/** @param canSpeak whether the model was loaded with speech */
export const defaultConfig = (canSpeak: boolean): SessionConfig => ({
  instructions: "",
  modality: canSpeak ? "audio" : "text",
  input: pcm,
  output: pcm,
  voice: "default",
  maxOutputTokens: "inf",
  sampling: {},
  turnDetection: defaultTurns,
  transcription: false,
});

/** What a change makes of a configuration. @throws {Refusal} for another model, or speech of a model that has none */
export function updated(
  config: SessionConfig,
  update: SessionUpdate,
  { model, canSpeak }: { readonly model: string; readonly canSpeak: boolean },
): SessionConfig {
  if ((update.model ?? model) !== model)
    throw invalid(`this session's model is ${JSON.stringify(model)}, and stays it`, "session.model", "model_not_found");
  const { input, output } = update.audio ?? {};
  const reply = replyConfig(config, { ...update, audio: { output } }, "session", canSpeak);
  return {
    ...reply,
    // null and an absent field differ where null turns something off.
    instructions: update.instructions ?? (update.instructions === null ? "" : config.instructions),
    input: (input?.format as AudioFormat | null | undefined) ?? config.input,
    turnDetection: turnDetection(config.turnDetection, input?.turn_detection),
    transcription: input?.transcription === undefined ? config.transcription : input.transcription !== null,
  };
}

/**
 * What a request makes of the configuration of replies.
 * @param where the request, for messages
 * @throws {Refusal} for speech of a model that has none
 */
export function replyConfig(
  config: ReplyConfig,
  request: Pick<ResponseRequest, "output_modalities" | "max_output_tokens" | "audio" | keyof Sampling>,
  where: string,
  canSpeak: boolean,
): ReplyConfig {
  const { output_modalities: modalities, audio } = request;
  const modality = modalities ? (modalities.includes("audio") ? "audio" : "text") : config.modality;
  if (modality === "audio" && !canSpeak)
    throw invalid("this model was loaded without speech", `${where}.output_modalities`);
  const given = samplingFields.filter((field) => (request[field] ?? null) !== null);
  return {
    modality,
    output: (audio?.output?.format as AudioFormat | null | undefined) ?? config.output,
    voice: audio?.output?.voice ?? config.voice,
    maxOutputTokens: request.max_output_tokens ?? config.maxOutputTokens,
    sampling: { ...config.sampling, ...Object.fromEntries(given.map((field) => [field, request[field]])) },
  };
}

type AudioUpdate = NonNullable<NonNullable<SessionUpdate["audio"]>["input"]>;

function turnDetection(present: TurnDetection | null, given: AudioUpdate["turn_detection"]): TurnDetection | null {
  if (given === undefined) return present;
  if (given === null) return null;
  const { create_response, interrupt_response } = given;
  const answering = {
    create_response: create_response ?? true,
    interrupt_response: interrupt_response ?? true,
  };
  if (given.type === "semantic_vad") return { ...defaultTurns, ...answering };
  return {
    ...defaultTurns,
    ...answering,
    threshold: given.threshold ?? defaultTurns.threshold,
    prefix_padding_ms: given.prefix_padding_ms ?? defaultTurns.prefix_padding_ms,
    silence_duration_ms: given.silence_duration_ms ?? defaultTurns.silence_duration_ms,
  };
}

/** The options of a reply. @param maxTokens what "inf" means */
export function replyOptions(config: ReplyConfig, maxTokens: number): LiveReplyOptions {
  const { temperature, top_k, top_p, repetition_penalty, seed } = config.sampling;
  return {
    speech: config.modality === "audio",
    maxTokens: config.maxOutputTokens === "inf" ? maxTokens : config.maxOutputTokens,
    temperature: temperature ?? undefined,
    topK: top_k ?? undefined,
    topP: top_p ?? undefined,
    repetitionPenalty: repetition_penalty ?? undefined,
    seed: seed ?? undefined,
  };
}

/** When turns begin and end. */
export const turnOptions = ({ turnDetection: turns }: SessionConfig): TurnDetectorOptions =>
  turns
    ? {
        threshold: turns.threshold,
        prefixPaddingMs: turns.prefix_padding_ms,
        silenceDurationMs: turns.silence_duration_ms,
      }
    : {};

/** The options that a session of the library gets for a configuration. */
export function liveOptions(config: SessionConfig, maxTokens: number) {
  const { turnDetection: turns, instructions } = config;
  return {
    ...replyOptions(config, maxTokens),
    system: instructions === "" ? undefined : instructions,
    turns: turnOptions(config),
    detector: turns ? undefined : null,
    answer: turns?.create_response ?? false,
    bargeIn: turns?.interrupt_response ?? false,
  } satisfies LiveOptions;
}

/** A session as events show it. */
export function sessionObject(
  config: SessionConfig,
  { id, model, expires }: { id: string; model: string; expires: number },
) {
  return {
    type: "realtime",
    object: "realtime.session",
    id,
    model,
    expires_at: expires,
    output_modalities: [config.modality],
    instructions: config.instructions,
    max_output_tokens: config.maxOutputTokens,
    ...config.sampling,
    tools: [],
    tool_choice: "none",
    prompt: null,
    tracing: null,
    include: null,
    audio: {
      input: {
        format: config.input,
        noise_reduction: null,
        transcription: null,
        turn_detection: config.turnDetection,
      },
      output: { format: config.output, voice: config.voice, speed: 1 },
    },
  };
}
