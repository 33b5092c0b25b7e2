import sharp from "sharp";
import { throwIfAborted } from "../errors.js";
import { checkOptionNames } from "../options.js";
import { hasField, inputError, mediaError, readMedia } from "./input.js";

/** 8-bit RGB pixels `[height, width, 3]`, rows from the top. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A file's path, a file's bytes, or pixels. */
export type ImageInput = string | Uint8Array | RgbImage;

export interface ImageOptions {
  /** Larger images are refused before decoding. Default 2^26 (64 megapixels). */
  readonly maxPixels?: number;
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const imageOptions = { maxPixels: true, name: true, signal: true } satisfies Record<keyof ImageOptions, true>;

/**
 * Decodes a PNG, JPEG, WebP, GIF, TIFF or AVIF image, or the first frame of an animation, to 8-bit RGB. The EXIF
 * orientation is applied, transparency is blended over white, and colour profiles are ignored as in the published
 * preprocessing.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for a damaged or too large image, or pixels that disagree with its size;
 *   `IO_ERROR`, `ABORTED`, `INVALID_ARGUMENT` when an option is unknown
 */
export async function loadImage(input: ImageInput, options: ImageOptions = {}): Promise<RgbImage> {
  checkOptionNames("loadImage", options, imageOptions);
  const { maxPixels = 2 ** 26, signal } = options;
  const name = typeof input === "string" ? input : (options.name ?? "image");
  if (typeof input !== "string" && !(input instanceof Uint8Array) && !hasField(input, "data"))
    throw inputError(input, name, "a path, bytes, or { width, height, data }");
  throwIfAborted(signal, `decoding ${name}`);
  if (typeof input === "object" && "data" in input) return checkImage(input, name);
  const bytes = typeof input === "string" ? await readMedia(input, signal) : input;
  if (bytes.length === 0) throw mediaError(name, "it is empty");
  const decoder = sharp(bytes, { failOn: "warning", limitInputPixels: maxPixels, ignoreIcc: true, autoOrient: true });
  try {
    const { data, info } = await decoder
      .flatten({ background: "#ffffff" })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    throwIfAborted(signal, `decoding ${name}`);
    return { width: info.width, height: info.height, data };
  } catch (cause) {
    throwIfAborted(signal, `decoding ${name}`);
    throw mediaError(name, (cause as Error).message.replaceAll("\n", "; "), cause);
  }
}

function checkImage(image: RgbImage, name: string): RgbImage {
  const { width, height, data } = image;
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0)) {
    throw mediaError(name, `its size is ${width}x${height}`);
  }
  if (data.length !== width * height * 3) {
    throw mediaError(name, `expected ${width * height * 3} bytes of RGB for ${width}x${height}, got ${data.length}`);
  }
  return image;
}
