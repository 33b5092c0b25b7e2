import type { ByteReader } from "./byteReader.js";
import { aLaw, muLaw } from "./g711.js";
import { mediaError } from "./input.js";

// Written here because the libraries for it trust the header: they take its sizes for true, and codings that they do not
// know for PCM.

/** The samples of a WAV file, mixed to mono as they are read. */
export interface WavSamples {
  /** Hz. */
  readonly sampleRate: number;
  /** Frames of samples; Infinity when the file does not say. */
  readonly frames: number;
  /** Yields mono samples, at most `maxFrames` at a time. */
  pieces(maxFrames: number): AsyncGenerator<Float32Array>;
}

interface Format {
  readonly tag: number;
  readonly bits: number;
  readonly channels: number;
  readonly sampleRate: number;
  readonly frameBytes: number;
  /** The loudspeakers of the channels, one bit each; 0 when they have none. */
  readonly speakers: number;
  readonly littleEndian: boolean;
}

/**
 * Reads a WAV file up to its samples. Returns null for another file, or for a coding that only ffmpeg decodes. Every
 * size is checked against the size of the file. A size that a writer to a pipe could not know (0, or 2 GiB and more)
 * means that the samples extend to the end.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for a damaged or truncated file
 */
export async function readWav(reader: ByteReader, name: string): Promise<WavSamples | null> {
  const head = await reader.peek(12);
  const container = latin1(head, 0, 4);
  if (!["RIFF", "RIFX", "RF64", "BW64"].includes(container) || latin1(head, 8, 12) !== "WAVE") return null;
  await reader.skip(12);
  const littleEndian = container !== "RIFX";
  let format: Format | undefined;
  let longDataBytes: number | undefined;
  for (let chunks = 0; chunks < maxChunks; chunks++) {
    const header = await reader.read(8);
    if (header.length < 8) throw mediaError(name, 'truncated: it has no "data" chunk');
    const id = latin1(header, 0, 4);
    let size = viewOf(header).getUint32(4, littleEndian);
    if (id === "data") {
      if (longDataBytes !== undefined && size === 0xffffffff) size = longDataBytes;
      if (format === undefined) throw mediaError(name, 'its "data" chunk comes before its "fmt " chunk');
      return samplesOf(reader, format, await dataBytes(reader, size, format, name), name);
    }
    if (size > reader.remaining) {
      const other = viewOf(header).getUint32(4, !littleEndian);
      if (id === "fmt " && other <= maxBodyBytes) throw wrongByteOrder(name, container, littleEndian);
      throw truncated(name, id, size, reader.remaining);
    }
    const body = await reader.read(Math.min(size, maxBodyBytes));
    if (id === "fmt ") format = parseFormat(body, littleEndian, name);
    if (id === "ds64" && body.length >= 16) longDataBytes = Number(viewOf(body).getBigUint64(8, true));
    await reader.skip(size - body.length + (size % 2));
  }
  throw mediaError(name, `more than ${maxChunks} chunks come before its samples`);
}

/** Bounds the time that headers take. */
const maxChunks = 10_000;
/** More than any `fmt ` or `ds64` chunk needs. */
const maxBodyBytes = 64;

function truncated(name: string, id: string, size: number, available: number) {
  return mediaError(name, `truncated: its "${id}" chunk should have ${size} bytes, got ${available}`);
}

function wrongByteOrder(name: string, container: string, littleEndian: boolean) {
  const [stated, got] = littleEndian ? ["little", "big"] : ["big", "little"];
  const remedy = `write "${littleEndian ? "RIFX" : "RIFF"}" for ${got}-endian files`;
  return mediaError(
    name,
    `its header "${container}" means ${stated}-endian, but its sizes are ${got}-endian: ${remedy}`,
  );
}

/** The length of the samples, given what the header of their chunk says. */
async function dataBytes(reader: ByteReader, size: number, format: Format, name: string): Promise<number> {
  const { remaining } = reader;
  if (size === 0) return isChunk(await reader.peek(8), remaining, format.littleEndian) ? 0 : remaining;
  if (size === 0xffffffff) return remaining;
  if (size <= remaining) return size;
  // sox and arecord write sizes near 2^31 or 2^32 to a pipe.
  if ((size >= 0x7fff0000 && size <= 0x80000000) || size >= 0xffff0000) return remaining;
  if (size - remaining < format.frameBytes) return remaining; // only the last frame is incomplete
  throw truncated(name, "data", size, remaining);
}

/** Whether `head` is the header of a chunk that fits into the remaining bytes. */
function isChunk(head: Uint8Array, remaining: number, littleEndian: boolean): boolean {
  if (head.length < 8 || !/^[ -~]{4}$/.test(latin1(head, 0, 4))) return false;
  return viewOf(head).getUint32(4, littleEndian) <= remaining - 8;
}

const extensible = 0xfffe;
/** The end of a SubFormat that is a format tag, followed by these bytes. */
const tagGuid = "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

