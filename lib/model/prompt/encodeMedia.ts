// The rows of a prompt's sounds, images and videos: encoded, or found among those of earlier prompts.
import { randomUUID } from "node:crypto";
import { throwIfAborted } from "../../errors.js";
import type { RgbImage } from "../../media/image.js";
import { disposeAll, type Tensor } from "../../tensor/tensor.js";
import { Turns } from "../../turns.js";
import type { AudioEncoder } from "../audio/encoder.js";
import type { AudioFraming } from "../audio/framing.js";
import type { Rows } from "../types.js";
import type { VisionEncoder } from "../vision/encoder.js";
import type { VisionUnit } from "../vision/plan.js";
import { mapUnitFrames } from "../vision/unitFrames.js";
import type { ResizedFrame } from "../vision/units.js";
import type { PromptAudio } from "./build.js";
import type { MediaCache } from "./mediaCache.js";
import { audioDigest, frameDigest, pairDigest } from "./mediaDigest.js";
import type { PromptProgress } from "./progress.js";

/** What encodes media, and what is kept of it. */
export interface MediaEncoders {
  readonly audioEncoder: AudioEncoder | null;
  readonly vision: VisionEncoder | null;
  readonly framing: AudioFraming;
  /** null: nothing is kept. */
  readonly media: MediaCache | null;
}

interface EncodeOptions {
  readonly signal: AbortSignal;
  readonly progress: PromptProgress;
}

export interface EncodedMedia {
  /** All rows in their order, which the caller disposes. */
  readonly rows: readonly Rows[];
  /** What stands for each sound, image or frame pair; none where nothing is kept. */
  readonly digests: readonly string[];
}

/** Seconds of audio encoded at a time, so that an abort takes effect soon. */
const audioPieceSeconds = 8;
/** Visual units decoded and encoded at a time. */
const unitsAtATime = 8;

/** @throws {CaracalError} `ABORTED`, the errors of the encoder */
export async function encodeAudios(
  audios: readonly PromptAudio[],
  encoders: MediaEncoders,
  { signal, progress }: EncodeOptions,
): Promise<EncodedMedia> {
  const { framing, media } = encoders;
  const total = audios.reduce((sum, { tokens }) => sum + tokens, 0);
  const turns = new Turns("encoding audio", signal);
  const rows: Rows[] = [];
  const digests: string[] = [];
  let done = 0;
  const collect = (tokens: Rows | undefined) => {
    if (!tokens) return;
    rows.push(tokens);
    done += tokens.shape[0];
    progress.stage("audio encoder", done, total);
  };
  try {
    for (const { samples } of audios) {
      const start = performance.now();
      const [first, doneBefore] = [rows.length, done];
      const digest = media && (await turns.during(audioDigest(samples)));
      const known = digest && media.find(digest);
      if (known) collect(known);
      else await encodeAudio(samples, encoders, signal, collect);
      if (digest) {
        digests.push(digest);
        await media.keep(digest, rows.slice(first));
      }
      const seconds = samples.length / framing.sampleRate;
      progress.add("audio encoder", performance.now() - start, done - doneBefore, seconds);
    }
    return { rows, digests };
  } catch (error) {
    disposeAll(rows);
    throw error;
  }
}

async function encodeAudio(
  samples: Float32Array,
  { audioEncoder, framing }: MediaEncoders,
  signal: AbortSignal,
  collect: (tokens: Rows | undefined) => void,
): Promise<void> {
  using stream = audioEncoder!.stream();
  const piece = audioPieceSeconds * framing.sampleRate;
  for (let at = 0; at < samples.length; at += piece) {
    throwIfAborted(signal, "encoding audio");
    collect(stream.push(samples.subarray(at, at + piece)));
    await audioEncoder!.device.synchronize();
  }
  collect(stream.flush());
  await audioEncoder!.device.synchronize();
}

