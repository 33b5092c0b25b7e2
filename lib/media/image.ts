import { setImmediate } from "node:timers/promises";
import type { Sharp } from "sharp";
import { CaracalError, throwIfAborted } from "../errors.js";
import {
  checkObject,
  checkOption,
  checkOptionNames,
  checkOptions,
  type OptionRule,
  oneOf,
  optional,
  plainView,
  positiveInteger,
  refuseValue,
} from "../options.js";
import {
  hasField,
  inputError,
  isBytes,
  limit,
  mediaError,
  nameRule,
  ownBytes,
  readMedia,
  untilAborted,
} from "./input.js";
import { tiffLayout } from "./tiff.js";

/** 8-bit RGB pixels `[height, width, 3]`, rows from the top. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A file's path, a file's bytes, or pixels. */
export type ImageInput = string | Uint8Array | RgbImage;

export interface ImageOptions {
  /** Larger images are refused before decoding. Default 2^26 (67 megapixels). */
  readonly maxPixels?: number;
  /**
   * Whether to turn and mirror the image as its EXIF orientation says. Default true, as viewers do; the published
   * preprocessing does not.
   */
  readonly autoOrient?: boolean;
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const imageOptions = {
  maxPixels: limit,
  autoOrient: optional(oneOf(true, false)),
  name: nameRule,
  signal: true,
} satisfies Record<keyof ImageOptions, OptionRule | true>;
const imageFields = { width: true, height: true, data: true } satisfies Record<keyof RgbImage, true>;
/**
 * Decodes a PNG, JPEG, WebP, GIF, TIFF or AVIF image, or the first frame of an animation, to 8-bit RGB. Transparency is
 * blended over white, colour profiles are ignored and CMYK is converted by its definition, as in the published
 * preprocessing. TIFF files of floats, signed or 32-bit samples and of YCbCr without subsampling are refused. A JPEG may
 * deviate from its standard, as those of some phones do, but it must be complete.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for an image that is damaged, too large or of another format, or pixels that
 *   disagree with its size; `OUT_OF_MEMORY` when the system refuses memory or threads; `MISSING_TOOL` when the package
 *   sharp cannot be loaded; `IO_ERROR`; `ABORTED`; `INVALID_ARGUMENT` when an option or field is unknown or has a wrong
 *   value
 */
export async function loadImage(input: ImageInput, options: ImageOptions = {}): Promise<RgbImage> {
  checkOptions("loadImage", options, imageOptions);
  const { signal } = options;
  const name = typeof input === "string" ? input : (options.name ?? "image");
  if (typeof input !== "string" && !isBytes(input) && !hasField(input, "data"))
    throw inputError(input, name, "a path, bytes, or { width, height, data }");
  const during = `decoding ${name}`;
  throwIfAborted(signal, during);
  if (typeof input === "object" && !isBytes(input)) return checkImage(input, name);
  // A copy, since libvips reads in threads of its own while the caller could shrink a resizable buffer.
  const bytes = typeof input === "string" ? await readMedia(input, signal) : await ownBytes(input, name, signal);
  if (bytes.length === 0) throw mediaError(name, "it is empty");
  // libvips cannot be interrupted, but its threads are not the event loop's: an abort frees the caller at once.
  return untilAborted(decode(bytes, name, options), signal, during);
}

/** The formats that are decoded, by the names that sharp gives them. */
const decoded = { png: "PNG", jpeg: "JPEG", webp: "WebP", gif: "GIF", tiff: "TIFF", heif: "AVIF" };

/** Loads libvips with the first image: whoever has none can do without the package. */
async function loadSharp() {
  try {
    return (await import("sharp")).default;
  } catch (cause) {
    const [reason] = (cause as Error).message.split("\n");
    const message = `images need the package sharp, which cannot be loaded (${reason}): npm install --include=optional sharp`;
    throw new CaracalError("MISSING_TOOL", message, { tool: "sharp" }, { cause });
  }
}

async function decode(bytes: Uint8Array, name: string, options: ImageOptions): Promise<RgbImage> {
  const { maxPixels = 2 ** 26, autoOrient = true } = options;
  const format = imageFormat(bytes);
  if (!format || !Object.values(decoded).includes(format)) throw mediaError(name, refusal(format));
  // libjpeg warns about headers that browsers and Pillow accept; the other libraries warn about lost pixels only.
  const failOn = format === "JPEG" ? "error" : "warning";
  const limits = { failOn, limitInputPixels: false } as const;
  const sharp = await loadSharp();
  try {
    const { width, height, pageHeight, space, depth, channels, format: reader } = await sharp(bytes, limits).metadata();
    if (decoded[reader as keyof typeof decoded] !== format) throw mediaError(name, refusal(reader));
    checkPixels({ width, height: pageHeight ?? height }, { name, maxPixels });
    const tiff = format === "TIFF" ? tiffLayout(bytes) : null;
    const most = space === "cmyk" ? 5 : 4; // the colours, and opacity
    if (channels > most) throw mediaError(name, `it has ${channels} samples per pixel, taken are ${most}: convert it`);
    if (space === "multiband") throw mediaError(name, "its colour space is not known: convert it to RGB");
    if (tiff?.isPlainYcbcr) throw mediaError(name, "it is YCbCr without subsampling: convert it to RGB");
    if (!["uchar", "ushort"].includes(depth) && space !== "labs")
      throw mediaError(name, `its samples are of type ${depth}, taken are 8 or 16 bits without a sign: convert it`);
    const source = sharp(bytes, { ...limits, ignoreIcc: true, autoOrient });
    if (space === "cmyk") return await decodeCmyk(source, depth, name);
    const opaque = tiff?.hasSpareSample ? source.removeAlpha() : source.flatten({ background: "#ffffff" });
    const { data, info } = await opaque
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data };
  } catch (cause) {
    if (cause instanceof CaracalError) throw cause;
    const message = (cause as Error).message.replaceAll("\n", "; ");
    if (refused.test(message)) throw new CaracalError("OUT_OF_MEMORY", `${name}: ${message}`, { name }, { cause });
    if (format === "AVIF" && message.includes("unsupported image format"))
      throw mediaError(name, `${unreadableAvif}; the reader says: ${message}`, cause);
    throw mediaError(name, message, cause);
  }
}

