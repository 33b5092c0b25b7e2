import type { Message, Part } from "../../model/prompt/messages.js";
import { ofBase64, ofDataUri } from "../base64.js";
import { invalid } from "../errors.js";
import type { Limits } from "../limits.js";
import { type AudioFormat, rateOf } from "./audioFormat.js";
import { AudioIn } from "./audioIn.js";
import type { MessageItem } from "./itemSchema.js";
import type { ItemPart } from "./items.js";

/** How items are read. */
export interface ReadItem {
  /** Of sound in items. */
  readonly format: AudioFormat;
  readonly limits: Limits;
  /** Aborted when they are no longer needed. */
  readonly signal: AbortSignal;
}

type GivenPart = MessageItem["content"][number];

/**
 * The message of an item, as the library takes it.
 * @param param names the item in errors
 * @throws {Refusal} for media that are no base64
 */
export async function messageOf(item: MessageItem, param: string, read: ReadItem): Promise<Message> {
  const { role } = item;
  const parts: Part[] = [];
  for (const [i, part] of item.content.entries()) parts.push(await partOf(part, `${param}.content[${i}]`, read));
  return { role, content: parts };
}

async function partOf(part: GivenPart, param: string, { format, limits, signal }: ReadItem): Promise<Part> {
  if ("text" in part) return { type: "text", text: part.text };
  if (part.type === "output_audio" || part.type === "audio") return { type: "text", text: part.transcript };
  if (part.type === "input_image") {
    const image = await ofDataUri(part.image_url, `${param}.image_url`, signal);
    return { type: "image", image, maxPixels: limits.imagePixels };
  }
  const bytes = await ofBase64(part.audio, `${param}.audio`, signal);
  const audio = new AudioIn(format, rateOf(format)); // the library resamples
  const samples = audio.push(bytes);
  const [seconds, most] = [samples.length / rateOf(format), limits.audioSeconds];
  if (seconds > most) throw invalid(`it has ${seconds.toFixed(1)} s, at most ${most} s are taken`, `${param}.audio`);
  return { type: "audio", audio: { samples, sampleRate: rateOf(format) } };
}

/** The parts of an item as events show them. */
export const partsOf = ({ content }: MessageItem): ItemPart[] =>
  content.map((part): ItemPart => {
    if (part.type === "input_image") return { type: "input_image", detail: "auto" };
    if (part.type === "input_audio") return { type: "input_audio", transcript: part.transcript ?? null };
    if (part.type === "output_audio" || part.type === "audio")
      return { type: "output_audio", transcript: part.transcript };
    return { type: part.type === "input_text" ? "input_text" : "output_text", text: part.text };
  });

export const imagesIn = ({ content }: MessageItem): number =>
  content.filter(({ type }) => type === "input_image").length;
