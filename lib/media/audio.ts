import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import { checkedFloats, checkOption, checkOptionNames, checkOptions, type OptionRule, optional } from "../options.js";
import { type Steps, Turns } from "../turns.js";
import { ByteReader } from "./byteReader.js";
import { inputFile, toolOutput } from "./ffmpeg.js";
import {
  fileReader,
  hasField,
  inputError,
  isBytes,
  limit,
  mediaError,
  nameRule,
  ownBytes,
  TemporaryFile,
} from "./input.js";
import { audioStream, probe } from "./probe.js";
import { Resampler } from "./resample.js";
import { checkDamage, DamageMessages } from "./soundDamage.js";
import { isSampleRate, maxSampleRate, minSampleRate, readWav, type WavSamples } from "./wavReader.js";

/** Mono samples, nominally in [−1, 1]. */
export interface AudioClip {
  readonly samples: Float32Array;
  /** Hz. */
  readonly sampleRate: number;
}

/**
 * A file's path, a file's bytes, or samples. WAV files are read directly, other formats with ffmpeg. Of a file's channels
 * the mean is taken, and of loudspeakers (5.1, 7.1) the mean of the left and right channel of ITU-R BS.775's downmix.
 *
 * An encoder's delay is removed as ffmpeg does it: for MP4, MP3 and Opus, whose files state it. AAC in Matroska, MPEG-TS
 * or ADTS begins with the delay (often 1024 samples of near silence).
 *
 * Sound is refused if more than a quarter of it is known to be lost. Nobody can know it of bytes that are missing from
 * files without a duration (ADTS, AC-3, AMR, MP3 without a header), of frames without a checksum whose bits are wrong
 * (AAC, AMR, most MP3), and of MPEG-TS where the clock jumps by more than 10 s without bytes for it, as between two
 * recordings. Recordings that were appended to one another are all read, except behind the end that a header states
 * (WAV, AIFF, CAF, FLV, ASF), where players do not look; MP4, Matroska and Ogg with pictures are refused if another
 * file is behind them.
 */
export type AudioInput = string | Uint8Array | AudioClip;

