import { CaracalError } from "../../errors.js";
import { type AudioInput, loadAudio } from "../../media/audio.js";
import { type ImageInput, loadImage, type RgbImage } from "../../media/image.js";
import { openVideo, type Video, type VideoInput } from "../../media/video.js";
import { checkOptionNames } from "../../options.js";

/** A segment of an earlier spoken reply: its text, and codec codes [frames, 4] of at least as many frames as tokens. */
export interface SpeechSegment {
  readonly text: string;
  readonly codes: ArrayLike<number>;
}

/**
 * A part of a message. A video's `interleaveAudio` interleaves sound with the frames in step: `true` takes the video's
 * own track, otherwise the given audio. An image is refused if it has more than `maxPixels` (default 2^26), and
 * `autoOrient: false` leaves its EXIF orientation aside, as the published code does. A `speech` part is an earlier spoken reply of the assistant, as history.
 */
export type Part =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "audio"; readonly audio: AudioInput }
  | {
      readonly type: "image";
      readonly image: ImageInput;
      readonly maxPixels?: number;
      readonly autoOrient?: boolean;
    }
  | { readonly type: "video"; readonly video: VideoInput; readonly interleaveAudio?: boolean | AudioInput }
  | { readonly type: "speech"; readonly segments: readonly SpeechSegment[] };

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly Part[];
}

const roles: readonly string[] = ["system", "user", "assistant"] satisfies Message["role"][];
const messageFields = { role: true, content: true } satisfies Record<keyof Message, true>;
const segmentFields = { text: true, codes: true } satisfies Record<keyof SpeechSegment, true>;
const partFields: { [T in Part["type"]]: Record<keyof Extract<Part, { type: T }>, true> } = {
  text: { type: true, text: true },
  audio: { type: true, audio: true },
  image: { type: true, image: true, maxPixels: true, autoOrient: true },
  video: { type: true, video: true, interleaveAudio: true },
  speech: { type: true, segments: true },
};

/** A part whose media are decoded as far as the prompt needs: audio to mono samples, images to pixels. */
export type LoadedPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "audio"; readonly samples: Float32Array; readonly name: string }
  | { readonly type: "image"; readonly image: RgbImage }
  | { readonly type: "video"; readonly video: Video; readonly samples: Float32Array | null }
  | { readonly type: "speech"; readonly segments: readonly SpeechSegment[] };

export interface LoadedMessage {
  readonly role: Message["role"];
  readonly content: readonly LoadedPart[];
}

export interface LoadMessagesOptions {
  /** Rate in Hz to resample audio to. Default 16000. */
  readonly sampleRate?: number;
  readonly signal?: AbortSignal;
}

/**
 * Decodes the media of a conversation as far as the prompt needs. Video frames stay undecoded.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for a message or part of unknown kind or with an unknown field, and the
 *   errors of loading its media: `MEDIA_INVALID`, `IO_ERROR`, `MISSING_TOOL`, `ABORTED`
 */
export async function loadMessages(
  messages: readonly Message[],
  options: LoadMessagesOptions = {},
): Promise<LoadedMessage[]> {
  const loaded: LoadedMessage[] = [];
  for (const [i, message] of messages.entries()) {
    const parts = checkMessage(message, `message ${i}`);
    const loadedParts: LoadedPart[] = [];
    for (const [j, part] of parts.entries()) loadedParts.push(await loadPart(part, `message ${i}, part ${j}`, options));
    loaded.push({ role: message.role, content: loadedParts });
  }
  return loaded;
}

/** Checks a message and returns its parts. */
function checkMessage(message: Message, name: string): readonly Part[] {
  checkOptionNames(name, message, messageFields, "field");
  const { role, content } = message;
  if (!roles.includes(role))
    throw new CaracalError("INVALID_ARGUMENT", `${name}: role must be system, user or assistant, got ${role}`);
  if (typeof content === "string") return [{ type: "text", text: content }];
  if (Array.isArray(content)) return content;
  throw new CaracalError("INVALID_ARGUMENT", `${name}: content must be text or a list of parts, got ${typeof content}`);
}

function checkPart(part: Part, name: string): void {
  if (!Object.hasOwn(partFields, part.type))
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `${name}: type must be text, audio, image, video or speech, got ${part.type}`,
    );
  checkOptionNames<object>(name, part, partFields[part.type], "field");
  if (part.type !== "speech") return;
  for (const [i, segment] of part.segments.entries())
    checkOptionNames(`${name}, segment ${i}`, segment, segmentFields, "field");
}

async function loadPart(part: Part, name: string, options: LoadMessagesOptions): Promise<LoadedPart> {
  checkPart(part, name);
  switch (part.type) {
    case "text":
    case "speech":
      return part;
    case "audio": {
      const samples = await loadAudio(part.audio, { name, ...options });
      return { type: "audio", samples, name: typeof part.audio === "string" ? part.audio : name };
    }
    case "image": {
      const { type, image, ...imageOptions } = part;
      return { type, image: await loadImage(image, { ...imageOptions, name, signal: options.signal }) };
    }
    case "video":
      return loadVideo(part, name, options);
  }
}

async function loadVideo(
  part: Part & { type: "video" },
  name: string,
  options: LoadMessagesOptions,
): Promise<LoadedPart> {
  const video = await openVideo(part.video, { name, signal: options.signal });
  const { interleaveAudio = false } = part;
  if (interleaveAudio === false) return { type: "video", video, samples: null };
  const samples =
    interleaveAudio === true ? await video.audio(options) : await loadAudio(interleaveAudio, { name, ...options });
  if (samples === null) {
    throw new CaracalError("MEDIA_INVALID", `${video.name}: it has no sound to interleave; omit interleaveAudio`);
  }
  return { type: "video", video, samples };
}
