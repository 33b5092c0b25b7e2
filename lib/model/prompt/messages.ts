import { fileURLToPath } from "node:url";
import { CaracalError, shown } from "../../errors.js";
import { type AudioInput, loadAudio } from "../../media/audio.js";
import { type ImageInput, loadImage, type RgbImage } from "../../media/image.js";
import { maxFileBytes, mediaError, untilAborted } from "../../media/input.js";
import { openVideo, type Video, type VideoInput } from "../../media/video.js";
import { checkOptionNames, isRecord } from "../../options.js";
import { type Steps, Turns } from "../../turns.js";

/** A segment of an earlier spoken reply: its text, and codec codes [frames, 4] of at least as many frames as tokens. */
export interface SpeechSegment {
  readonly text: string;
  readonly codes: ArrayLike<number>;
}

/** A file's bytes, or a `file:` URL. No other URL is fetched. */
export type MediaFile = ArrayBuffer | Blob | URL;

/**
 * A part of a message. A video's `interleaveAudio` interleaves sound with the frames in step: `true` takes the video's
 * own track, otherwise the given audio. Images and videos are refused beyond their limits, whose defaults are those of
 * `loadImage` and `openVideo`; an image with `autoOrient: false` leaves its EXIF orientation aside, as the published code
 * does. A `speech` part is an earlier spoken reply of the assistant, as history.
 */
export type Part =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "audio"; readonly audio: AudioInput | MediaFile }
  | {
      readonly type: "image";
      readonly image: ImageInput | MediaFile;
      readonly maxPixels?: number;
      readonly autoOrient?: boolean;
    }
  | {
      readonly type: "video";
      readonly video: VideoInput | URL;
      readonly interleaveAudio?: boolean | AudioInput | MediaFile;
      readonly maxPixels?: number;
      readonly maxSeconds?: number;
      readonly maxFrames?: number;
    }
  | { readonly type: "speech"; readonly segments: readonly SpeechSegment[] };

/** A message. Text in it is only text, also where it spells the name of a control token, such as `</longcat_s>`. */
export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly Part[];
}

type Kind = Part["type"];

const roles: readonly unknown[] = ["system", "user", "assistant"] satisfies Message["role"][];
const messageFields = { role: true, content: true } satisfies Record<keyof Message, true>;
const segmentFields = { text: true, codes: true } satisfies Record<keyof SpeechSegment, true>;
const partFields: { [T in Kind]: Record<keyof Extract<Part, { type: T }>, true> } = {
  text: { type: true, text: true },
  audio: { type: true, audio: true },
  image: { type: true, image: true, maxPixels: true, autoOrient: true },
  video: { type: true, video: true, interleaveAudio: true, maxPixels: true, maxSeconds: true, maxFrames: true },
  speech: { type: true, segments: true },
};

/** More messages, parts and segments than any prompt has tokens. */
const maxItems = 2 ** 17;

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
  /** Longer audio parts are refused, without decoding what is beyond. Default: as `loadAudio`. */
  readonly audioSeconds?: number;
  readonly signal?: AbortSignal;
  /** Sees each part, and its name for messages, before any file is read. It may refuse the part. */
  readonly onPart?: (part: Part, name: string) => void;
  /** Sees each part once it is loaded, before the next one is read. It may refuse the part. */
  readonly onLoaded?: (part: LoadedPart, name: string) => void;
  /** Receives the number of messages once all were found to be well-formed. */
  readonly onRead?: (messages: number) => void;
}

/**
 * Decodes the media of a conversation as far as the prompt needs. Video frames stay undecoded. Every message is checked
 * before the first file is read.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for a message or part of unknown kind, with an unknown field, or without one
 *   that it needs, and the errors of loading its media: `MEDIA_INVALID`, `IO_ERROR`, `MISSING_TOOL`, `ABORTED`
 */
