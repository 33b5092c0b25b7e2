// The names that events had before the interface became generally available. Clients ask for them by the header
// `OpenAI-Beta: realtime=v1` or the subprotocol `openai-beta.realtime-v1`.
import { isRecord } from "../../options.js";
import type { ServerEvent } from "./serverEvents.js";

type Fields = Readonly<Record<string, unknown>>;

const eventNames: Readonly<Record<string, string>> = {
  "conversation.item.added": "conversation.item.created",
  "response.output_audio.delta": "response.audio.delta",
  "response.output_audio.done": "response.audio.done",
  "response.output_audio_transcript.delta": "response.audio_transcript.delta",
  "response.output_audio_transcript.done": "response.audio_transcript.done",
  "response.output_text.delta": "response.text.delta",
  "response.output_text.done": "response.text.done",
};
const partNames: Readonly<Record<string, string>> = { output_text: "text", output_audio: "audio" };
const formats: Readonly<Record<string, object>> = {
  pcm16: { type: "audio/pcm", rate: 24000 },
  g711_ulaw: { type: "audio/pcmu" },
  g711_alaw: { type: "audio/pcma" },
};

/** An event of a client, by its present names. What has no such names is left to the check that follows. */
export function presentEvent(value: unknown): unknown {
  if (!isRecord(value)) return value;
  if (value.type === "session.update" && isRecord(value.session))
    return { ...value, session: presentConfig(value.session) };
  if (value.type === "response.create" && isRecord(value.response))
    return { ...value, response: presentConfig(value.response) };
  return value;
}

/** An event of the server by its old names; undefined for one that did not exist. */
export function betaEvent(event: ServerEvent): ServerEvent | undefined {
  const { type, item, session, response } = event;
  if (type === "conversation.item.done") return undefined;
  return {
    ...event,
    type: eventNames[type] ?? type,
    ...(isRecord(item) && { item: betaItem(item) }),
    ...(isRecord(session) && { session: betaConfig(session) }),
    ...(isRecord(response) && { response: betaConfig(response) }),
  };
}

function presentConfig(config: Fields): Fields {
  const { modalities, voice, speed, turn_detection, max_response_output_tokens, ...others } = config;
  const { input_audio_format, output_audio_format, input_audio_transcription, ...more } = others;
  const { input_audio_noise_reduction, ...rest } = more;
  const input = given({
    format: presentFormat(input_audio_format),
    turn_detection,
    transcription: input_audio_transcription,
    noise_reduction: input_audio_noise_reduction,
  });
  const output = given({ format: presentFormat(output_audio_format), voice, speed });
  const audio = given({ input, output });
  return { ...rest, ...given({ audio, output_modalities: modalities, max_output_tokens: max_response_output_tokens }) };
}

/** A format that is unknown stays as it is, and is refused. */
const presentFormat = (name: unknown) => (typeof name === "string" ? (formats[name] ?? name) : name);

/** Fields without those that are absent, and undefined if there are none. */
function given(fields: Fields): Fields | undefined {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  return present.length > 0 ? Object.fromEntries(present) : undefined;
}

/** A session or a response. */
function betaConfig(config: Fields): Fields {
  const { audio, output_modalities, max_output_tokens, output, ...rest } = config;
  const { input = {}, output: out = {} } = (audio ?? {}) as { input?: Fields; output?: Fields };
  const isSession = config.object === "realtime.session";
  return {
    ...rest,
    modalities: (output_modalities as string[]).includes("audio") ? ["audio", "text"] : ["text"],
    ...(out.voice !== undefined && { voice: out.voice }),
    output_audio_format: betaFormat(out.format),
    ...(isSession && {
      input_audio_format: betaFormat(input.format),
      input_audio_transcription: null,
      turn_detection: input.turn_detection,
      max_response_output_tokens: max_output_tokens,
    }),
    ...(!isSession && { max_output_tokens, output: (output as Fields[]).map(betaItem) }),
  };
}

const betaFormat = (format: unknown) => {
  const { type } = format as { type: string };
  return type === "audio/pcm" ? "pcm16" : type === "audio/pcmu" ? "g711_ulaw" : "g711_alaw";
};

function betaItem(item: Fields): Fields {
  const content = item.content as readonly { readonly type: string }[];
  return { ...item, content: content.map((part) => ({ ...part, type: partNames[part.type] ?? part.type })) };
}
