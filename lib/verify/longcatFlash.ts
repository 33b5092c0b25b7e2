import { parseLlmConfig } from "../checkpoint/config.js";
import { llmLayout } from "../checkpoint/layout.js";
import { Llm } from "../model/language/llm.js";
import type { Tensor } from "../tensor/tensor.js";
import { type Golden, mismatches } from "./golden.js";
import { Pieces } from "./values.js";

/** Runs prompts through the language model, one by one: intermediate results, hidden states and logits. */
export async function verifyLongcatFlash(golden: Golden): Promise<void> {
  const config = golden.config(parseLlmConfig);
  golden.checkWeights("", llmLayout(config));
  const inputIds = golden.input("input_ids", "i32");
  const tokens = inputIds.shape.at(-1)!;
  const ids = await inputIds.read();
  const llm = await Llm.load(golden.weights, config, { activations: golden.activations, kvCacheTokens: tokens });

  const pieces = new Pieces();
  const tap = (name: string, value: Tensor) => {
    if (name === "normed") pieces.add("logits", llm.logits(value as Parameters<typeof llm.logits>[0]));
    else pieces.add(name, value);
  };
  for (let start = 0; start < ids.length; start += tokens) {
    using sequence = llm.cache.sequence();
    using embeddings = llm.embed([...ids.subarray(start, start + tokens)]);
    const hidden = await llm.prefill([{ sequence, embeddings }], { tap, chunk: tokens });
    hidden.dispose();
  }
  llm.cache[Symbol.dispose]();

  for (const name of pieces.names()) {
    const router = /^(layer\d+\.router)\.ids$/.exec(name)?.[1];
    if (router) compareRouting(golden, router, pieces, config.moe_topk);
    else if (name === "hidden" || name === "logits")
      golden.compare(name, pieces.joined(name), golden.tolerance("final"));
    else golden.compareLayer(name, pieces.joined(name));
  }
}

/** Compares the picks of a router. The file lists those of a token by ascending id, and their weights in that order. */
function compareRouting(golden: Golden, router: string, pieces: Pieces, topK: number): void {
  const [indices, weights] = [`${router}.topk_indices_sorted`, `${router}.topk_weights`];
  if (!golden.expects(indices)) return;
  const sorted = Promise.all([pieces.joined(`${router}.ids`), pieces.joined(`${router}.weights`)]).then(
    ([ids, values]) => {
      const tokenOf = (i: number) => Math.floor(i / topK);
      const order = Array.from(ids.keys()).sort((a, b) => tokenOf(a) - tokenOf(b) || ids[a]! - ids[b]!);
      return { ids: order.map((i) => ids[i]!), weights: order.map((i) => values[i]!) };
    },
  );
  const sortedIds = sorted.then((picks) => picks.ids);
  const sortedWeights = sorted.then((picks) => picks.weights);
  golden.compare(indices, sortedIds, mismatches);
  golden.compareLayer(weights, sortedWeights);
}
