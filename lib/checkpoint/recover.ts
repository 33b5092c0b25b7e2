import type { TensorEntry } from "./entry.js";
import { isRecord } from "./json.js";

/** `source` with the sizes of `audio/config.json` that it leaves out, where the tensors show them. */
export function recoverAudioConfig(source: unknown, encoder: readonly TensorEntry[]): unknown {
  const shape = shapesOf(encoder);
  const layers = countLayers(encoder, /^fsmn_layers\.(\d+)\./);
  const orders = Array.from({ length: layers }, (_, i) => (shape(`fsmn_layers.${i}.memory.weight`)[2] ?? 1) - 1);
  const firstOrder = orders[0];
  const rightLayers = orders.filter((order) => order !== firstOrder).length;
  return fill(source, {
    input_size: shape("ffn.0.weight")[1],
    hidden_size: shape("ffn.0.weight")[0],
    proj_size: shape("ffn.2.weight")[0],
    vocab_size: shape("output.weight")[0],
    nlayer: layers || undefined,
    ndnn: layers && encoder.filter(({ name }) => /^dnn\.\d+\.weight$/.test(name)).length,
    num_right_layers: layers && rightLayers,
    left_order: firstOrder,
    right_order: rightLayers ? orders.at(-1)! - firstOrder! : 0,
  });
}

/** `source` with the projector's width, if `vision/config.json` leaves it out and the tensors show it. */
export function recoverVisionConfig(source: unknown, projector: readonly TensorEntry[]): unknown {
  return fill(source, { adaptor_dim: shapesOf(projector)("p0.1.weight")[0] });
}

/** The input tables' count and rows. */
export function recoverSpeechConfig(embeddings: readonly TensorEntry[]): { books: number; vocab: number } {
  const vocab = shapesOf(embeddings)("audio_embeddings.0.weight")[0] ?? 8224;
  return { books: countLayers(embeddings, /^audio_embeddings\.(\d+)\./) || 4, vocab };
}

function fill(source: unknown, found: Readonly<Record<string, number | undefined>>): unknown {
  if (!isRecord(source)) return source;
  const known = Object.entries(found).filter(([name, value]) => value !== undefined && source[name] === undefined);
  return { ...source, ...Object.fromEntries(known) };
}

function shapesOf(entries: readonly TensorEntry[]): (name: string) => readonly number[] {
  const shapes = new Map(entries.map((entry) => [entry.name, entry.shape]));
  return (name) => shapes.get(name) ?? [];
}

/** How many of 0, 1, 2, … occur as the pattern's number without a gap. */
function countLayers(entries: readonly TensorEntry[], pattern: RegExp): number {
  const seen = new Set(entries.map(({ name }) => pattern.exec(name)?.[1]));
  let count = 0;
  while (seen.has(String(count))) count++;
  return count;
}
