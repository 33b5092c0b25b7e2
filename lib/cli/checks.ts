import { extname, resolve } from "node:path";
import { CaracalError } from "../errors.js";
import { loadAudio } from "../media/audio.js";
import { loadImage } from "../media/image.js";
import { openVideo } from "../media/video.js";
import type { Part } from "../model/prompt/messages.js";
import { checkWritable } from "./files.js";

// What is wrong with a question should be known before minutes are spent on loading the model.

/**
 * Opens all media of a question, which are given by their paths.
 * @param audioSeconds the longest sound
 * @throws {CaracalError} `INVALID_ARGUMENT` for a video without the sound that is asked for, and the errors of loading
 *   media
 */
export async function checkMedia(content: readonly Part[], audioSeconds: number, signal: AbortSignal): Promise<void> {
  const limit = { maxSeconds: audioSeconds, limitName: "limits.audioSeconds" };
  for (const part of content) {
    if (part.type === "audio") await loadAudio(part.audio as string, { ...limit, signal });
    if (part.type === "image") {
      const { type, image, ...limits } = part;
      await loadImage(image as string, { ...limits, signal });
    }
    if (part.type !== "video") continue;
    const { type, video, interleaveAudio, ...limits } = part;
    const { name, hasAudio } = await openVideo(video as string, { ...limits, signal });
    if (interleaveAudio === true && !hasAudio)
      throw new CaracalError(
        "INVALID_ARGUMENT",
        `${name} has no sound: use --video in the place of --video-with-sound`,
      );
  }
}

/**
 * Checks where the spoken answer should go. The file is created only with the first samples.
 * @returns the absolute path
 * @throws {CaracalError} `INVALID_ARGUMENT` for an empty name, standard output and other formats than WAV, `IO_ERROR`
 *   when the file cannot be written, or is a folder
 */
export async function checkOut(out: string): Promise<string> {
  if (out === "")
    throw new CaracalError("INVALID_ARGUMENT", "--out takes a file, got an empty name: use --no-speech for text alone");
  if (out === "-")
    throw new CaracalError("INVALID_ARGUMENT", "--out takes a file: standard output is for the text; use ./- if meant");
  const extension = extname(out).toLowerCase();
  if (!["", ".wav", ".wave"].includes(extension)) {
    const advice = `name the file .wav, and convert it with "ffmpeg -i answer.wav answer${extension}"`;
    throw new CaracalError("INVALID_ARGUMENT", `--out writes WAV, got ${out}: ${advice}`, { out });
  }
  const file = resolve(out);
  await checkWritable(file);
  return file;
}
