import { z } from "zod";
import { anything, dataUri, mediaText, text } from "../fields.js";

// Items of a conversation, as clients write them. What a client gets in events it may send back.

export const noTools = "this model calls no tools";

const id = z.string().min(1).max(128);
const inputText = z.strictObject({ type: z.literal("input_text"), text });
const outputText = <T extends string>(type: T) => z.strictObject({ type: z.literal(type), text });
/** Speech of the assistant comes back as its words. */
const outputAudio = <T extends string>(type: T) =>
  z.strictObject({ type: z.literal(type), transcript: text, audio: anything });
/** Also by the names that parts had once. */
const outputParts = [
  outputText("output_text"),
  outputText("text"),
  outputAudio("output_audio"),
  outputAudio("audio"),
] as const;
const inputAudio = z.strictObject({
  type: z.literal("input_audio"),
  audio: mediaText,
  transcript: z.string().nullish(),
});
const inputImage = z.strictObject({
  type: z.literal("input_image"),
  image_url: dataUri,
  detail: anything,
});

const parts = <P extends z.ZodType>(part: P) => z.array(part).min(1);
const common = { id: id.nullish(), object: anything, type: z.literal("message"), status: anything };
const message = z.discriminatedUnion(
  "role",
  [
    z.strictObject({ ...common, role: z.literal("system"), content: parts(inputText) }),
    z.strictObject({
      ...common,
      role: z.literal("user"),
      content: parts(
        z.discriminatedUnion("type", [inputText, inputAudio, inputImage], {
          error: "it must be input_text, input_audio or input_image",
        }),
      ),
    }),
    z.strictObject({
      ...common,
      role: z.literal("assistant"),
      content: parts(z.discriminatedUnion("type", outputParts, { error: "it must be output_text or output_audio" })),
    }),
  ],
  { error: "it must be system, user or assistant" },
);
export type MessageItem = z.output<typeof message>;

/** An item that a client adds to the conversation. */
export const createdItem = z.discriminatedUnion("type", [message], { error: `it must be message: ${noTools}` });

/** An item that a response of its own reads. */
export const inputItem = z.discriminatedUnion(
  "type",
  [message, z.strictObject({ type: z.literal("item_reference"), id })],
  { error: `it must be message or item_reference: ${noTools}` },
);
export type InputItem = z.output<typeof inputItem>;
