import { CaracalError, throwIfAborted } from "../errors.js";
import { loadMessages } from "../media/messages.js";
import { unitFrames } from "../media/unitFrames.js";
import type { Activations } from "../ops/call.js";
import { interpolateTokens } from "../ops/image.js";
import { concatRows } from "../ops/rows.js";
import type { Tensor } from "../tensor/tensor.js";
import type { AudioEncoder } from "./audioEncoder.js";
import type { OmniEmbedding } from "./embedding.js";
import type { GenerateOptions, Stage } from "./generate.js";
import type { AudioFraming } from "./interleave.js";
import type { Llm } from "./llm.js";
import { buildPrompt, type Message, type PromptAudio } from "./prompt.js";
import type { OmniTokenizer } from "./tokenizer.js";
import type { UsageMeter } from "./usage.js";
import type { VisionEncoder, VisualTokens, VisualUnit } from "./vision.js";
import type { VisionUnit } from "./visionPlan.js";

type Rows = Tensor<Activations>;

/** What turns a conversation into embeddings. */
export interface PromptEncoders {
  readonly tokenizer: OmniTokenizer;
  readonly audioEncoder: AudioEncoder;
  readonly vision: VisionEncoder;
  readonly embedding: OmniEmbedding;
  readonly llm: Llm;
  readonly framing: AudioFraming;
}

export interface PrepareOptions extends Pick<GenerateOptions, "limits" | "template"> {
  readonly speech: boolean;
  readonly signal: AbortSignal;
  readonly usage: UsageMeter;
  readonly onStage: (stage: Stage, done: number, total: number) => void;
}

/** Seconds of audio that are encoded at a time, so that an abort takes effect soon. */
const audioPiece = 8;
/** Visual units that are decoded and encoded at a time. */
const unitsAtATime = 8;

/**
 * Loads the media of a conversation, encodes them, and embeds the prompt: [T, hidden size].
 *
 * @throws INVALID_ARGUMENT (a conversation that makes no sense, or is too long), MEDIA_INVALID, OUT_OF_MEMORY (longer
 *   than the cache), ABORTED, …
 */
export async function preparePrompt(
  messages: readonly Message[],
  encoders: PromptEncoders,
  options: PrepareOptions,
): Promise<Rows> {
  const { framing, tokenizer, vision, llm } = encoders;
  const { signal, usage, onStage } = options;
  const start = performance.now();
  onStage("preprocess", 0, messages.length);
  const loaded = await loadMessages(messages, { sampleRate: framing.sampleRate, signal });
  const prompt = buildPrompt(loaded, tokenizer, { ...options, vision: vision.limits, audio: framing });
  usage.promptTokens = prompt.textIds.length;
  usage.add("preprocess", performance.now() - start, 0);
  onStage("preprocess", messages.length, messages.length);
  checkLength(prompt.textIds.length, llm);

  const rows: Rows[] = [];
  try {
    const audio = await encodeAudios(prompt.audios, encoders, options);
    rows.push(...audio);
    const visual = await encodeUnits(prompt.vision, encoders, options);
    rows.push(...visual);
    throwIfAborted(signal, "encoding the prompt");
    const join = (parts: Rows[]) => (parts.length > 0 ? concatRows(parts) : undefined);
    return llm.device.scope(() => encoders.embedding.prompt(prompt, join(audio), join(visual)));
  } finally {
    for (const tensor of rows) tensor.dispose();
  }
}

/** Before anything expensive; a reply needs at least one position more. */
function checkLength(tokens: number, llm: Llm): void {
  const limit = llm.config.max_position_embeddings;
  if (tokens >= limit)
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `the request has ${tokens} tokens, the model has ${limit} positions; shorten the conversation or its media`,
      { tokens, limit },
    );
  if (tokens < llm.cache.tokens) return;
  throw new CaracalError(
    "OUT_OF_MEMORY",
    `the request has ${tokens} tokens, the KV cache holds ${llm.cache.tokens}; load the model with a larger kvCacheTokens`,
    { tokens, cache: llm.cache.tokens },
  );
}

async function encodeAudios(
  audios: readonly PromptAudio[],
  { audioEncoder, framing }: PromptEncoders,
  { signal, usage, onStage }: PrepareOptions,
): Promise<Rows[]> {
  const total = audios.reduce((sum, { tokens }) => sum + tokens, 0);
  const rows: Rows[] = [];
  let done = 0;
  const keep = (tokens: Rows | undefined) => {
    if (!tokens) return;
    rows.push(tokens);
    done += tokens.shape[0]!;
    onStage("audio encoder", done, total);
  };
  try {
    for (const { samples } of audios) {
      const start = performance.now();
      const before = done;
      using stream = audioEncoder.stream();
      const piece = audioPiece * framing.sampleRate;
      for (let at = 0; at < samples.length; at += piece) {
        throwIfAborted(signal, "encoding audio");
        keep(stream.push(samples.subarray(at, at + piece)));
        await audioEncoder.device.synchronize();
      }
      keep(stream.flush());
      await audioEncoder.device.synchronize();
      usage.add("audio encoder", performance.now() - start, done - before, samples.length / framing.sampleRate);
    }
    return rows;
  } catch (error) {
    for (const tensor of rows) tensor.dispose();
    throw error;
  }
}

async function encodeUnits(
  units: readonly VisionUnit[],
  { vision }: PromptEncoders,
  { signal, usage, onStage }: PrepareOptions,
): Promise<Rows[]> {
  const total = units.reduce((sum, { tokens }) => sum + tokens, 0);
  const rows: Rows[] = [];
  let done = 0;
  try {
    let decoding = performance.now();
    for await (const group of groups(visualUnits(units, signal), unitsAtATime)) {
      const start = performance.now();
      usage.add("preprocess", start - decoding, 0);
      const encoded = await vision.encodeUnits(group, { signal });
      const first = rows.length;
      rows.push(...encoded.map((tokens, i) => fitGrid(tokens, units[first + i]!)));
      await vision.device.synchronize();
      decoding = performance.now();
      const tokens = rows.slice(first).reduce((sum, row) => sum + row.shape[0]!, 0);
      done += tokens;
      usage.add("vision", decoding - start, tokens);
      onStage("vision", done, total);
    }
    return rows;
  } catch (error) {
    for (const tensor of rows) tensor.dispose();
    throw error;
  }
}

/** The post-squeeze, where the plan asks for it. */
function fitGrid({ tokens, grid }: VisualTokens, { tokenGrid: to }: VisionUnit): Rows {
  const from = { height: grid.height, width: grid.width / 2 };
  if (to.height === from.height && to.width === from.width) return tokens;
  const fitted = interpolateTokens(tokens as Tensor<Activations, readonly [number, number]>, {
    from: [from.height, from.width],
    to: [to.height, to.width],
  });
  tokens.dispose();
  return fitted;
}

async function* visualUnits(units: readonly VisionUnit[], signal: AbortSignal): AsyncGenerator<VisualUnit> {
  let at = 0;
  for await (const pair of unitFrames(units, { signal })) {
    const { frames, inputSize: size } = units[at++]!;
    yield { frames: frames ? pair : [pair[0]], size };
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