export async function loadMessages(
  messages: readonly Message[],
  options: LoadMessagesOptions = {},
): Promise<LoadedMessage[]> {
  const { onPart, onLoaded, onRead, ...mediaOptions } = options;
  const turns = new Turns("reading the messages", options.signal);
  const reader = new MessageReader();
  const read: ReadMessage[] = [];
  for (const message of reader.list(messages, "messages", "a list of { role, content }")) {
    read.push(await reader.message(message, `message ${read.length}`, turns));
  }
  for (const [i, { content }] of read.entries())
    for (const [j, part] of content.entries()) onPart?.(part, `message ${i}, part ${j}`);
  onRead?.(read.length);

  const loaded: LoadedMessage[] = [];
  for (const [i, { role, content }] of read.entries()) {
    const parts: LoadedPart[] = [];
    for (const [j, part] of content.entries()) {
      const name = `message ${i}, part ${j}`;
      const loadedPart = await loadPart(part, name, mediaOptions);
      onLoaded?.(loadedPart, name);
      parts.push(loadedPart);
      if (turns.due) await turns.next();
    }
    loaded.push({ role, content: parts });
  }
  return loaded;
}

interface ReadMessage {
  readonly role: Message["role"];
  readonly content: readonly Part[];
}

/**
 * Copies messages of any value while checking them, so that each property is read once: getters and proxies cannot
 * change their answer after the check.
 */
class MessageReader {
  #items = 0;
  #codes = 0;

