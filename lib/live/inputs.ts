import { checkImage, type RgbImage } from "../media/image.js";
import { checkedFloats, checkOption, refuseValue } from "../options.js";
import { tooMuchText } from "./turnInput.js";

/** Samples of one `push`: a quarter of an hour. */
const maxPushed = 2 ** 24;
/** RGB bytes of a frame: 8192 × 4096 pixels. */
const maxFrameBytes = 3 * 2 ** 25;
/** More than any token has: longer texts are refused before they are looked at. */
const charactersPerToken = 256;

/** Returns a copy of what a microphone heard. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkedSamples(samples: Float32Array): Float32Array {
  const where = "LiveSession.push";
  const values = checkedFloats(where, "samples", samples);
  if (values.length > maxPushed) refuseValue(where, "samples", `at most ${maxPushed} at a time`, values);
  const copy = values.slice();
  // One sample that is no number would stay in the state of every stream, and end the session where it is found.
  const wrong = copy.find((value) => !(Math.abs(value) <= 1000));
  if (wrong !== undefined) refuseValue(where, "samples", "of values in [-1, 1]", wrong);
  return copy;
}

/** Returns a copy of what a camera saw. @throws {CaracalError} `INVALID_ARGUMENT`, `MEDIA_INVALID` */
export function checkedFrame(frame: RgbImage): RgbImage {
  const image = checkImage(frame, "LiveSession.look: frame");
  const { data, width, height } = image;
  if (data.length > maxFrameBytes)
    refuseValue("LiveSession.look", "frame", `at most ${maxFrameBytes / 3} pixels`, `${width}x${height}`);
  return { ...image, data: data.slice() };
}

/** @param maxTokens that a conversation has room for @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkText(text: string, maxTokens: number): void {
  checkOption("LiveSession.say", "text", text, { accepts: (value) => typeof value === "string", expected: "text" });
  if (text.length > maxTokens * charactersPerToken) throw tooMuchText(maxTokens);
}
