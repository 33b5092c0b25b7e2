import { Command } from "commander";
import {
  type DirectoryInspection,
  type FileInspection,
  inspectPath,
  type TensorTotals,
} from "../checkpoint/inspect.js";
import { plural } from "../checkpoint/problems.js";
import { printable } from "../errors.js";
import { jsonOption, strictOption } from "./options.js";
import { alignColumns } from "./table.js";

/** `caracal inspect PATH`: shows the contents of a model directory or a file of tensors. Exits with 1 if it is faulty. */
export function inspectCommand(): Command {
  return new Command("inspect")
    .description("show the contents of a model directory, or of a .safetensors, .index.json or .pt file")
    .argument("<path>", "directory or file")
    .addOption(strictOption())
    .addOption(jsonOption())
    .action(async (path: string, { json, strict }: { json?: true; strict?: true }) => {
      const found = await inspectPath(path, { strict });
      process.stdout.write(`${json ? JSON.stringify(found, null, 2) : describe(found).join("\n")}\n`);
      if (found.kind === "directory" && found.problems.length > 0) process.exitCode = 1;
    });
}

function describe(found: DirectoryInspection | FileInspection): string[] {
  return found.kind === "directory" ? describeDirectory(found) : describeFile(found);
}

function describeDirectory({
  path,
  parts,
  total,
  configs,
  synthetic,
  problems,
  warnings,
}: DirectoryInspection): string[] {
  const header = ["part", "file", "tensors", "parameters", "dtypes", "size", ""];
  const rows = parts.map((part) => {
    return [part.name, part.file, ...columns(part), part.unused ? `${part.unused} unused` : ""];
  });
  return [
    path,
    "",
    ...alignColumns([header, ...rows, ["total", "", ...columns(total), ""]], [2, 3, 5]),
    "",
    ...alignColumns(describeConfigs(configs)),
    "",
    ...(synthetic ? ["The weights are random (`caracal synth`): the model's output means nothing."] : []),
    ...describeList("warning", warnings),
    ...describeList("problem", problems),
    ...(problems.length === 0 ? ["No problems found: the model can be loaded."] : []),
  ];
}

function describeList(kind: "warning" | "problem", lines: readonly string[]): string[] {
  return lines.length === 0
    ? []
    : [`${plural(lines.length, kind)}:`, ...lines.map((line) => `  - ${line.split("\n").map(printable).join("\n")}`)];
}

function describeFile({ path, tensors, total, metadata }: FileInspection): string[] {
  const rows = tensors.map((t) => [t.name, t.dtype, `[${t.shape.join(", ")}]`, size(t.byteLength)]);
  return [
    path,
    `${plural(total.tensors, "tensor")}, ${count(total.parameters)} parameters, ${size(total.bytes)}`,
    ...Object.entries(metadata).map(([key, value]) => printable(`  ${key}: ${value}`)),
    "",
    ...alignColumns([["tensor", "dtype", "shape", "size"], ...rows], [3]),
  ];
}

function describeConfigs({ llm, vision, audio, codec }: DirectoryInspection["configs"]): string[][] {
  const rows: string[][] = [];
  if (llm) {
    const { num_layers, hidden_size, n_routed_experts, zero_expert_num, moe_topk, vocab_size } = llm;
    const experts = `top ${moe_topk} of ${n_routed_experts} experts and ${zero_expert_num} zero experts`;
    rows.push(["language model", `${num_layers} layers, width ${hidden_size}, ${experts}, vocabulary ${vocab_size}`]);
  }
  if (vision) {
    const { num_hidden_layers, hidden_size, num_attention_heads, patch_size } = vision;
    const heads = `${num_attention_heads} heads, ${patch_size}×${patch_size} patches`;
    rows.push(["vision", `${num_hidden_layers} layers, width ${hidden_size}, ${heads}`]);
  }
  if (audio) {
    const { nlayer, proj_size, left_order, right_order, num_right_layers } = audio;
    const memory = `memory of ${left_order} steps back and, in the last ${num_right_layers} layers, ${right_order} ahead`;
    rows.push(["audio", `${nlayer} FSMN layers, width ${proj_size}, ${memory}`]);
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
