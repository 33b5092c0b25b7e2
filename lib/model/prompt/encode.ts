import { CaracalError, throwIfAborted } from "../../errors.js";
import type { RgbImage } from "../../media/image.js";
import { concatRows } from "../../ops/rows.js";
import { disposeAll } from "../../tensor/tensor.js";
import type { AudioEncoder } from "../audio/encoder.js";
import type { AudioFraming } from "../audio/framing.js";
import type { Llm } from "../language/llm.js";
import type { Rows } from "../types.js";
import type { VisionEncoder } from "../vision/encoder.js";
import type { VisionUnit } from "../vision/plan.js";
import { mapUnitFrames } from "../vision/unitFrames.js";
import type { ResizedFrame, VisualUnit } from "../vision/units.js";
import { buildPrompt, type PromptAudio, type PromptOptions } from "./build.js";
import type { OmniEmbedding } from "./embedding.js";
import { MediaBudget, withDefaults } from "./limits.js";
import { loadMessages, type Message, type Part } from "./messages.js";
import type { PromptProgress } from "./progress.js";
import type { OmniTokenizer } from "./tokenizer.js";

/** The modules that turn a conversation into embeddings; those that were not loaded are null. */
export interface PromptEncoders {
  readonly tokenizer: OmniTokenizer;
  readonly audioEncoder: AudioEncoder | null;
  readonly vision: VisionEncoder | null;
  /** Without codec books if the model was loaded without speech. */
  readonly embedding: OmniEmbedding;
  readonly llm: Llm;
  readonly framing: AudioFraming;
}

export interface EncodePromptOptions extends Pick<PromptOptions, "speech" | "limits" | "template"> {
  readonly signal: AbortSignal;
  readonly progress: PromptProgress;
}

/** Refuses what needs a module that the model was loaded without, by an option of `OmniModel.load`. */
export function notLoaded(what: string, option: "vision" | "audio" | "speech"): CaracalError {
  const message = `${what} needs a model with ${option}, and this one has none: pass ${option}: true to OmniModel.load`;
  return new CaracalError("INVALID_ARGUMENT", message, { option });
}

/** Seconds of audio encoded at a time, so that an abort takes effect soon. */
const audioPieceSeconds = 8;
/** Visual units decoded and encoded at a time. */
const unitsAtATime = 8;

/**
 * Loads the media of a conversation, encodes them, and embeds the prompt.
 *
 * @returns `[T, hidden size]`
 * @throws {CaracalError} `INVALID_ARGUMENT` for an invalid or too long conversation, or one that needs a module that was
 *   not loaded, `MEDIA_INVALID`, `OUT_OF_MEMORY`
 *   for a prompt longer than the cache, `UNSUPPORTED` for more visual tokens than a limit when the vision encoder merges
 *   patches, `ABORTED`, and the errors of loading media
 */
export async function encodePrompt(
  messages: readonly Message[],
  encoders: PromptEncoders,
  options: EncodePromptOptions,
): Promise<Rows> {
  const { framing, tokenizer, vision, llm } = encoders;
  const { signal, progress } = options;
  const start = performance.now();
  const limits = withDefaults(options.limits);
  const budget = new MediaBudget(limits, framing);
  const loaded = await loadMessages(messages, {
    sampleRate: framing.sampleRate,
    audioSeconds: limits.audioSeconds,
    signal,
    onPart: (part, name) => checkModules(part, name, encoders),
    onLoaded: (part, name) => budget.add(part, name),
    onRead: (count) => progress.stage("preprocess", 0, count),
  });
  const prompt = await buildPrompt(loaded, tokenizer, {
    ...options,
    vision: vision?.limits,
    audio: framing,
    positions: llm.config.max_position_embeddings,
    speechCodes: encoders.embedding.codes,
  });
  progress.add("preprocess", performance.now() - start, 0);
  progress.stage("preprocess", loaded.length, loaded.length);
  checkCache(prompt.textIds.length, llm);

  const rows: Rows[] = [];
  try {
    const audio = await encodeAudios(prompt.audios, encoders, options);
    rows.push(...audio);
    const visual = await encodeUnits(prompt.vision, encoders, options);
    rows.push(...visual);
    throwIfAborted(signal, "encoding the prompt");
    const join = (parts: Rows[]) => (parts.length > 0 ? concatRows(parts) : undefined);
    const { embedding } = encoders;
    const ids = embedding.books > 0 ? prompt : { textIds: prompt.textIds };
    return llm.device.scope(() => embedding.prompt(ids, join(audio), join(visual)));
  } finally {
    for (const tensor of rows) tensor.dispose();
  }
}

