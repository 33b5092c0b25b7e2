import type { LlmConfig } from "../checkpoint/config.js";
import type { TensorEntry, TensorMap } from "../checkpoint/entry.js";
import { fp8Block, llmLayout } from "../checkpoint/layout.js";
import type { AffineFormat } from "../checkpoint/quantization.js";
import type { TensorHead } from "./safetensors.js";
import { allRows, type StoredRows } from "./storedRows.js";

/** The formats to which `caracal quantize` converts. */
export type QuantizeFormat = "fp8" | "int8" | "int4";
/** Their names. */
export const quantizeFormats = ["fp8", "int8", "int4"] as const satisfies readonly QuantizeFormat[];

/** How the modules are named and stacked: as published, or as mlx-lm saves them. */
export type QuantizeLayout = "published" | "mlx";

export interface QuantizeTarget {
  readonly format: QuantizeFormat;
  readonly layout: QuantizeLayout;
  /** The columns that share a scale, for int8 and int4. */
  readonly group: AffineFormat["group_size"];
}

/** Some rows of a matrix of the source. */
export interface SourceRows extends StoredRows {
  /** Of an FP8 matrix. */
  readonly scale: TensorEntry | undefined;
  /** Whether rows become columns. */
  readonly transposed: boolean;
}

/** A module of the target: its tensors, and the rows of the source that make them up, one after the other. */
export interface PlannedModule {
  readonly outputs: readonly TensorHead[];
  readonly parts: readonly SourceRows[];
  /** How the rows are quantised; `undefined` if they are kept. */
  readonly format: "fp8" | AffineFormat | undefined;
}

/** What `quantizeCheckpoint` writes: the modules of the language model in order, and their exceptions from the format. */
export interface QuantizePlan {
  readonly modules: readonly PlannedModule[];
  /** The formats of modules that mlx-lm would not derive from the common one. */
  readonly exceptions: Readonly<Record<string, AffineFormat>>;
}

/** The router keeps 8 bits, as mlx-lm's class of this model asks. */
const routerFormat: AffineFormat = { group_size: 64, bits: 8 };

/** @param entries the tensors of the source, in the published layout */
export function planQuantization(entries: TensorMap, config: LlmConfig, target: QuantizeTarget): QuantizePlan {
  const planner = new Planner(entries, config, target);
  for (const [name, { scales, dtypes }] of llmLayout(config))
    if (scales === undefined) planner.add(name, dtypes.includes("f8e4m3"));
  return { modules: planner.modules, exceptions: planner.exceptions };
}

class Planner {
  readonly modules: PlannedModule[] = [];
  readonly exceptions: Record<string, AffineFormat> = {};
  readonly #entries: TensorMap;
  readonly #config: LlmConfig;
  readonly #target: QuantizeTarget;

  constructor(entries: TensorMap, config: LlmConfig, target: QuantizeTarget) {
    this.#entries = entries;
    this.#config = config;
    this.#target = target;
  }

  /** @param mayBeFp8 whether published FP8 checkpoints may quantise the tensor */
  add(name: string, mayBeFp8: boolean): void {
    const expert = /^(.*\.mlp)\.experts\.(\d+)\.(\w+)\.weight$/.exec(name);
    const isMlx = this.#target.layout === "mlx";
    if (isMlx && expert) {
      if (expert[2] === "0") this.#addStack(expert[1]!, expert[3]!);
    } else if (isMlx && name.endsWith(".kv_b_proj.weight")) this.#addHeads(name);
    else {
      const shape = this.#entries.get(name)!.shape;
      this.#addModule(name.replace(/\.weight$/, ""), [this.#whole(name)], shape, { name, mayBeFp8 });
    }
  }

  /** All experts of a layer in one tensor. */
  #addStack(mlp: string, projection: string): void {
    const { n_routed_experts: experts } = this.#config;
    const parts = Array.from({ length: experts }, (_, e) => this.#whole(`${mlp}.experts.${e}.${projection}.weight`));
    this.#addModule(`${mlp}.switch_mlp.${projection}`, parts, [experts, ...parts[0]!.entry.shape]);
  }

  /** The two halves of `kv_b_proj`, head by head: what makes keys, transposed, and what makes values. */
  #addHeads(name: string): void {
    const { num_attention_heads: heads, qk_nope_head_dim: nope, v_head_dim: v, kv_lora_rank: rank } = this.#config;
    const whole = this.#whole(name);
    const parts = (offset: number, rows: number, transposed: boolean) =>
      Array.from({ length: heads }, (_, h) => ({ ...whole, from: h * (nope + v) + offset, rows, transposed }));
    const attention = name.replace(/\.kv_b_proj\.weight$/, "");
    this.#addModule(`${attention}.embed_q`, parts(0, nope, true), [heads, rank, nope]);
    this.#addModule(`${attention}.unembed_out`, parts(nope, v, false), [heads, v, rank]);
  }

  #whole(name: string): SourceRows {
    const entry = this.#entries.get(name)!;
    const scale = this.#entries.get(`${name}_scale_inv`);
    return { ...allRows(entry), scale, transposed: false };
  }

  #addModule(
    module: string,
    parts: readonly SourceRows[],
    shape: readonly number[],
    { name = `${module}.weight`, mayBeFp8 = false } = {},
  ): void {
    const format = this.#target.format === "fp8" ? (mayBeFp8 ? "fp8" : undefined) : this.#affineFormat(name, shape);
    // What is read of FP8 is rounded to bf16.
    const stored = parts[0]!.entry.dtype;
    const dtype = stored === "f8e4m3" ? "bf16" : stored;
    if (format === undefined) this.modules.push({ parts, format, outputs: [{ name, dtype, shape }] });
    else if (format === "fp8") {
      const blocks = shape.map((size) => Math.ceil(size / fp8Block));
      const outputs: TensorHead[] = [
        { name, dtype: "f8e4m3", shape },
        { name: `${name}_scale_inv`, dtype: "f32", shape: blocks },
      ];
      this.modules.push({ parts, format, outputs });
    } else {
      const [lead, k] = [shape.slice(0, -1), shape.at(-1)!];
      const groups = [...lead, k / format.group_size];
      const outputs: TensorHead[] = [
        { name, dtype: "u32", shape: [...lead, (k * format.bits) / 32] },
        { name: `${module}.scales`, dtype, shape: groups },
        { name: `${module}.biases`, dtype, shape: groups },
      ];
      if (format === routerFormat) this.exceptions[module] = format;
      this.modules.push({ parts, format, outputs });
    }
  }

  /** As of mlx-lm: all matrices, the embedding and the head included, are quantised if their rows are whole groups. */
  #affineFormat(name: string, shape: readonly number[]): AffineFormat | undefined {
    const { format, group } = this.#target;
    const k = shape.at(-1)!;
    if (shape.length < 2 || k % group !== 0) return undefined;
    if (name.endsWith(".router.classifier.weight")) return k % routerFormat.group_size === 0 ? routerFormat : undefined;
    return { group_size: group, bits: format === "int4" ? 4 : 8 };
  }
}
