import { Command } from "commander";
import type { CheckpointSurvey } from "../checkpoint/directory.js";
import {
  type DirectoryInspection,
  type FileInspection,
  inspectPath,
  type TensorTotals,
} from "../checkpoint/inspect.js";
import { printable } from "../checkpoint/problems.js";

/** `caracal inspect PATH [--json]`: what a model directory or a file of tensors holds; exits 1 if it is faulty. */
export function inspectCommand(): Command {
  return new Command("inspect")
    .description("show what a model directory, .safetensors, .index.json or .pt file holds")
    .argument("<path>", "a directory or file")
    .option("--json", "print one JSON object")
    .action(async (path: string, { json }: { json?: boolean }) => {
      const found = await inspectPath(path);
      console.log(json ? JSON.stringify(found, null, 2) : describe(found));
      if (found.kind === "directory" && found.problems.length > 0) process.exitCode = 1;
    });
}

function describe(found: DirectoryInspection | FileInspection): string {
  return found.kind === "directory" ? describeDirectory(found) : describeFile(found);
}

function describeDirectory({ path, parts, total, configs, problems }: DirectoryInspection): string {
  const rows = parts.map((part) => [
    part.name,
    part.file,
    ...columns(part),
    part.unused ? `${part.unused} unused` : "",
  ]);
  const header = ["part", "file", "tensors", "parameters", "dtype", "size", ""];
  const table = align([header, ...rows, ["total", "", ...columns(total), ""]], [2, 3, 5]);
  const wrong = problems.map((problem) => `  - ${problem}`).join("\n");
  const verdict = wrong
    ? `${problems.length} problem${problems.length > 1 ? "s" : ""}:\n${wrong}`
    : "Complete: it can be loaded.";
  return [path, "", table, "", align(describeConfigs(configs), []), "", verdict].join("\n");
}

function describeFile({ path, tensors, total, metadata }: FileInspection): string {
  const rows = tensors.map((t) => [t.name, t.dtype, `[${t.shape.join(", ")}]`, size(t.byteLength)]);
  const notes = Object.entries(metadata).map(([key, value]) => printable(`  ${key}: ${value}`));
  const sum = `${total.tensors} tensors, ${count(total.parameters)} parameters, ${size(total.bytes)}`;
  return [path, sum, ...notes, "", align([["tensor", "dtype", "shape", "size"], ...rows], [3])].join("\n");
}

function describeConfigs({ llm, vision, audio, codec }: CheckpointSurvey["configs"]): string[][] {
  const rows: string[][] = [];
  if (llm) {
    const { num_layers, hidden_size, n_routed_experts, zero_expert_num, moe_topk, vocab_size } = llm;
    const experts = `${n_routed_experts} + ${zero_expert_num} zero experts, top ${moe_topk}`;
    rows.push(["language model", `${num_layers} layers of ${hidden_size}, ${experts}, vocabulary ${vocab_size}`]);
  }
  if (vision) {
    const { num_hidden_layers, hidden_size, num_attention_heads, patch_size } = vision;
    const heads = `${num_attention_heads} heads, patches of ${patch_size}×${patch_size}`;
    rows.push(["vision", `${num_hidden_layers} layers of ${hidden_size}, ${heads}`]);
  }
  if (audio) {
    const { nlayer, proj_size, left_order, right_order, num_right_layers } = audio;
    const memory = `memory of ${left_order} back and, in the last ${num_right_layers}, ${right_order} ahead`;
    rows.push(["audio", `${nlayer} FSMN layers of ${proj_size}, ${memory}`]);
  }
  if (codec) {
    const { decoder_type, semantic_token_nums, codec_codebooks, codec_codebook_size } = codec;
    const books = `${semantic_token_nums} semantic and ${codec_codebooks} × ${codec_codebook_size}² acoustic codes`;
    rows.push(["speech", `${decoder_type} decoder, ${books}`]);
  }
  return rows;
}

function columns({ tensors, parameters, dtypes, bytes }: TensorTotals): string[] {
  return [String(tensors), count(parameters), dtypes.join(" "), size(bytes)];
}

/** Pads the cells of each column to one width; columns in `right` are set flush right. */
function align(rows: readonly (readonly string[])[], right: readonly number[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const pad = (cell: string, i: number) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => row.map(printable).map(pad).join("  ").trimEnd()).join("\n");
}

/** 1234567 → "1.23 M". */
function count(value: number): string {
  return scaled(value, 1000, ["", " k", " M", " G", " T"]);
}

function size(bytes: number): string {
  return scaled(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let unit = 0;
  for (; value >= step && unit < units.length - 1; unit++) value /= step;
  return `${unit === 0 ? value : value.toPrecision(value < 1000 ? 3 : 4)}${units[unit]}`;
}