/** How libvips, glib and the codecs say that the system gave them no thread or memory. */
const refused = /out of memory|cannot allocate memory|error creating thread/i;

/** Whatever `maxPixels` says: sharp ends the process for a picture of 4 GiB, which no buffer can hold. */
const mostPixels = 2 ** 29;

/** @throws {CaracalError} `MEDIA_INVALID` for a picture of more than `maxPixels`, or 2^29, pixels */
export function checkPixels(
  { width, height }: { readonly width: number; readonly height: number },
  { name, maxPixels }: { readonly name: string; readonly maxPixels: number },
): void {
  const got = `${width}x${height} = ${width * height} pixels`;
  if (width * height > mostPixels)
    throw mediaError(name, `it has ${got}, and at most ${mostPixels} can be decoded: scale it down`);
  if (width * height <= maxPixels) return;
  throw mediaError(name, `it has ${got}, the limit is ${maxPixels}: scale it down, or raise maxPixels`);
}

/** Converts by the definition, r = (1 − c)(1 − k), as Pillow does. libvips would apply a press's profile. */
async function decodeCmyk(source: Sharp, depth: string, name: string): Promise<RgbImage> {
  if (depth !== "uchar")
    throw mediaError(name, `it is CMYK of type ${depth}, only 8 bits are decoded: convert it to RGB`);
  const { data, info } = await source
    .pipelineColourspace("cmyk")
    .toColourspace("cmyk")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const rgb = new Uint8Array(width * height * 3);
  const rowsPerTurn = Math.ceil(2 ** 19 / width);
  for (let row = 0; row < height; row++) {
    for (let i = row * width; i < (row + 1) * width; i++) {
      const white = 255 - data[i * channels + 3]!;
      for (let c = 0; c < 3; c++) rgb[i * 3 + c] = Math.round((white * (255 - data[i * channels + c]!)) / 255);
    }
    if (row % rowsPerTurn === 0) await setImmediate(); // the event loop goes on
  }
  return { width, height, data: rgb };
}

