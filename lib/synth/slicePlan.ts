import type { LlmConfig } from "../checkpoint/config.js";
import type { TensorEntry } from "../checkpoint/entry.js";
import { isRecord } from "../options.js";
import type { TensorHead } from "./safetensors.js";
import type { StoredRows } from "./storedRows.js";

/** How much of a language model is kept: the first layers, and of each layer's router the first experts of both kinds. */
export interface SliceSizes {
  readonly layers: number;
  readonly experts: number;
  readonly zeroExperts: number;
  /** The experts that the router picks for a token. */
  readonly topk: number;
}

/** A tensor of the slice, and the rows of the source's tensor that make it up, one after the other. */
export interface Cut {
  readonly outputs: readonly [TensorHead];
  readonly parts: readonly StoredRows[];
}

/** Whether a tensor or module belongs to a slice, as far as its name tells. MTP is a layer after the last one: never. */
export function isKept(name: string, { layers, experts }: SliceSizes): boolean {
  const index = (pattern: RegExp) => Number(pattern.exec(name)?.[1] ?? -1);
  return !/\bmtp\b/.test(name) && index(/\blayers\.(\d+)\b/) < layers && index(/\.experts\.(\d+)\b/) < experts;
}

/**
 * Cuts a tensor of a kept layer along its first dimension, so that all codes of quantised rows stay whole and their scales
 * and biases are cut likewise. The router has a row for each expert, and those of zero experts follow those of the routed
 * ones; mlx-lm stacks a layer's experts in one tensor.
 */
export function cut(entry: TensorEntry, whole: LlmConfig, { experts, zeroExperts }: SliceSizes): Cut {
  const { name, dtype, shape } = entry;
  const isRouter = name.includes(".mlp.router.");
  const isStack = name.includes(".mlp.switch_mlp.");
  const kept = isRouter || isStack ? experts : shape[0]!;
  const parts: StoredRows[] = [{ entry, from: 0, rows: kept }];
  if (isRouter) parts.push({ entry, from: whole.n_routed_experts, rows: zeroExperts });
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  return { outputs: [{ name, dtype, shape: [rows, ...shape.slice(1)] }], parts };
}

type Raw = Readonly<Record<string, unknown>>;

/** The `config.json` of a slice: no field speaks of what was cut off. */
export function sliceConfig(raw: Raw, whole: LlmConfig, sizes: SliceSizes): object {
  const { layers, experts, zeroExperts, topk } = sizes;
  const { _files, ...config }: Record<string, unknown> = raw;
  for (const name of leftOut) delete config[name];
  for (const name of ["quantization", "quantization_config"])
    if (isRecord(config[name])) config[name] = modulesKept(config[name], sizes);
  // transformers counts attentions, of which a layer has two, and mlx-lm layers.
  const perLayer = Number(config.num_hidden_layers) / whole.num_layers;
  if (Number.isInteger(perLayer)) config.num_hidden_layers = perLayer * layers;
  if (typeof config.num_nextn_predict_layers === "number") config.num_nextn_predict_layers = 0;
  return {
    ...config,
    num_layers: layers,
    n_routed_experts: experts,
    zero_expert_num: zeroExperts,
    moe_topk: topk,
    _slice:
      `${layers} of ${whole.num_layers} layers, ${experts} of ${whole.n_routed_experts} experts, ` +
      `${zeroExperts} of ${whole.zero_expert_num} zero experts`,
  };
}

/** Sizes of n-gram embeddings, which no slice has, since the library does not compute them. */
const leftOut = ["ngram_vocab_size_ratio", "emb_neighbor_num", "emb_split_num"];

/** A section that has fields, or lists, with the names of modules, such as those that are quantised in another way. */
function modulesKept(section: Raw, sizes: SliceSizes): Raw {
  const isNameKept = (value: unknown) => typeof value !== "string" || isKept(value, sizes);
  const kept = Object.entries(section).filter(([name]) => isKept(name, sizes));
  return Object.fromEntries(
    kept.map(([name, value]) => [name, Array.isArray(value) ? value.filter(isNameKept) : value]),
  );
}