function checkModules(part: Part, name: string, { vision, audioEncoder, embedding }: PromptEncoders): void {
  const sees = part.type === "image" || part.type === "video";
  const hears = part.type === "audio" || (part.type === "video" && (part.interleaveAudio ?? false) !== false);
  if (sees && !vision) throw notLoaded(`${name}: ${part.type}`, "vision");
  if (hears && !audioEncoder) throw notLoaded(`${name}: audio`, "audio");
  if (part.type === "speech" && embedding.books === 0) throw notLoaded(`${name}: speech`, "speech");
}

/** Checks that the prompt fits into the cache before expensive work starts. A reply needs at least one more position. */
function checkCache(tokens: number, { cache }: Llm): void {
  if (tokens < cache.tokens) return;
  throw new CaracalError(
    "OUT_OF_MEMORY",
    `the request has ${tokens} tokens, the KV cache holds ${cache.tokens}; load the model with a larger kvCacheTokens`,
    { tokens, cache: cache.tokens },
  );
}

async function encodeAudios(
  audios: readonly PromptAudio[],
  { audioEncoder, framing, llm }: PromptEncoders,
  { signal, progress }: EncodePromptOptions,
): Promise<Rows[]> {
  const total = audios.reduce((sum, { tokens }) => sum + tokens, 0);
  const rows: Rows[] = [];
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
      const doneBefore = done;
      using stream = audioEncoder!.stream();
      const piece = audioPieceSeconds * framing.sampleRate;
      for (let at = 0; at < samples.length; at += piece) {
        throwIfAborted(signal, "encoding audio");
        collect(stream.push(samples.subarray(at, at + piece)));
        await llm.device.synchronize();
      }
      collect(stream.flush());
      await llm.device.synchronize();
      const seconds = samples.length / framing.sampleRate;
      progress.add("audio encoder", performance.now() - start, done - doneBefore, seconds);
    }
    return rows;
  } catch (error) {
    for (const tensor of rows) tensor.dispose();
    throw error;
  }
}

async function encodeUnits(
  units: readonly VisionUnit[],
  { vision, llm }: PromptEncoders,
  { signal, progress }: EncodePromptOptions,
): Promise<Rows[]> {
  const total = units.reduce((sum, { tokens }) => sum + tokens, 0);
  const rows: Rows[] = [];
  const resized: ResizedFrame[] = [];
  const resize = async (frame: RgbImage, { inputSize }: VisionUnit) => {
    resized.push(await vision!.resize(frame, inputSize, { signal }));
    await llm.device.synchronize(); // the frame's pixels are no longer needed, on the device either
    return resized.at(-1)!;
  };
  let done = 0;
  try {
    let decodeStart = performance.now();
    const frames = mapUnitFrames(units, resize, { signal, reuse: true });
    for await (const group of groups(visualUnits(units, frames), unitsAtATime)) {
      const encodeStart = performance.now();
      progress.add("preprocess", encodeStart - decodeStart, 0);
      const encoded = await vision!.encodeUnits(group, { signal });
      disposeAll(resized.splice(0));
      rows.push(...encoded.map(({ tokens }) => tokens));
      decodeStart = performance.now();
      const tokens = encoded.reduce((sum, unit) => sum + unit.tokens.shape[0], 0);
      done += tokens;
      progress.add("vision", decodeStart - encodeStart, tokens);
      progress.stage("vision", done, total);
    }
    return rows;
  } catch (error) {
    for (const tensor of rows) tensor.dispose();
    throw error;
  } finally {
    disposeAll(resized);
  }
}

async function* visualUnits(
  units: readonly VisionUnit[],
  pairs: AsyncIterable<readonly [ResizedFrame, ResizedFrame]>,
): AsyncGenerator<VisualUnit> {
  let next = 0;
  for await (const pair of pairs) {
    const { frames, inputSize: size, tokenGrid } = units[next++]!;
    yield { frames: frames ? pair : [pair[0]], size, tokenGrid };
  }
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
