import type { Steps } from "../turns.js";
import type { LlmConfig } from "./config.js";
import { type ExpectedTensor, type Layout, llmLayoutSteps } from "./layout.js";
import { affineFormatOf } from "./quantization.js";

/** The names of a checkpoint's tensors. */
type Names = Pick<ReadonlySet<string>, "has">;

const floats = ["bf16", "f16", "f32"] as const;

/** Whether a language model was saved by mlx-lm, or quantised in its format. */
export function isMlx(config: LlmConfig, found: Names): boolean {
  return config.quantization !== undefined || found.has("model.layers.0.mlp.switch_mlp.gate_proj.weight");
}

/**
 * The language model as mlx-lm saves it. It stacks the matrices of a layer's experts in one tensor, and splits `kv_b_proj`
 * in two, for both of which older conversions have the published names. A quantised matrix `[..., N, K]` is u32 words
 * `[..., N, K · bits / 32]`, with scales and biases `[..., N, K / group]`.
 *
 * @param found the names of the checkpoint's tensors, which also tell what is quantised where the configuration does not
 */
export function* mlxLayoutSteps(c: LlmConfig, found: Names): Steps<Layout> {
  const layout = new Map<string, ExpectedTensor>();
  const published = yield* llmLayoutSteps(c);
  for (const [name, { shape, scales: of }] of published) {
    yield;
    if (of !== undefined) continue; // of FP8
    const [module, size] = mlxModule(name, shape, c, found) ?? [];
    if (module === undefined || size === undefined) continue;
    addModule(layout, module, size, c, found);
    if (module.endsWith(".embed_q.weight"))
      addModule(layout, module.replace("embed_q", "unembed_out"), unembedShape(c), c, found);
  }
  return layout;
}

/** The name and shape of a module in MLX's layout; `undefined` for one that another has absorbed. */
function mlxModule(
  name: string,
  shape: readonly number[],
  c: LlmConfig,
  found: Names,
): readonly [string, readonly number[]] | undefined {
  const expert = /^(.*\.mlp)\.experts\.(\d+)\.(\w+)\.weight$/.exec(name);
  if (expert) {
    const [, mlp, index, projection] = expert;
    if (found.has(`${mlp}.experts.0.${projection}.weight`)) return [name, shape];
    return index === "0" ? [`${mlp}.switch_mlp.${projection}.weight`, [c.n_routed_experts, ...shape]] : undefined;
  }
  if (!name.endsWith(".kv_b_proj.weight") || found.has(name)) return [name, shape];
  return [name.replace(/kv_b_proj(?=\.weight$)/, "embed_q"), embedShape(c)];
}

/** Of what makes keys of the compressed vector, transposed: `[heads, rank, head size]`. */
const embedShape = (c: LlmConfig) => [c.num_attention_heads, c.kv_lora_rank, c.qk_nope_head_dim];
/** Of what makes values of it. */
const unembedShape = (c: LlmConfig) => [c.num_attention_heads, c.v_head_dim, c.kv_lora_rank];

function addModule(
  layout: Map<string, ExpectedTensor>,
  name: string,
  shape: readonly number[],
  { quantization }: LlmConfig,
  found: Names,
): void {
  const module = name.replace(/\.weight$/, "");
  const isMatrix = quantization && shape.length > 1;
  const format = isMatrix && affineFormatOf(quantization, module, found.has(`${module}.scales`));
  const k = shape.at(-1)!;
  if (!format || k % format.group_size !== 0) {
    layout.set(name, { shape, dtypes: floats });
    return;
  }
  const lead = shape.slice(0, -1);
  layout.set(name, { shape: [...lead, (k * format.bits) / 32], dtypes: ["u32"] });
  for (const part of ["scales", "biases"])
    layout.set(`${module}.${part}`, { shape: [...lead, k / format.group_size], dtypes: floats });
}