  async message(value: unknown, name: string, turns: Turns): Promise<ReadMessage> {
    const message = this.#copy(value, name, "{ role, content }");
    checkOptionNames<object>(name, message, messageFields, "field");
    const { role, content } = message;
    if (!roles.includes(role)) throw invalid(`${name}: role must be system, user or assistant, got ${shown(role)}`);
    const parts: Part[] = [];
    if (typeof content === "string") parts.push({ type: "text", text: content });
    else
      for (const part of this.list(content, `${name}: content`, "text or a list of parts")) {
        parts.push(await turns.during(this.#part(part, `${name}, part ${parts.length}`)));
      }
    if (turns.due) await turns.next();
    return { role: role as Message["role"], content: parts };
  }

  /** The elements of a list, read one by one. */
  *list(value: unknown, name: string, expected: string): Generator<unknown, void> {
    const length = Array.isArray(value) ? value.length : undefined;
    if (length === undefined) throw invalid(`${name} must be ${expected}, got ${shown(value)}`);
    this.#items += length;
    if (this.#items > maxItems) throw invalid(`more than ${maxItems} messages, parts and segments are not possible`);
    for (let i = 0; i < length; i++) yield (value as unknown[])[i];
  }

  *#part(value: unknown, name: string): Steps<Part> {
    yield; // so that the event loop may turn before each part
    const part = this.#copy(value, name, 'a part, such as { type: "text", text }');
    const { type } = part;
    if (typeof type !== "string" || !Object.hasOwn(partFields, type))
      throw invalid(`${name}: type must be text, audio, image, video or speech, got ${shown(type)}`);
    checkOptionNames<object>(name, part, partFields[type as Kind], "field");
    const main = type === "speech" ? "segments" : type;
    if (part[main] === undefined || part[main] === null)
      throw invalid(`${name} is of type ${type} and needs the field "${main}", got ${shown(part[main])}`);
    if (type === "text") checkText(part.text, name);
    if (type !== "speech") return part as Part;
    const segments: SpeechSegment[] = [];
    for (const segment of this.list(part.segments, `${name}: segments`, "a list of { text, codes }")) {
      segments.push(this.#segment(segment, `${name}, segment ${segments.length}`));
      yield;
    }
    return { type, segments };
  }

  #segment(value: unknown, name: string): SpeechSegment {
    const segment = this.#copy(value, name, "{ text, codes }");
    checkOptionNames<object>(name, segment, segmentFields, "field");
    checkText(segment.text, name);
    const { codes } = segment;
    const length = typeof codes === "object" ? (codes as ArrayLike<number> | null)?.length : null;
    if (!Number.isInteger(length) || length! < 0)
      throw invalid(`${name}: codes must be a list of numbers, got ${shown(codes)}`);
    this.#codes += length!; // segments may share one list
    if (this.#codes > 4 * maxItems)
      throw invalid(`${name}: with it, ${this.#codes} codes are too many, at most ${4 * maxItems} are possible`);
    const copy = Array.from({ length: length! }, (_, i) => (codes as ArrayLike<number>)[i]!);
    return { text: segment.text as string, codes: copy };
  }

  #copy(value: unknown, name: string, expected: string): Record<string, unknown> {
    if (isRecord(value)) return { ...value };
    throw invalid(`${name} must be ${expected}, got ${shown(value)}`);
  }
}

function checkText(text: unknown, name: string): void {
  if (typeof text !== "string") throw invalid(`${name}: text must be a string, got ${shown(text)}`);
}

async function loadPart(part: Part, name: string, options: LoadMessagesOptions): Promise<LoadedPart> {
  switch (part.type) {
    case "text":
    case "speech":
      return part;
    case "audio": {
      const audio = await mediaInput(part.audio, name, options.signal);
      const { audioSeconds: maxSeconds, sampleRate, signal } = options;
      const limit = { maxSeconds, limitName: "limits.audioSeconds" };
      const samples = await loadAudio(audio, { name, ...limit, sampleRate, signal });
      return { type: "audio", samples, name: typeof audio === "string" ? audio : name };
    }
    case "image": {
      const { type, image: given, ...limits } = part;
      const image = await mediaInput(given, name, options.signal);
      return { type, image: await loadImage(image, { ...limits, name, signal: options.signal }) };
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
  const { type: _type, video: given, interleaveAudio = false, ...limits } = part;
  const input = (await mediaInput(given, name, options.signal)) as VideoInput; // openVideo refuses bytes
  const video = await openVideo(input, { ...limits, name, signal: options.signal });
  if (interleaveAudio === false) return { type: "video", video, samples: null };
  const { audioSeconds: _, ...mediaOptions } = options;
  const samples =
    interleaveAudio === true
      ? await video.audio(mediaOptions)
      : await loadAudio(await mediaInput(interleaveAudio, name, options.signal), { name, ...mediaOptions });
  if (samples === null) {
    throw new CaracalError("MEDIA_INVALID", `${video.name}: it has no sound to interleave; omit interleaveAudio`);
  }
  return { type: "video", video, samples };
}

/** A medium as lib/media takes it: files of the web platform become bytes or paths. */
async function mediaInput<T>(
  input: T | MediaFile,
  name: string,
  signal: AbortSignal | undefined,
): Promise<T | Uint8Array | string> {
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (isBlob(input)) return readBlob(input, name, signal);
  if (!isURL(input)) return input;
  if (input.protocol === "file:") return pathOf(input, name);
  throw invalid(`${name}: of URLs only file: is read, got ${shown(input.href)}; read it and pass its bytes`);
}

const isBlob = (input: unknown): input is Blob => input instanceof Blob && isGenuine(Blob, "size", input);
const isURL = (input: unknown): input is URL => input instanceof URL && isGenuine(URL, "href", input);

/** Says no of a proxy or heir of a platform object: it has the class, but not the inner state that its getters read. */
function isGenuine(type: { readonly prototype: object }, getter: string, input: object): boolean {
  try {
    Reflect.get(type.prototype, getter, input);
    return true;
  } catch {
    return false;
  }
}

function pathOf(url: URL, name: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new CaracalError("INVALID_ARGUMENT", `${name}: ${(cause as Error).message}`, {}, { cause });
  }
}

async function readBlob(blob: Blob, name: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  if (!(blob.size <= maxFileBytes))
    throw mediaError(name, `it has ${shown(blob.size)} bytes, at most ${maxFileBytes} are read`);
  const reading = Promise.resolve(blob.arrayBuffer()).then((bytes) => new Uint8Array(bytes));
  const unreadable = (cause: unknown) => {
    throw new CaracalError("IO_ERROR", `${name} cannot be read: ${shown(Object(cause).message)}`, {}, { cause });
  };
  return untilAborted(reading.catch(unreadable), signal, `reading ${name}`);
}

const invalid = (message: string): CaracalError => new CaracalError("INVALID_ARGUMENT", message);
