import { parseLlmConfig } from "../checkpoint/config.js";
import { llmLayout } from "../checkpoint/layout.js";
import { Llm } from "../model/language/llm.js";
import type { Tensor } from "../tensor/tensor.js";
import { join } from "./audioEncoder.js";
import { type Golden, mismatches } from "./golden.js";

/** Prompts through the language model, one by one: intermediate results, hidden states and logits. */
export async function verifyLongcatFlash(golden: Golden): Promise<void> {
  const config = golden.config(parseLlmConfig);
  golden.checkWeights("", llmLayout(config));
  const inputIds = golden.input("input_ids", "i32");
  const tokens = inputIds.shape.at(-1)!;
  const ids = await inputIds.read();
  const llm = await Llm.load(golden.weights, config, { activations: golden.activations, kvCacheTokens: tokens });

  const parts = new Map<string, Promise<ArrayLike<number>>[]>();
  const collect = (name: string, values: Promise<ArrayLike<number>>) => {
    values.catch(() => {}); // when the run ends early nobody else waits for it
    parts.set(name, [...(parts.get(name) ?? []), values]);
  };
  const tap = (name: string, value: Tensor) => {
    collect(name, value.dtype === "i32" ? value.read() : value.toFloat32Array());
    if (name === "normed") collect("logits", llm.logits(value as never).toFloat32Array());
  };
  for (let start = 0; start < ids.length; start += tokens) {
    using sequence = llm.cache.sequence();
    using embeddings = llm.embed([...ids.subarray(start, start + tokens)]);
    const hidden = await llm.prefill([{ sequence, embeddings }], { tap, chunk: tokens });
    hidden.dispose();
  }
  llm.cache[Symbol.dispose]();

  parts.delete("normed");
  for (const [name, values] of parts) {
    const router = /^(layer\d+\.router)\.ids$/.exec(name)?.[1];
    if (router) compareRouting(golden, router, parts, config.moe_topk);
    else if (name === "hidden" || name === "logits") golden.compare(name, joined(values), golden.tolerance("final"));
    else golden.compareLayer(name, joined(values));
  }
}

type Numbers = ArrayLike<number>;

const joined = async (values: readonly Promise<Numbers>[]) => join((await Promise.all(values)) as Float32Array[]);

/** The file lists a token's picks by ascending id, and the weights in that order. */
function compareRouting(golden: Golden, router: string, parts: Map<string, Promise<Numbers>[]>, topK: number): void {
  const [indices, weights] = [`${router}.topk_indices_sorted`, `${router}.topk_weights`];
  if (!golden.expects(indices)) return;
  const sorted = (async () => {
    const [ids, values] = await Promise.all([
      joined(parts.get(`${router}.ids`)!),
      joined(parts.get(`${router}.weights`)!),
    ]);
    const order = Array.from(ids, (_, i) => i).sort(
      (a, b) => Math.floor(a / topK) - Math.floor(b / topK) || ids[a]! - ids[b]!,
    );
    return { ids: order.map((i) => ids[i]!), weights: order.map((i) => values[i]!) };
  })();
  golden.compare(
    indices,
    sorted.then(({ ids }) => ids),
    mismatches,
  );
  golden.compareLayer(
    weights,
    sorted.then((picks) => picks.weights),
  );
}