export interface AudioOptions {
  /** Rate of the result in Hz. Default 16000, the audio encoder's rate. */
  readonly sampleRate?: number;
  /** Longer audio is refused as soon as this is known, without decoding the rest. Default 3600. */
  readonly maxSeconds?: number;
  /** The option that sets `maxSeconds`, for messages. */
  readonly limitName?: string;
  /** Names the input in messages when it is not a path. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}
const rate: OptionRule = {
  accepts: (value) => Number.isInteger(value) && isSampleRate(value as number),
  expected: `a whole number of Hz from ${minSampleRate} to ${maxSampleRate}`,
};
const audioOptions = {
  sampleRate: optional(rate),
  maxSeconds: limit,
  limitName: nameRule,
  name: nameRule,
  signal: true,
} satisfies Record<keyof AudioOptions, OptionRule | true>;
const clipFields = { samples: true, sampleRate: true } satisfies Record<keyof AudioClip, true>;

/**
 * Decodes audio to mono float samples and resamples it, in pieces, between which other work goes on.
 *
 * @throws {CaracalError} `MEDIA_INVALID` for damaged, empty, too long or non-finite audio, `IO_ERROR`, `MISSING_TOOL`,
 *   `ABORTED`, `INVALID_ARGUMENT` for an input of another kind, or when an option or field is unknown or has a wrong value
 */
export async function loadAudio(input: AudioInput, options: AudioOptions = {}): Promise<Float32Array> {
  checkOptions("loadAudio", options, audioOptions);
  const { name = "audio", signal } = options;
  if (typeof input === "string") return loadFile(input, { ...options, name: input });
  if (isBytes(input)) return loadBytes(await ownBytes(input, name, signal), { ...options, name });
  if (!hasField(input, "samples")) throw inputError(input, name, "a path, bytes, or { samples, sampleRate }");
  throwIfAborted(signal, `decoding ${name}`);
  return collect(clipSamples(input, name), { ...options, name });
}

type NamedOptions = AudioOptions & { readonly name: string };

async function loadFile(path: string, options: NamedOptions): Promise<Float32Array> {
  await using source = await fileReader(path, options.signal);
  const wav = await readWav(source.reader, path);
  return await (wav ? collect(wav, options) : soundOf(path, options));
}

async function loadBytes(bytes: Uint8Array, options: NamedOptions): Promise<Float32Array> {
  if (bytes.length === 0) throw mediaError(options.name, "it is empty");
  const wav = await readWav(new ByteReader(only(bytes), bytes.length), options.name);
  if (wav) return collect(wav, options);
  // MP4 often has its index at the end, which cannot be read from a pipe.
  await using file = await TemporaryFile.write(bytes, options.signal);
  return await soundOf(file.path, options);
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function soundOf(path: string, options: NamedOptions): Promise<Float32Array> {
  const track = await decodeAudioTrack(path, options);
  if (track === null) throw mediaError(options.name, "it has no audio");
  return track;
}

function clipSamples(clip: AudioClip, name: string): WavSamples {
  checkOptionNames(name, clip, clipFields, "field");
  const { sampleRate } = clip;
  const samples = checkedFloats(name, "samples", clip.samples);
  checkOption(name, "sampleRate", sampleRate, rate);
  const frames = samples.length;
  return {
    sampleRate,
    frames,
    async *pieces(maxFrames) {
      for (let at = 0; at < frames; at += maxFrames) {
        if (samples.length !== frames)
          throw mediaError(name, `its ${frames} samples became ${samples.length} while they were read`);
        yield samples.slice(at, at + maxFrames); // a copy, since the caller could change or shrink the memory
      }
    },
  };
}

/**
 * Decodes the default audio stream of a file that ffmpeg reads, or the first; null when there is none.
 *
 * @throws {CaracalError} as `loadAudio`
 */
export async function decodeAudioTrack(path: string, options: NamedOptions): Promise<Float32Array | null> {
  const { name, signal, sampleRate = 16000 } = options;
  const description = await probe(path, { name, signal });
  const stream = audioStream(description.streams);
  if (stream === undefined) return null;
  if (stream.codec_name === undefined || stream.codec_name === "unknown") {
    const reason = `its sound has a coding that ffmpeg does not know (tag ${stream.codec_tag ?? "unknown"})`;
    throw mediaError(name, `${reason}; convert it to FLAC or WAV with 16-bit PCM`);
  }
  const messages = new DamageMessages();
  const output = ["-map", `0:${stream.index}`, "-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"];
  const args = ["-err_detect", "crccheck", ...inputFile(path, description.format.format_name), ...output];
  const reader = new ByteReader(toolOutput("ffmpeg", args, { name, signal, onMessage: messages.add }));
  try {
    const wav = await readWav(reader, name);
    if (wav === null) throw mediaError(name, "ffmpeg returned something other than sound");
    const samples = await collect(wav, options);
    await checkDamage({ path, stream, description, messages, seconds: samples.length / sampleRate, name, signal });
    return samples;
  } finally {
    await reader.close();
  }
}

/** Samples that are read, checked and resampled at a time: a quarter of a millisecond of work, 6 before V8 has compiled it. */
const pieceSamples = 1024;
/** Beyond 40 dB above full scale, samples are not floats of [−1, 1] but integers, or noise. */
const maxAmplitude = 100;

/** Reads, checks and resamples samples, yielding to the event loop between pieces. */
async function collect(sound: WavSamples, options: NamedOptions): Promise<Float32Array> {
  const { name, signal, sampleRate = 16000, maxSeconds = 3600, limitName = "maxSeconds" } = options;
  const tooLong = (length: string) => {
    const advice = `shorten it, split it into several parts, or raise ${limitName}`;
    return mediaError(name, `it lasts ${length}, at most ${maxSeconds} s are possible; ${advice}`);
  };
  const seconds = sound.frames / sound.sampleRate;
  if (Number.isFinite(seconds) && !(seconds <= maxSeconds)) throw tooLong(`${seconds.toFixed(1)} s`);
  const turns = new Turns(`decoding ${name}`, signal);
  const design = sound.sampleRate === sampleRate ? null : Resampler.design(sound.sampleRate, sampleRate);
  const resampler = design && (await turns.during(design));
  const parts: Float32Array[] = [];
  let frames = 0;
  const maxFrames = Math.ceil(pieceSamples * Math.min(1, sound.sampleRate / sampleRate));
  for await (const piece of sound.pieces(maxFrames)) {
    throwIfAborted(signal, `decoding ${name}`);
    checkSamples(piece, frames, name);
    frames += piece.length;
    if (!(frames <= maxSeconds * sound.sampleRate)) throw tooLong(`more than ${maxSeconds} s`);
    parts.push(resampler?.push(piece) ?? piece);
    await setImmediate();
  }
  if (frames === 0) throw mediaError(name, "it holds no samples");
  if (resampler) parts.push(resampler.flush());
  return joinSamples(parts);
}

function checkSamples(samples: Float32Array, first: number, name: string): void {
  const bad = samples.findIndex((sample) => !(Math.abs(sample) <= maxAmplitude));
  if (bad < 0) return;
  const reason = `sample ${first + bad} is ${samples[bad]}`;
  throw mediaError(name, `${reason}; full scale is 1, and nothing beyond ${maxAmplitude} is taken`);
}

/** Joins parts, with turns of the event loop meanwhile. */
export function joinSamples(parts: readonly Float32Array[]): Promise<Float32Array> {
  return new Turns("joining samples").during(joinSteps(parts));
}

function* joinSteps(parts: readonly Float32Array[]): Steps<Float32Array> {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let start = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += joinedAtOnce) {
      whole.set(part.subarray(at, at + joinedAtOnce), start + at);
      yield;
    }
    start += part.length;
  }
  return whole;
}

const joinedAtOnce = 2 ** 18;
