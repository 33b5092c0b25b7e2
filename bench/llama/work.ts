import type { LlmConfig } from "../../lib/checkpoint/config.js";
import { elementCount, entryBytes } from "../../lib/checkpoint/entry.js";
import { llmLayout } from "../../lib/checkpoint/layout.js";
import { type GgufModel, picksOf } from "./deepseek2.js";
import { ggufBytes } from "./gguf.js";

/** Weights that a token uses: on average, where the router chooses. */
export interface Used {
  readonly parameters: number;
  readonly bytes: number;
}

/** A weight, and the share of it that a token uses. */
interface Share extends Used {
  readonly share: number;
}

/**
 * What Caracal multiplies a batch of rows with.
 * @param bytesPerWeight of the matrices that may be quantised
 * @param rows more rows use more experts: on average each row picks anew
 */
export function usedByCaracal(config: LlmConfig, bytesPerWeight: number, rows = 1): Used {
  const weights = [...llmLayout(config)].flatMap(([name, { shape, dtypes, scales }]): Share[] => {
    if (scales !== undefined || name === "model.embed_tokens.weight") return [];
    const [parameters, isF32] = [elementCount(shape), /\.router\./.test(name)];
    const bytes = dtypes.includes("f8e4m3") ? parameters * bytesPerWeight : entryBytes(isF32 ? "f32" : "bf16", shape);
    return [{ parameters, bytes, share: /\.experts\./.test(name) ? expertShare(config, rows) : 1 }];
  });
  return sum(weights);
}

/** What llama.cpp multiplies a batch of rows with. */
export function usedByLlamaCpp(config: LlmConfig, { tensors }: GgufModel, rows = 1): Used {
  const weights = tensors.flatMap((tensor): Share[] => {
    if (tensor.name === "token_embd.weight") return [];
    const share = /_exps\./.test(tensor.name) ? expertShare(config, rows) : 1;
    return [{ parameters: elementCount(tensor.shape), bytes: ggufBytes(tensor), share }];
  });
  return sum(weights);
}

/** The share of a layer's experts that at least one row has picked, if each row picks at random. */
function expertShare(config: LlmConfig, rows: number): number {
  return 1 - (1 - picksOf(config) / config.n_routed_experts) ** rows;
}

function sum(weights: readonly Share[]): Used {
  const total = (of: (weight: Share) => number) => weights.reduce((total, w) => total + w.share * of(w), 0);
  return { parameters: total((w) => w.parameters), bytes: total((w) => w.bytes) };
}
