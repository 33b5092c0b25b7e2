import { createHash } from "node:crypto";
import type { RgbImage } from "../../media/image.js";
import type { Steps } from "../../turns.js";
import type { VisionUnit } from "../vision/plan.js";

/** Bytes that are hashed at a stretch: in 1 to 3 ms. */
const sliceBytes = 2 ** 20;

/** The SHA-256 hash of data and of a head, which says how the data are to be understood. */
function* digestSteps(head: readonly (string | number)[], data: ArrayBufferView): Steps<string> {
  const hash = createHash("sha256").update(JSON.stringify(head));
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    hash.update(bytes.subarray(at, at + sliceBytes));
    yield;
  }
  return hash.digest("base64");
}

/** Stands for the rows of a sound. */
export const audioDigest = (samples: Float32Array): Steps<string> => digestSteps(["audio"], samples);

/** Stands for the rows of an image, or for what one frame of a video adds to those of its unit. */
export function frameDigest({ width, height, data }: RgbImage, { inputSize, tokenGrid }: VisionUnit): Steps<string> {
  const sizes = [inputSize, tokenGrid].flatMap((size) => [size.height, size.width]);
  return digestSteps(["frame", height, width, ...sizes], data);
}

/** Stands for the rows of two frames of a video. */
export function pairDigest(first: string, second: string): string {
  return createHash("sha256").update(`pair ${first} ${second}`).digest("base64");
}
