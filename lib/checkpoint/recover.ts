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

/** Count and rows of the tables or heads called `prefix`, one per book. */
export function recoverSpeechConfig(
  entries: readonly TensorEntry[],
  prefix: "audio_embeddings" | "audio_output_layers" = "audio_embeddings",
): { books: number; vocab: number } {
  const vocab = shapesOf(entries)(`${prefix}.0.weight`)[0] ?? 8224;
  return { books: countLayers(entries, new RegExp(`^${prefix}\\.(\\d+)\\.`)) || 4, vocab };
}

/** The language model's width, which is the last dimension of `name`, if that tensor is present. */
export function recoverHiddenSize(entries: readonly TensorEntry[] | undefined, name: string): number | undefined {
  return shapesOf(entries ?? [])(name).at(-1);
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
