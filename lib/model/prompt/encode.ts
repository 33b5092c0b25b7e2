import { CaracalError, throwIfAborted } from "../../errors.js";
import { concatRows } from "../../ops/rows.js";
import { disposeAll } from "../../tensor/tensor.js";
import { type Steps, Turns } from "../../turns.js";
import type { AudioEncoder } from "../audio/encoder.js";
import type { AudioFraming } from "../audio/framing.js";
import type { Llm } from "../language/llm.js";
import { codecBooks } from "../speech/state.js";
import type { Rows } from "../types.js";
import type { VisionEncoder } from "../vision/encoder.js";
import { BlockKeys } from "./blockKeys.js";
import { buildPrompt, type Prompt, type PromptOptions } from "./build.js";
import type { OmniEmbedding } from "./embedding.js";
import { type EncodedMedia, encodeAudios, encodeUnits } from "./encodeMedia.js";
import { MediaBudget, withDefaults } from "./limits.js";
import type { MediaCache } from "./mediaCache.js";
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
  /** The media of earlier prompts; null to keep nothing of this one. */
  readonly media: MediaCache | null;
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

/** A prompt as the language model takes it. */
export interface EncodedPrompt {
  /** `[T, hidden size]` */
  readonly embeddings: Rows;
  /** The keys of its rows in the KV cache; null where nothing shall be kept. */
  readonly keys: BlockKeys | null;
}

/**
 * Loads the media of a conversation, encodes them, and embeds the prompt.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` for an invalid or too long conversation, or one that needs a module that was
 *   not loaded, `MEDIA_INVALID`, `OUT_OF_MEMORY`
 *   for a prompt longer than the cache, `UNSUPPORTED` for more visual tokens than a limit when the vision encoder merges
 *   patches, `ABORTED`, and the errors of loading media
 */
export async function encodePrompt(
  messages: readonly Message[],
  encoders: PromptEncoders,
  options: EncodePromptOptions,
): Promise<EncodedPrompt> {
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

  const media: EncodedMedia[] = [];
  try {
    const audio = await encodeAudios(prompt.audios, encoders, options);
    media.push(audio);
    const visual = await encodeUnits(prompt.vision, encoders, options);
    media.push(visual);
    throwIfAborted(signal, "encoding the prompt");
    const turns = new Turns("naming the prompt's rows", signal);
    const keys = encoders.media && (await turns.during(keySteps(prompt, audio, visual, llm.cache.blockSize)));
    const join = ({ rows }: EncodedMedia) => (rows.length > 0 ? concatRows([...rows]) : undefined);
    const { embedding } = encoders;
    const ids = embedding.books > 0 ? prompt : { textIds: prompt.textIds };
    return { embeddings: llm.device.scope(() => embedding.prompt(ids, join(audio), join(visual))), keys };
  } finally {
    disposeAll(media.map(({ rows }) => rows));
  }
}

/** Names the rows of a prompt. */
function* keySteps(
  { textIds, codecIds, audioRows, visionRows, audios, vision }: Prompt,
  audio: EncodedMedia,
  visual: EncodedMedia,
  blockSize: number,
): Steps<BlockKeys> {
  const mediaRows = new Map<number, readonly [digest: string, index: number]>();
  const place = (items: readonly { readonly tokens: number }[], { digests }: EncodedMedia, rows: Int32Array) => {
    let next = 0;
    for (const [i, { tokens }] of items.entries())
      for (let index = 0; index < tokens; index++) mediaRows.set(rows[next++]!, [digests[i]!, index]);
  };
  place(audios, audio, audioRows);
  place(vision, visual, visionRows);
  const keys = new BlockKeys(blockSize);
  for (let row = 0; row < textIds.length; row++) {
    const media = mediaRows.get(row);
    if (media) keys.addMedia(...media);
    else keys.addTokens(textIds[row]!, codecIds.subarray(row * codecBooks, (row + 1) * codecBooks));
    yield;
  }
  return keys;
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
