// What a quantised directory holds, read and computed by other means than the library's.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../../lib/checkpoint/directory.js";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import { openLlm } from "../../lib/checkpoint/parts.js";
import { affineFormatOf } from "../../lib/checkpoint/quantization.js";
import { Llm } from "../../lib/model/language/llm.js";
import { planTensors } from "../../lib/synth/plan.js";
import { preset } from "../../lib/synth/presets.js";
import { tensorBytes } from "../../lib/synth/random.js";
import { type TensorHead, writeShards } from "../../lib/synth/safetensors.js";
import { Progress } from "../../lib/synth/writer.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { bf16 } from "../support/numbers.js";

export const openLlmOf = (directory: string): Promise<Checkpoint["llm"]> => openLlm(directory, { strict: true });

export function bytesOf({ file, offset, byteLength }: TensorEntry): Buffer {
  return Buffer.from(readFileSync(file).subarray(offset, offset + byteLength));
}

/** The values of a tensor of f32 or bf16. */
export function valuesOf(entry: TensorEntry): Float32Array {
  const bytes = bytesOf(entry);
  const { buffer, byteOffset } = new Uint8Array(bytes);
  if (entry.dtype === "f32") return new Float32Array(buffer, byteOffset, bytes.length / 4);
  if (entry.dtype !== "bf16") throw new Error(`${entry.name} is ${entry.dtype}`);
  const wide = Uint32Array.from(new Uint16Array(buffer, byteOffset, bytes.length / 2), (half) => half * 2 ** 16);
  return new Float32Array(wide.buffer);
}

function fp8Value(code: number): number {
  const magnitude = code & 127;
  const value = magnitude < 8 ? magnitude * 2 ** -9 : (8 + (magnitude & 7)) * 2 ** ((magnitude >> 3) - 10);
  return code & 128 ? -value : value;
}

/** The weights of a tensor, whatever its format. */
export function weightsOf(
  { tensors, config }: Checkpoint["llm"],
  name: string,
): { shape: readonly number[]; values: Float32Array } {
  const entry = tensors.get(name)!;
  const module = name.replace(/\.weight$/, "");
  const [scale, affine] = [tensors.get(`${name}_scale_inv`), tensors.get(`${module}.scales`)];
  if (scale) {
    const [k, across] = [entry.shape[1]!, scale.shape[1]!];
    const scales = valuesOf(scale);
    const values = Float32Array.from(bytesOf(entry), (code, i) => {
      return fp8Value(code) * scales[Math.floor(i / k / 128) * across + Math.floor((i % k) / 128)]!;
    });
    return { shape: entry.shape, values };
  }
  if (!affine) return { shape: entry.shape, values: valuesOf(entry) };
  const [scales, biases] = [valuesOf(affine), valuesOf(tensors.get(`${module}.biases`)!)];
  const codes = bytesOf(entry);
  const { bits } = affineFormatOf(config.quantization!, module, true)!;
  const count = (codes.length * 8) / bits;
  const group = count / scales.length;
  const values = Float32Array.from({ length: count }, (_, i) => {
    const code = bits === 8 ? codes[i]! : (codes[i >> 1]! >> (4 * (i & 1))) & 15;
    const g = Math.floor(i / group);
    return scales[g]! * code + biases[g]!;
  });
  return { shape: [...entry.shape.slice(0, -1), (entry.shape.at(-1)! * 32) / bits], values };
}

/** Writes a directory whose language model has the weights of another, as f32 in the published layout. */
export async function writeReference(source: string, directory: string): Promise<void> {
  const llm = await openLlmOf(source);
  const { config, tensors } = llm;
  const rows = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  const module = (name: string) => weightsOf(llm, name);
  for (const name of tensors.keys()) {
    if (/_scale_inv$|\.scales$|\.biases$|\.unembed_out\./.test(name)) continue;
    const { shape, values } = module(name);
    // Of these, bf16 is computed when they are loaded.
    const isNarrow =
      /embed_tokens|classifier|kv_b_proj|embed_q/.test(name) && tensors.has(name.replace("weight", "scales"));
    const kept = isNarrow ? values.map(bf16) : values;
    if (name.includes("switch_mlp"))
      for (let e = 0; e < shape[0]!; e++) {
        const size = kept.length / shape[0]!;
        const expert = name.replace("switch_mlp", `experts.${e}`);
        rows.set(expert, { shape: shape.slice(1), values: kept.slice(e * size, (e + 1) * size) });
      }
    else if (name.includes("embed_q")) {
      const out = module(name.replace("embed_q", "unembed_out"));
      const isOutNarrow = tensors.has(name.replace("embed_q.weight", "unembed_out.scales"));
      const { num_attention_heads: heads, qk_nope_head_dim: nope, v_head_dim: v, kv_lora_rank: rank } = config;
      const joined = new Float32Array(heads * (nope + v) * rank);
      for (let h = 0; h < heads; h++) {
        const at = h * (nope + v) * rank;
        for (let r = 0; r < rank; r++)
          for (let n = 0; n < nope; n++) joined[at + n * rank + r] = kept[(h * rank + r) * nope + n]!;
        const head = out.values.subarray(h * v * rank, (h + 1) * v * rank);
        joined.set(isOutNarrow ? head.map(bf16) : head, at + nope * rank);
      }
      rows.set(name.replace("embed_q", "kv_b_proj"), { shape: [heads * (nope + v), rank], values: joined });
    } else rows.set(name, { shape, values: kept });
  }
  const heads: TensorHead[] = [...rows].map(([name, { shape }]) => ({ name, dtype: "f32", shape }));
  const read = ({ name }: TensorHead) => [new Uint8Array(rows.get(name)!.values.slice().buffer)];
  await writeShards(directory, heads, read, new Progress(0));
}

/** A directory with nothing but a small language model, whose matrices have rows of whole groups of 64. */
export async function writeWideModel(directory: string): Promise<void> {
  const base = preset("tiny");
  const wide = { hidden_size: 128, q_lora_rank: 64, kv_lora_rank: 64, qk_nope_head_dim: 64, v_head_dim: 64 };
  const llm = { ...base.llm, ...wide, num_layers: 1, expert_ffn_hidden_size: 192, n_routed_experts: 4 };
  mkdirSync(directory);
  const fixed = { attention_method: "MLA", zero_expert_type: "identity", hidden_act: "silu", torch_dtype: "bfloat16" };
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...fixed, ...llm }));
  const tensors = planTensors({ ...base, llm }, 800).llm;
  await writeShards(directory, tensors, (tensor) => tensorBytes(tensor, 2), new Progress(0));
}

/** The files of a directory, as digests of their bytes. */
export function filesOf(directory: string): Map<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  const files = names.filter((name) => statSync(join(directory, name)).isFile());
  const digest = (name: string) =>
    createHash("sha256")
      .update(readFileSync(join(directory, name)))
      .digest("hex");
  return new Map(files.map((name) => [name, digest(name)]));
}

/** The logits of every position of a text. */
export async function logitsOf(directory: string, device: Device, ids: readonly number[]): Promise<Float32Array> {
  using llm = await Llm.open(directory, { device, kvCacheTokens: 256, onWarning: () => {} });
  using sequence = llm.cache.sequence();
  using embeddings = llm.embed(ids);
  using hidden = await llm.prefill([{ sequence, embeddings }], { rows: "all" });
  using logits = llm.logits(hidden);
  return await logits.toFloat32Array();
}
