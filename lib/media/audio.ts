import { checkOptionNames } from "../options.js";
import { inputFile, inputPipe, runTool, toolOutput } from "./ffmpeg.js";
import { hasField, inputError, mediaError, readMedia } from "./input.js";
import { concat, Resampler, resample } from "./resample.js";
import { WaveFile } from "./wavefile.js";

/** Mono samples, nominally in [−1, 1]. */
export interface AudioClip {
  readonly samples: Float32Array;
  /** Hz. */
  readonly sampleRate: number;
}

/** A file's path, a file's bytes, or samples. */
export type AudioInput = string | Uint8Array | AudioClip;

export interface AudioOptions {
  /** Rate of the result in Hz. Default 16000, the audio encoder's rate. */
  readonly sampleRate?: number;
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const audioOptions = { sampleRate: true, name: true, signal: true } satisfies Record<keyof AudioOptions, true>;

/**
 * Decodes audio to mono float samples: the mean of all channels, resampled. WAV (8- to 32-bit integers, floats, A-law,
 * µ-law, IMA ADPCM) is decoded directly, all other formats through ffmpeg.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for damaged, empty or non-finite audio, `IO_ERROR`, `MISSING_TOOL`, `ABORTED`,
 *   `INVALID_ARGUMENT` when an option is unknown
 */
export async function loadAudio(input: AudioInput, options: AudioOptions = {}): Promise<Float32Array> {
  checkOptionNames("loadAudio", options, audioOptions);
  const { sampleRate = 16000, signal } = options;
  const name = typeof input === "string" ? input : (options.name ?? "audio");
  if (typeof input !== "string" && !(input instanceof Uint8Array) && !hasField(input, "samples"))
    throw inputError(input, name, "a path, bytes, or { samples, sampleRate }");
  const clip = typeof input === "object" && "samples" in input ? input : await readWav(input, name, signal);
  if (clip !== null) {
    checkFormat(1, clip.sampleRate, name);
    checkSamples(clip.samples, name);
    return resample(clip.samples, clip.sampleRate, sampleRate, { signal });
  }
  const track = await decodeAudioTrack(input as string | Uint8Array, { name, sampleRate, signal });
  if (track === null) throw mediaError(name, "it has no audio");
  return track;
}

/** Also keeps a hostile header from requesting a resampling filter of gigabytes. */
function checkFormat(channels: number, sampleRate: number, name: string): void {
  if (!(channels >= 1)) throw mediaError(name, `it has ${channels} channels`);
  if (!(sampleRate >= 1000 && sampleRate <= 768000)) throw mediaError(name, `its sample rate is ${sampleRate} Hz`);
}

function checkSamples(samples: Float32Array, name: string): void {
  if (samples.length === 0) throw mediaError(name, "it holds no samples");
  const bad = samples.findIndex((sample) => !Number.isFinite(sample));
  if (bad >= 0) throw mediaError(name, `sample ${bad} is ${samples[bad]}`);
}

async function readWav(input: string | Uint8Array, name: string, signal?: AbortSignal): Promise<AudioClip | null> {
  const bytes = typeof input === "string" ? await readMedia(input, signal) : input;
  if (bytes.length === 0) throw mediaError(name, "it is empty");
  return decodeWav(bytes, name);
}

/** Returns null when `bytes` is not a WAV file, or uses a coding that only ffmpeg decodes. */
function decodeWav(bytes: Uint8Array, name: string): AudioClip | null {
  const container = latin1(bytes, 0, 4);
  if (!["RIFF", "RIFX", "RF64"].includes(container) || latin1(bytes, 8, 12) !== "WAVE") return null;
  checkChunks(bytes, name, container === "RIFX");
  const wav = new WaveFile();
  try {
    wav.fromBuffer(bytes);
    if (wav.bitDepth === "8a") wav.fromALaw();
    else if (wav.bitDepth === "8m") wav.fromMuLaw();
    else if (wav.bitDepth === "4") wav.fromIMAADPCM();
  } catch (cause) {
    throw mediaError(name, `not a readable WAV file: ${(cause as Error).message}`, cause);
  }
  const scale = sampleScale[wav.bitDepth];
  if (scale === undefined) return null;
  const { numChannels, sampleRate } = wav.fmt;
  checkFormat(numChannels, sampleRate, name);
  const values = wav.getSamples(true, Float64Array);
  const offset = wav.bitDepth === "8" ? 128 : 0; // 8-bit WAV is unsigned
  return { samples: mixDown(values, numChannels, scale, offset), sampleRate };
}

/** Full scale, by wavefile's name of the bit depth. */
const sampleScale: Readonly<Record<string, number>> = {
  "8": 2 ** 7,
  "16": 2 ** 15,
  "24": 2 ** 23,
  "32": 2 ** 31,
  "32f": 1,
  "64": 1,
};

/** The mean of interleaved channels, as (value − offset) / scale. */
function mixDown(values: ArrayLike<number>, channels: number, scale = 1, offset = 0): Float32Array {
  const samples = new Float32Array(Math.floor(values.length / channels));
  for (let i = 0, next = 0; i < samples.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[next++]! - offset;
    samples[i] = sum / (channels * scale);
  }
  return samples;
}

/** Checks that every chunk is as long as its header says; wavefile itself accepts truncated files. */
function checkChunks(bytes: Uint8Array, name: string, bigEndian: boolean): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const unknownLength = 0xffffffff; // RF64, or a WAV written to a pipe: the data extend to the end
  for (let at = 12; at < bytes.length; ) {
    if (at + 8 > bytes.length) return; // padding
    const id = latin1(bytes, at, at + 4);
    const size = view.getUint32(at + 4, !bigEndian);
    const available = bytes.length - at - 8;
    if (id === "data" && size === unknownLength) return;
    if (size > available) {
      throw mediaError(name, `truncated: its "${id}" chunk should have ${size} bytes, got ${available}`);
    }
    if (id === "data") return;
    at += 8 + size + (size % 2);
  }
  throw mediaError(name, 'truncated: it has no "data" chunk');
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}

