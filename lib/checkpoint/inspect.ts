import { basename, relative } from "node:path";
import { checkOptions, checkPath } from "../options.js";
import { Turns } from "../turns.js";
import { type CheckpointSurvey, type OpenCheckpointOptions, surveyCheckpoint } from "./directory.js";
import { type EntryDType, elementCount, type TensorEntry } from "./entry.js";
import { isDirectory } from "./formats/file.js";
import { openTensorFile } from "./formats/tensorFile.js";
import { plural } from "./problems.js";
import { affineFormatOf, type MlxQuantization } from "./quantization.js";
import { openCheckpointOptions } from "./survey.js";

/** Options of {@link inspectPath}; `strict` concerns directories. */
export type InspectOptions = Omit<OpenCheckpointOptions, "onWarning">;
const { onWarning: _, ...inspectOptions } = openCheckpointOptions;

/** Totals over a set of tensors. */
export interface TensorTotals {
  readonly tensors: number;
  /** Elements of all tensors. Of a matrix in MLX's format, its weights count, not the words, scales and biases. */
  readonly parameters: number;
  readonly bytes: number;
  readonly dtypes: readonly EntryDType[];
}

export interface PartSummary extends TensorTotals {
  readonly name: string;
  /** The file, relative to the directory; for several shards, their number. */
  readonly file: string;
  /** The number of tensors that this library does not use. */
  readonly unused: number;
}

/** The contents of a model directory. */
export interface DirectoryInspection {
  readonly kind: "directory";
  readonly path: string;
  readonly parts: readonly PartSummary[];
  readonly total: TensorTotals;
  readonly configs: CheckpointSurvey["configs"];
  /** True if `caracal synth` wrote the directory, so that its weights are random. */
  readonly synthetic: boolean;
  /** Everything missing, misshapen or inconsistent; empty if the directory can be loaded. */
  readonly problems: readonly string[];
  /** What is odd but does not prevent loading: tensors that the library does not know. With `strict`, a problem. */
  readonly warnings: readonly string[];
}

/** The contents of one file of tensors, or of an index and its shards. */
export interface FileInspection {
  readonly kind: "file";
  readonly path: string;
  readonly tensors: readonly TensorEntry[];
  readonly total: TensorTotals;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Describes a model directory, a `.safetensors` file, an `*.index.json` or a `.pt` file, reading headers only. A faulty
 * directory is described too, along with its problems.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when `path` does not exist or is a faulty file, `INVALID_ARGUMENT` when it
 *   is no path or an option is unknown, `IO_ERROR`, `ABORTED`
 */
export async function inspectPath(
  path: string,
  options: InspectOptions = {},
): Promise<DirectoryInspection | FileInspection> {
  checkOptions("inspectPath", options, inspectOptions);
  checkPath("inspectPath", "path", path);
  return (await isDirectory(path)) ? inspectDirectory(path, options) : inspectFile(path, options);
}

async function inspectDirectory(path: string, options: InspectOptions): Promise<DirectoryInspection> {
  const survey = await surveyCheckpoint(path, options);
  const quantization = survey.configs.llm?.quantization;
  const parts = survey.parts.map((part): PartSummary => {
    const files = new Set([...part.entries, ...part.unused].map((entry) => entry.file));
    const file = files.size === 1 ? relative(path, [...files][0]!) : plural(files.size, "shard");
    return { name: part.name, file, unused: part.unused.length, ...totals(part.entries, quantization) };
  });
  const total = totals(
    survey.parts.flatMap((part) => part.entries),
    quantization,
  );
  const { configs, synthetic, problems, warnings } = survey;
  return { kind: "directory", path, parts, total, configs, synthetic, problems, warnings };
}

async function inspectFile(path: string, { signal }: InspectOptions): Promise<FileInspection> {
  const { entries, metadata } = await openTensorFile(path, { signal });
  const tensors: TensorEntry[] = [];
  const turns = new Turns(`listing the tensors of ${path}`, signal);
  for (const entry of entries) {
    const { version: _, ...described } = entry; // of the moment only
    tensors.push({ ...described, file: basename(entry.file) });
    if (turns.due) await turns.next();
  }
  return { kind: "file", path, tensors, total: totals(entries), metadata };
}

function totals(entries: readonly TensorEntry[], quantization?: MlxQuantization): TensorTotals {
  return {
    tensors: entries.length,
    parameters: entries.reduce((sum, entry) => sum + parameters(entry, quantization), 0),
    bytes: entries.reduce((sum, { byteLength }) => sum + byteLength, 0),
    dtypes: [...new Set(entries.map(({ dtype }) => dtype))].sort(),
  };
}

function parameters({ name, dtype, shape }: TensorEntry, quantization: MlxQuantization | undefined): number {
  const [, module, part] = /^(.*)\.(weight|scales|biases)$/.exec(name) ?? [];
  const format = module !== undefined && quantization && affineFormatOf(quantization, module, true);
  if (!format || (part === "weight" && dtype !== "u32")) return elementCount(shape);
  return part === "weight" ? (elementCount(shape) * 32) / format.bits : 0;
}