/** @throws {CaracalError} `ABORTED`, `UNSUPPORTED`, the errors of decoding a video and of the encoder */
export async function encodeUnits(
  units: readonly VisionUnit[],
  encoders: MediaEncoders,
  { signal, progress }: EncodeOptions,
): Promise<EncodedMedia> {
  const { media } = encoders;
  const total = units.reduce((sum, { tokens }) => sum + tokens, 0);
  const rows: Rows[] = [];
  const digests: string[] = [];
  const open: Tensor[] = [];
  let done = 0;
  try {
    let decodeStart = performance.now();
    for await (const group of groups(seenUnits(units, encoders, signal, open), unitsAtATime)) {
      const encodeStart = performance.now();
      progress.add("preprocess", encodeStart - decodeStart, 0);
      const found = await encodeGroup(group, encoders.vision!, signal);
      rows.push(...found);
      disposeAll(open.splice(0));
      for (const [i, { digest }] of group.entries()) {
        if (!digest) continue;
        digests.push(digest);
        await media!.keep(digest, [found[i]!]);
      }
      decodeStart = performance.now();
      const tokens = found.reduce((sum, { shape }) => sum + shape[0], 0);
      done += tokens;
      progress.add("vision", decodeStart - encodeStart, tokens);
      progress.stage("vision", done, total);
    }
    return { rows, digests };
  } catch (error) {
    disposeAll(rows);
    throw error;
  } finally {
    disposeAll(open);
  }
}

/** An image or pair of frames: its rows, if they are known, or its pixels. */
interface SeenUnit {
  readonly unit: VisionUnit;
  /** null where nothing is kept. */
  readonly digest: string | null;
  readonly rows: Rows | undefined;
  readonly frames: readonly [ResizedFrame] | readonly [ResizedFrame, ResizedFrame] | undefined;
}

/** @param open gets the tensors of all units, which the caller disposes */
async function* seenUnits(
  units: readonly VisionUnit[],
  { vision, media }: MediaEncoders,
  signal: AbortSignal,
  open: Tensor[],
): AsyncGenerator<SeenUnit> {
  const turns = new Turns("encoding images", signal);
  const find = (digest: string | null): Rows | undefined => {
    const rows = digest === null ? undefined : media?.find(digest);
    if (rows) open.push(rows);
    return rows;
  };
  const see = async (frame: RgbImage, unit: VisionUnit) => {
    const digest = media && (await turns.during(frameDigest(frame, unit)));
    const rows = unit.frames ? undefined : find(digest); // a frame of a video counts with the other of its pair
    if (rows) return { digest, rows, pixels: undefined };
    const pixels = await vision!.resize(frame, unit.inputSize, { signal });
    open.push(pixels);
    await vision!.device.synchronize(); // the frame's pixels are no longer needed, on the device either
    // The caller may have written to the pixels meanwhile: whatever became of them is like nothing else.
    const isSame = digest && digest === (await turns.during(frameDigest(frame, unit)));
    return { digest: digest && (isSame ? digest : randomUUID()), rows, pixels };
  };
  let next = 0;
  for await (const [first, second] of mapUnitFrames(units, see, { signal, reuse: true })) {
    const unit = units[next++]!;
    if (unit.frames) {
      const digest = first.digest && pairDigest(first.digest, second.digest!);
      yield { unit, digest, rows: find(digest), frames: [first.pixels!, second.pixels!] };
    } else yield { unit, digest: first.digest, rows: first.rows, frames: first.pixels && [first.pixels] };
  }
}

/** The rows of each unit. */
async function encodeGroup(group: readonly SeenUnit[], vision: VisionEncoder, signal: AbortSignal): Promise<Rows[]> {
  const visual = group.flatMap(({ unit: { inputSize: size, tokenGrid }, rows, frames }) =>
    rows ? [] : [{ frames: frames!, size, tokenGrid }],
  );
  const encoded = (await vision.encodeUnits(visual, { signal })).values();
  return group.map(({ rows }) => rows?.slice(0) ?? encoded.next().value!.tokens);
}

async function* groups<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
