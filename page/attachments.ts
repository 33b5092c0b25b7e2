import { jpeg } from "./camera.js";
import { inputRate, pcm16, toBase64 } from "./pcm.js";
import { Problem } from "./problem.js";

/** A file of the user, as the protocol takes it, and how the page shows it. */
export interface Attachment {
  readonly name: string;
  readonly part:
    | { readonly type: "input_image"; readonly image_url: string }
    | { readonly type: "input_audio"; readonly audio: string };
  /** Seconds of a sound. */
  readonly seconds?: number;
}

/** Pixels of the longer side of an image: the model sees no more. */
const longSide = 1344;
/** Seconds of a sound that a message of 4 MiB holds. */
const mostSeconds = 90;

/** Characters of media in a message, whose 4 MiB the server takes. */
const mostCharacters = 4_100_000;

/** @throws {Problem} for more than a message can hold */
export function checkSize(attachments: readonly Attachment[]): void {
  const sizes = attachments.map(({ part }) => (part.type === "input_image" ? part.image_url : part.audio).length);
  if (sizes.reduce((sum, size) => sum + size, 0) > mostCharacters)
    throw new Problem("That is more than a message can hold: send some of it first.");
}

/** Reads a file of the user. @throws {Problem} */
export async function attachmentOf(file: File): Promise<Attachment> {
  if (file.type.startsWith("image/")) return image(file);
  if (file.type.startsWith("audio/")) return sound(file);
  throw new Problem(`${file.name} is neither an image nor a sound: those can be sent.`);
}

async function image(file: File): Promise<Attachment> {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Problem(`${file.name} is no image that this browser can read.`);
  });
  const { width, height } = picture;
  const image_url = jpeg(document.createElement("canvas"), picture, { width, height, longSide, quality: 0.9 });
  picture.close();
  return { name: file.name, part: { type: "input_image", image_url } };
}

async function sound(file: File): Promise<Attachment> {
  const context = new OfflineAudioContext(1, 1, inputRate); // it resamples what it decodes
  const buffer = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Problem(`${file.name} is no sound that this browser can read.`);
  });
  if (buffer.duration > mostSeconds)
    throw new Problem(`${file.name} lasts ${Math.round(buffer.duration)} s; at most ${mostSeconds} s can be sent.`);
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++)
    for (const [i, sample] of buffer.getChannelData(channel).entries()) mono[i]! += sample / buffer.numberOfChannels;
  return { name: file.name, part: { type: "input_audio", audio: toBase64(pcm16(mono)) }, seconds: buffer.duration };
}
