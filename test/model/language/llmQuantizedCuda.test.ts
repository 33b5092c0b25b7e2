// Language models of codes on the CUDA backend, beside the CPU, which test/synth/quantize.test.ts compares with models of
// the same weights in f32.
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Llm } from "../../../lib/model/language/llm.js";
import { Weights } from "../../../lib/model/weights.js";
import type { QuantizeOptions } from "../../../lib/synth/quantize.js";
import { quantizeCheckpoint } from "../../../lib/synth/quantize.js";
import type { Device } from "../../../lib/tensor/tensor.js";
import { scratch } from "../../checkpoint/files.js";
import { cuda, devices } from "../../support/modelDevices.js";
import { relativeError } from "../../support/numbers.js";
import { openLlmOf, writeWideModel } from "../../synth/quantized.js";
import { tinyDirectory } from "../tinyModel.js";

const folder = scratch();
const cpu = devices.at(-1)!;
const prompt = [1, 300, 512, 77, 801, 450, 9, 600, 601, 333, 5, 700, 2, 90, 91, 92, 640, 7];
const next = [12, 480];

/** The logits of every position of the prompt, and of each token that follows. */
async function logits(directory: string, device: Device, activations: "f32" | "bf16"): Promise<Float32Array> {
  using llm = await Llm.open(directory, { device, activations, kvCacheTokens: 64, onWarning: () => {} });
  using sequence = llm.cache.sequence();
  using embeddings = llm.embed(prompt);
  using hidden = await llm.prefill([{ sequence, embeddings }], { rows: "all" });
  const results = [await llm.logits(hidden).toFloat32Array()];
  for (const id of next) {
    using x = llm.embed([id]);
    using decoded = llm.decode([sequence], x);
    results.push(await llm.logits(decoded).toFloat32Array());
  }
  return Float32Array.from(results.flatMap((values) => [...values]));
}

const formats: readonly QuantizeOptions[] = [
  { format: "int8", group: 32 },
  { format: "int4", group: 32, layout: "mlx" },
  { format: "int4", group: 64, layout: "mlx" },
];

describe.skipIf(!cuda).each(formats)("a language model of %o on CUDA", (options) => {
  const directories: Record<"tiny" | "wide", string> = { tiny: "", wide: "" };
  beforeAll(async () => {
    const name = `${options.format}-${options.group}`;
    const wide = join(folder, `source-${name}`);
    await writeWideModel(wide);
    for (const [kind, source] of [["tiny", await tinyDirectory(3)] as const, ["wide", wide] as const]) {
      directories[kind] = join(folder, `${kind}-${name}`);
      await quantizeCheckpoint(source, directories[kind], { ...options, device: cpu });
    }
  });

  // bf16 in place of the codes, as CUDA had it, would change logits by more than a hundred times the first tolerance.
  test.each([
    ["tiny", "f32", 1e-5],
    ["wide", "f32", 1e-5],
    ["tiny", "bf16", 0.05],
    ["wide", "bf16", 0.05],
  ] as const)("%s, %s activations: the logits are the CPU's", async (kind, activations, tolerance) => {
    const directory = directories[kind];
    const [got, want] = [await logits(directory, cuda!, activations), await logits(directory, cpu, activations)];
    expect(relativeError(got, want)).toBeLessThan(tolerance);
  });

  test("its matrices are kept as codes", async () => {
    const { tensors, config } = await openLlmOf(directories.wide);
    const dtype = options.format === "int8" ? "q8" : "q4";
    using weights = Weights.of(cuda!, { "": tensors.values() });
    const { hidden_size: hidden, ffn_hidden_size: inner, num_attention_heads: heads, v_head_dim: value } = config;
    const layer = weights.part("model.layers.0");
    expect(layer.packed("mlps.1.up_proj.weight", [inner, hidden]).dtype).toBe(dtype);
    expect(layer.packed("self_attn.0.o_proj.weight", [hidden, heads * value]).dtype).toBe(dtype);
    const experts = { matrices: config.n_routed_experts, shape: [config.expert_ffn_hidden_size, hidden] as const };
    const stacked =
      options.layout === "mlx"
        ? layer.packedStack("mlp.switch_mlp.gate_proj.weight", [experts.matrices, ...experts.shape])
        : layer.packedExperts(
            Array.from({ length: experts.matrices }, (_, e) => `mlp.experts.${e}.gate_proj.weight`),
            experts.shape,
          );
    expect(stacked.dtype).toBe(dtype);
    await weights.settle();
  });
});
