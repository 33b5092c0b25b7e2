import { isRecord } from "../options.js";
import type { TensorEntry } from "./entry.js";
import type { SpeechConfig } from "./layout.js";

/** Adds the sizes that `audio/config.json` omits to `source`, as far as the encoder's tensors show them. */
export function recoverAudioConfig(source: unknown, encoder: readonly TensorEntry[]): unknown {
  const shape = shapesOf(encoder);
  const layers = countLayers(encoder, /^fsmn_layers\.(\d+)\./);
  const orders = Array.from({ length: layers }, (_, i) => (shape(`fsmn_layers.${i}.memory.weight`)[2] ?? 1) - 1);
  const firstOrder = orders[0];
  const rightLayers = orders.filter((order) => order !== firstOrder).length;
  return addMissing(source, {
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

/** Adds the projector's width to `source` if `vision/config.json` omits it and the tensors show it. */
export function recoverVisionConfig(source: unknown, projector: readonly TensorEntry[]): unknown {
  return addMissing(source, { adaptor_dim: shapesOf(projector)("p0.1.weight")[0] });
}

/** The number and the rows of the tables or heads whose names begin with `prefix`. No configuration states them. */
export function recoverSpeechConfig(
  entries: readonly TensorEntry[],
  prefix: "audio_embeddings" | "audio_output_layers",
): SpeechConfig {
  const vocab = shapesOf(entries)(`${prefix}.0.weight`)[0] ?? 8224;
  return { books: countLayers(entries, new RegExp(`^${prefix}\\.(\\d+)\\.`)) || 4, vocab };
}

/** The width of the language model: the last dimension of the tensor `name`, if it exists. */
export function recoverHiddenSize(entries: readonly TensorEntry[] | undefined, name: string): number | undefined {
  return shapesOf(entries ?? [])(name).at(-1);
}

function addMissing(source: unknown, sizes: Readonly<Record<string, number | undefined>>): unknown {
  if (!isRecord(source)) return source;
  const added = Object.entries(sizes).filter(([name, value]) => value !== undefined && source[name] === undefined);
  return { ...source, ...Object.fromEntries(added) };
}

function shapesOf(entries: readonly TensorEntry[]): (name: string) => readonly number[] {
  const shapes = new Map(entries.map((entry) => [entry.name, entry.shape]));
  return (name) => shapes.get(name) ?? [];
}

/** Counts how far 0, 1, 2, … occur without a gap as the number in the pattern. */
function countLayers(entries: readonly TensorEntry[], pattern: RegExp): number {
  const seen = new Set(entries.map(({ name }) => pattern.exec(name)?.[1]));
  let count = 0;
  while (seen.has(String(count))) count++;
  return count;
}
