import { z } from "zod";
import { anything, text } from "../fields.js";
import type { Limits } from "../limits.js";
import { noTools } from "./itemSchema.js";

// What a client asks of a session and of its responses. Fields that this server has no use for are taken and listed in
// docs/realtime.md; those that would change the meaning of a conversation are refused.

const flag = z.boolean().nullish();
const pcm = z.strictObject({
  type: z.literal("audio/pcm"),
  rate: z.union([z.literal(24000), z.literal(16000)], { error: "it must be 24000 or 16000" }).default(24000),
});
const g711 = { rate: z.literal(8000, { error: "G.711 has 8000" }).nullish() };
export const audioFormat = z.discriminatedUnion(
  "type",
  [
    pcm,
    z.strictObject({ type: z.literal("audio/pcmu"), ...g711 }),
    z.strictObject({ type: z.literal("audio/pcma"), ...g711 }),
  ],
  { error: "it must be audio/pcm, audio/pcmu or audio/pcma" },
);

const milliseconds = (most: number) => z.number().min(0).max(most).nullish();
const answering = { create_response: flag, interrupt_response: flag };
const turnDetection = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("server_vad"),
      ...answering,
      threshold: z.number().min(0).max(1).nullish(),
      prefix_padding_ms: milliseconds(2000),
      silence_duration_ms: milliseconds(60_000),
      idle_timeout_ms: z.null({ error: "nobody is prompted to speak: omit it" }).optional(),
    }),
    z.strictObject({ type: z.literal("semantic_vad"), ...answering, eagerness: anything }),
  ],
  { error: "it must be server_vad or semantic_vad; null turns it off" },
);

const modalities = z
  .array(z.enum(["text", "audio"]))
  .min(1)
  .max(2)
  .nullish();
const toolChoice = z.enum(["none", "auto"], { error: `${noTools}: it must be none or auto` }).nullish();
const noPrompt = z.null({ error: "there are no stored prompts: pass instructions" }).optional();
const sampling = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .nullish(),
  repetition_penalty: z.number().positive().nullish(),
  seed: z.int().min(0).nullish(),
};
const tokens = (most: number) =>
  z.union([z.literal("inf"), z.int().min(1).max(most)], { error: `it must be "inf" or 1 to ${most}` }).nullish();

/** The fields that responses share with the session. */
const shared = ({ maxTokens }: Limits) => ({
  instructions: text.nullish(),
  output_modalities: modalities,
  max_output_tokens: tokens(maxTokens),
  tools: anything,
  tool_choice: toolChoice,
  parallel_tool_calls: anything,
  prompt: noPrompt,
  reasoning: anything,
  ...sampling,
});

export const sessionSchema = (limits: Limits) =>
  z.strictObject({
    ...shared(limits),
    type: z.literal("realtime", { error: "only sessions of type realtime are served" }).optional(),
    object: anything,
    id: anything,
    expires_at: anything,
    model: z.string().nullish(),
    audio: z
      .strictObject({
        input: z
          .strictObject({
            format: audioFormat.nullish(),
            noise_reduction: anything,
            transcription: z.looseObject({}).nullish(),
            turn_detection: turnDetection.nullish(),
          })
          .nullish(),
        output: z
          .strictObject({
            format: audioFormat.nullish(),
            voice: anything,
            speed: z.literal(1, { error: "the model has one speed: omit it, or pass 1" }).nullish(),
          })
          .nullish(),
      })
      .nullish(),
    include: anything,
    tracing: anything,
    truncation: anything,
  });
/** What a client changes of a session. */
export type SessionUpdate = z.output<ReturnType<typeof sessionSchema>>;
export type Sampling = Pick<SessionUpdate, keyof typeof sampling>;
export const samplingFields = Object.keys(sampling) as readonly (keyof typeof sampling)[];

/** Pairs of a client, which come back with its response. */
const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, { error: "it has more than 16 pairs" })
  .nullish();

export const responseSchema = (limits: Limits) => ({
  ...shared(limits),
  conversation: z.enum(["auto", "none"]).nullish(),
  metadata,
  audio: z
    .strictObject({ output: z.strictObject({ format: audioFormat.nullish(), voice: anything }).nullish() })
    .nullish(),
});
