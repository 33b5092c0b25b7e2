import { CaracalError } from "../../errors.js";
import { loadAudio } from "../../media/audio.js";
import { loadImage } from "../../media/image.js";
import { openVideo } from "../../media/video.js";
import type { LoadedMessage, LoadedPart, Message, Part } from "./build.js";

export interface LoadOptions {
  /** Hz that audio is resampled to. */
  readonly sampleRate?: number;
  readonly signal?: AbortSignal;
}

/**
 * Decodes the media of a conversation as far as the prompt needs it. Frames of videos stay undecoded.
 *
 * @throws INVALID_ARGUMENT for a message or part of unknown kind, and whatever loading its media throws
 */
export async function loadMessages(messages: readonly Message[], options: LoadOptions = {}): Promise<LoadedMessage[]> {
  const loaded: LoadedMessage[] = [];
  for (const [i, { role, content }] of messages.entries()) {
    if (!["system", "user", "assistant"].includes(role)) {
      throw new CaracalError("INVALID_ARGUMENT", `message ${i}: role must be system, user or assistant, got ${role}`);
    }
    const parts = typeof content === "string" ? [{ type: "text", text: content } as const] : content;
    const loadedParts: LoadedPart[] = [];
    for (const [j, part] of parts.entries()) loadedParts.push(await loadPart(part, `message ${i}, part ${j}`, options));
    loaded.push({ role, content: loadedParts });
  }
  return loaded;
}

async function loadPart(part: Part, name: string, options: LoadOptions): Promise<LoadedPart> {
  switch (part.type) {
    case "text":
    case "speech":
      return part;
    case "audio": {
      const samples = await loadAudio(part.audio, { name, ...options });
      return { type: "audio", samples, name: typeof part.audio === "string" ? part.audio : name };
    }
    case "image":
      return { type: "image", image: await loadImage(part.image, { name, signal: options.signal }) };
    case "video":
      return loadVideo(part, name, options);
    default:
      throw new CaracalError(
        "INVALID_ARGUMENT",
        `${name}: type must be text, audio, image, video or speech, got ${(part as { type: unknown }).type}`,
      );
  }
}

async function loadVideo(part: Part & { type: "video" }, name: string, options: LoadOptions): Promise<LoadedPart> {
  const video = await openVideo(part.video, { name, signal: options.signal });
  const { interleaveAudio = false } = part;
  if (interleaveAudio === false) return { type: "video", video, samples: null };
  const samples =
    interleaveAudio === true ? await video.audio(options) : await loadAudio(interleaveAudio, { name, ...options });
  if (samples === null) {
    throw new CaracalError("MEDIA_INVALID", `${video.name}: it has no sound to interleave; leave interleaveAudio out`);
  }
  return { type: "video", video, samples };
}