const unreadableAvif =
  "this AVIF cannot be decoded: it is damaged, or an animation, but still images are taken; " +
  "convert it to a still AVIF, PNG or WebP";

function refusal(format: string | undefined): string {
  const taken = Object.values(decoded).join(", ");
  return `it is ${format ? `of the format ${format}` : "no image of a known format"}, taken are ${taken}: convert it`;
}

type Test = (start: string) => boolean;
const has =
  (offset: number, ...texts: string[]): Test =>
  (start) =>
    texts.some((text) => start.startsWith(text, offset));

/** Whether a file begins with the box of an AVIF, HEIC or MP4 as libvips takes it, and that names such a brand. */
function hasBrand(start: string, brand: RegExp): boolean {
  if (!start.startsWith("ftyp", 4)) return false;
  const size = Buffer.from(start, "latin1").readUInt32BE();
  return size >= 16 && size <= 2048 && size % 4 === 0 && brand.test(start.slice(8, size));
}

/**
 * Formats by the bytes that their files begin with; those that are not decoded are known by name only. libvips chooses
 * its reader itself, and takes any text with `<svg` near its beginning for an SVG, which may cost minutes and gigabytes.
 * So the test of each decoded format covers the first byte, which must be one that begins no XML.
 */
const signatures: readonly [format: string, test: Test][] = [
  ["PNG", has(0, "\x89PNG\r\n\x1a\n")],
  ["JPEG", has(0, "\xff\xd8\xff")],
  ["WebP", (start) => start.startsWith("RIFF") && start.startsWith("WEBP", 8)],
  ["GIF", has(0, "GIF87a", "GIF89a")],
  ["TIFF", has(0, "II*\0", "II+\0", "MM\0*", "MM\0+")],
  ["AVIF", (start) => hasBrand(start, /avi[fs]/)],
  ["HEIC", (start) => hasBrand(start, /^(he|mif1|msf1)/)],
  ["MP4/MOV (a video)", (start) => hasBrand(start, /^/)],
  ["JPEG 2000", has(0, "\0\0\0\x0cjP  ", "\xff\x4f\xff\x51")],
  ["JPEG XL", has(0, "\0\0\0\x0cJXL ", "\xff\x0a")],
  ["BMP", has(0, "BM")],
  ["ICO", has(0, "\0\0\x01\0")],
  ["Photoshop", has(0, "8BPS")],
  ["OpenEXR", has(0, "v/1\x01")],
  ["PDF", has(0, "%PDF")],
  ["SVG or XML", (start) => /^(\xef\xbb\xbf)?\s*<(\?xml|svg|!--|!DOCTYPE svg)/i.test(start)],
];

/** The format of an image file by its first bytes. */
function imageFormat(bytes: Uint8Array): string | undefined {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 72)).toString("latin1");
  return signatures.find(([, test]) => test(start))?.[0];
}

/**
 * @returns a copy of the image, whose pixels it shares
 * @throws {CaracalError} `INVALID_ARGUMENT` for what is no image, `MEDIA_INVALID` for pixels that disagree with its size
 */
export function checkImage(image: RgbImage, name: string): RgbImage {
  checkObject(name, "the image", image);
  checkOptionNames(name, image, imageFields, "field");
  const { width, height } = image;
  const data = plainView(image.data, Uint8Array);
  checkOption(name, "width", width, positiveInteger);
  checkOption(name, "height", height, positiveInteger);
  if (!data) refuseValue(name, "data", "a Uint8Array of RGB bytes", image.data);
  if (data.length !== width * height * 3) {
    throw mediaError(name, `expected ${width * height * 3} bytes of RGB for ${width}x${height}, got ${data.length}`);
  }
  return { width, height, data };
}