function parseFormat(body: Uint8Array, littleEndian: boolean, name: string): Format {
  if (body.length < 16) throw mediaError(name, `its "fmt " chunk has ${body.length} bytes, at least 16 are needed`);
  const view = viewOf(body);
  const u16 = (at: number) => view.getUint16(at, littleEndian);
  const format = {
    tag: u16(0),
    channels: u16(2),
    sampleRate: view.getUint32(4, littleEndian),
    frameBytes: u16(12),
    bits: u16(14),
    littleEndian,
  };
  checkFormat(format.channels, format.sampleRate, name);
  if (format.tag !== extensible || body.length < 40)
    return { ...format, speakers: defaultSpeakers[format.channels] ?? 0 };
  const speakers = view.getUint32(20, littleEndian);
  // An unknown SubFormat keeps the tag, which is not one of `codings`.
  return latin1(body, 26, 40) === tagGuid ? { ...format, tag: u16(24), speakers } : { ...format, speakers };
}

/** Also keeps a hostile header from requesting a resampling filter of gigabytes. */
function checkFormat(channels: number, sampleRate: number, name: string): void {
  if (!(channels >= 1 && channels <= 256)) throw mediaError(name, `it has ${channels} channels, 1 to 256 are possible`);
  if (!isSampleRate(sampleRate))
    throw mediaError(name, `its sample rate is ${sampleRate} Hz, ${minSampleRate} to ${maxSampleRate} are possible`);
}

/** Hz. */
export const minSampleRate = 1000;
/** Hz. */
export const maxSampleRate = 768000;
export function isSampleRate(rate: number): boolean {
  return rate >= minSampleRate && rate <= maxSampleRate;
}

function samplesOf(reader: ByteReader, format: Format, bytes: number, name: string): WavSamples | null {
  const { channels, sampleRate, frameBytes, bits, littleEndian } = format;
  const sampleBytes = Math.ceil(bits / 8);
  const decode = codings[`${format.tag}/${sampleBytes}`];
  if (decode === undefined) return null;
  if (frameBytes !== channels * sampleBytes) {
    const expected = `${channels} channels of ${bits} bits need ${channels * sampleBytes} bytes per frame`;
    throw mediaError(name, `${expected}, its header says ${frameBytes}`);
  }
  const weights = mixWeights(channels, format.speakers);
  const frames = Math.floor(bytes / frameBytes);
  return {
    sampleRate,
    frames,
    async *pieces(maxFrames) {
      let done = 0;
      for await (const piece of reader.pieces(bytes, frameBytes, maxFrames)) {
        const view = viewOf(piece);
        const mono = new Float32Array(piece.length / frameBytes);
        for (let i = 0, at = 0; i < mono.length; i++) {
          let sum = 0;
          for (let channel = 0; channel < channels; channel++, at += sampleBytes)
            sum += weights[channel]! * decode(view, at, littleEndian);
          mono[i] = sum;
        }
        done += mono.length;
        yield mono;
      }
      if (Number.isFinite(frames) && done < frames)
        throw mediaError(name, `it became shorter while it was read: ${done} of ${frames} frames were left`);
    },
  };
}

/** Reads one sample in [−1, 1]. */
type Decode = (view: DataView, at: number, littleEndian: boolean) => number;

/** By format tag and bytes per sample. Samples of fewer bits than their bytes have are left-justified. */
const codings: Readonly<Record<string, Decode>> = {
  "1/1": (view, at) => (view.getUint8(at) - 128) / 2 ** 7, // alone unsigned
  "1/2": (view, at, littleEndian) => view.getInt16(at, littleEndian) / 2 ** 15,
  "1/3": (view, at, littleEndian) => {
    const high = view.getInt8(at + (littleEndian ? 2 : 0));
    const low = view.getUint16(at + (littleEndian ? 0 : 1), littleEndian);
    return (high * 2 ** 16 + low) / 2 ** 23;
  },
  "1/4": (view, at, littleEndian) => view.getInt32(at, littleEndian) / 2 ** 31,
  "3/4": (view, at, littleEndian) => view.getFloat32(at, littleEndian),
  "3/8": (view, at, littleEndian) => view.getFloat64(at, littleEndian),
  "6/1": (view, at) => aLaw[view.getUint8(at)]!,
  "7/1": (view, at) => muLaw[view.getUint8(at)]!,
};

/** The loudspeakers of 5.1 and 7.1 files that do not name them. */
const defaultSpeakers: Readonly<Record<number, number>> = { 6: 0x3f, 8: 0x63f };

/**
 * The weights of the mean of the two channels of ITU-R BS.775's downmix, by the bit of the loudspeaker: front left and
 * right, centre, LFE (which is left out), back left and right, front left and right of centre, back centre, side left
 * and right.
 */
const speakerWeights = [1, 1, Math.SQRT2, 0, Math.SQRT1_2, Math.SQRT1_2, 1, 1, 1, Math.SQRT1_2, Math.SQRT1_2].map(
  (weight) => weight / 2,
);

/** The weight of every channel in the mono mix: ITU-R BS.775's for known loudspeakers, otherwise the mean. */
export function mixWeights(channels: number, speakers: number): number[] {
  const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (speakers >>> bit) & 1);
  const weights = bits.map((bit) => speakerWeights[bit] ?? Number.NaN);
  const isKnown = channels > 2 && weights.length === channels && weights.every((weight) => weight >= 0);
  return isKnown ? weights : new Array(channels).fill(1 / channels);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}