/** An audio stream in ffprobe's description. */
interface AudioStream {
  readonly sample_rate: string;
  readonly channels: number;
}

/**
 * Decodes the first audio stream of any file that ffmpeg reads, mono and resampled; null when there is none. Samples are
 * converted as they arrive, so memory holds only the result.
 *
 * @throws {CaracalError} as `loadAudio`
 */
export async function decodeAudioTrack(
  input: string | Uint8Array,
  options: { name: string; sampleRate: number; signal?: AbortSignal },
): Promise<Float32Array | null> {
  const { name, sampleRate, signal } = options;
  const source = typeof input === "string" ? inputFile(input) : inputPipe;
  const toolOptions = { name, stdin: typeof input === "string" ? undefined : input, signal };
  const probe = [
    "-v",
    "error",
    "-select_streams",
    "a:0",
    "-show_entries",
    "stream=sample_rate,channels",
    "-of",
    "json",
  ];
  const json = Buffer.from(await runTool("ffprobe", [...probe, ...source], toolOptions)).toString();
  const stream = (JSON.parse(json) as { streams?: AudioStream[] }).streams?.[0];
  if (stream === undefined) return null;
  const rate = Number(stream.sample_rate);
  checkFormat(stream.channels, rate, name);

  const resampler = rate === sampleRate ? null : new Resampler(rate, sampleRate);
  const frameBytes = 4 * stream.channels;
  const parts: Float32Array[] = [];
  let partialFrame = Buffer.alloc(0);
  const decodeArgs = ["-v", "error", ...source, "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"];
  for await (const chunk of toolOutput("ffmpeg", decodeArgs, toolOptions)) {
    const bytes = Buffer.concat([partialFrame, chunk]);
    const wholeBytes = bytes.length - (bytes.length % frameBytes);
    const values = new Float32Array(wholeBytes / 4);
    new Uint8Array(values.buffer).set(bytes.subarray(0, wholeBytes));
    partialFrame = bytes.subarray(wholeBytes);
    const samples = mixDown(values, stream.channels);
    parts.push(resampler?.push(samples) ?? samples);
  }
  if (resampler) parts.push(resampler.flush());
  const samples = concat(parts);
  checkSamples(samples, name);
  return samples;
}
