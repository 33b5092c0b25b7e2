import { inputFile, runTool, toolOutput } from "./ffmpeg.js";
import { mediaError, readMedia } from "./input.js";
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
  /** Wanted rate in Hz; 16000 for the audio encoder. */
  readonly sampleRate?: number;
  /** Stands for the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}

/**
 * Decodes audio to mono float samples: the mean of all channels, resampled. WAV (8- to 32-bit integers, floats, A-law,
 * µ-law, IMA ADPCM) is read directly, everything else through ffmpeg.
 *
 * @throws MEDIA_INVALID (damaged, empty, not finite), IO_ERROR, MISSING_TOOL, ABORTED
 */
export async function loadAudio(input: AudioInput, options: AudioOptions = {}): Promise<Float32Array> {
  const { sampleRate = 16000, signal } = options;
  const name = typeof input === "string" ? input : (options.name ?? "audio");
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

/** Also keeps a hostile header from asking for a filter of gigabytes. */
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

/** Null when `bytes` is no WAV file, or one in a coding that only ffmpeg knows. */
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

/** Full scale by wavefile's names of bit depths. */
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
  for (let i = 0, at = 0; i < samples.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[at++]! - offset;
    samples[i] = sum / (channels * scale);
  }
  return samples;
}

/** wavefile takes what there is of a truncated file for the whole; here every chunk must be as long as it says. */
function checkChunks(bytes: Uint8Array, name: string, bigEndian: boolean): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const unknownLength = 0xffffffff; // RF64, or a WAV written to a pipe: the data run to the end
  for (let at = 12; at < bytes.length; ) {
    if (at + 8 > bytes.length) return; // padding
    const id = latin1(bytes, at, at + 4);
    const size = view.getUint32(at + 4, !bigEndian);
    const available = bytes.length - at - 8;
    if (id === "data" && size === unknownLength) return;
    if (size > available) {
      throw mediaError(name, `truncated: its "${id}" chunk should have ${size} bytes, ${available} are there`);
    }
    if (id === "data") return;
    at += 8 + size + (size % 2);
  }
  throw mediaError(name, 'truncated: it has no "data" chunk');
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}

/** One audio stream as ffprobe describes it. */
interface AudioStream {
  readonly sample_rate: string;
  readonly channels: number;
}

/**
 * The first audio stream of any file that ffmpeg reads, mono and resampled; null when there is none. It is converted
 * as it arrives: only the result is held in memory.
 */
export async function decodeAudioTrack(
  input: string | Uint8Array,
  options: { name: string; sampleRate: number; signal?: AbortSignal },
): Promise<Float32Array | null> {
  const { name, sampleRate, signal } = options;
  const source = typeof input === "string" ? inputFile(input) : ["-i", "pipe:0"];
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
  let rest = Buffer.alloc(0); // an incomplete frame
  const decodeArgs = ["-v", "error", ...source, "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"];
  for await (const chunk of toolOutput("ffmpeg", decodeArgs, toolOptions)) {
    const bytes = Buffer.concat([rest, chunk]);
    const whole = bytes.length - (bytes.length % frameBytes);
    const values = new Float32Array(whole / 4);
    new Uint8Array(values.buffer).set(bytes.subarray(0, whole));
    rest = bytes.subarray(whole);
    const samples = mixDown(values, stream.channels);
    parts.push(resampler?.push(samples) ?? samples);
  }
  if (resampler) parts.push(resampler.flush());
  const samples = concat(parts);
  checkSamples(samples, name);
  return samples;
}
