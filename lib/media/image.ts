import sharp from "sharp";
import { throwIfAborted } from "../errors.js";
import { mediaError, readMedia } from "./input.js";

/** 8-bit RGB pixels, rows from the top, [height, width, 3]. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A file's path, a file's bytes, or pixels. */
export type ImageInput = string | Uint8Array | RgbImage;

export interface ImageOptions {
  /** Larger images are refused before they are decoded; 2^26 (64 megapixels) by default. */
  readonly maxPixels?: number;
  /** Stands for the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}

/**
 * Decodes a PNG, JPEG, WebP, GIF, TIFF or AVIF image (of an animation, the first frame) to 8-bit RGB: EXIF orientation
 * applied, transparency over white, colour profiles ignored as in the published preprocessing.
 *
 * @throws MEDIA_INVALID (damaged, too large, sizes that disagree), IO_ERROR, ABORTED
 */
export async function loadImage(input: ImageInput, options: ImageOptions = {}): Promise<RgbImage> {
  const { maxPixels = 2 ** 26, signal } = options;
  const name = typeof input === "string" ? input : (options.name ?? "image");
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
