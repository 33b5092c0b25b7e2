import { stat } from "node:fs/promises";
import { basename, relative } from "node:path";
import { CaracalError } from "../errors.js";
import { type CheckpointSurvey, surveyCheckpoint } from "./directory.js";
import { type EntryDType, elementCount, type TensorEntry } from "./entry.js";
import { type OpenOptions, openSafetensors } from "./safetensors.js";
import { openTorchArchive } from "./torch.js";

/** Totals over some tensors. */
export interface TensorTotals {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly dtypes: readonly EntryDType[];
}

export interface PartSummary extends TensorTotals {
  readonly name: string;
  /** Relative to the directory; of the language model, how many shards there are. */
  readonly file: string;
  readonly unused: number;
}

/** What a model directory holds. */
export interface DirectoryInspection {
  readonly kind: "directory";
  readonly path: string;
  readonly parts: readonly PartSummary[];
  readonly total: TensorTotals;
  readonly configs: CheckpointSurvey["configs"];
  /** Everything missing, misshapen or inconsistent; empty when the directory can be loaded. */
  readonly problems: readonly string[];
}

/** What one file of tensors holds. */
export interface FileInspection {
  readonly kind: "file";
  readonly path: string;
  readonly tensors: readonly TensorEntry[];
  readonly total: TensorTotals;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Looks into a model directory, a `.safetensors` file, an `*.index.json` or a `.pt` file, headers only. A directory
 * with something wrong is described all the same, with its problems; an unreadable file is `CHECKPOINT_INVALID`.
 */
export async function inspectPath(
  path: string,
  options: OpenOptions = {},
): Promise<DirectoryInspection | FileInspection> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new CaracalError("INVALID_ARGUMENT", `${path}: no such file or directory`, { path });
  return found.isDirectory() ? inspectDirectory(path, options) : inspectFile(path, options);
}

async function inspectDirectory(path: string, options: OpenOptions): Promise<DirectoryInspection> {
  const survey = await surveyCheckpoint(path, options);
  const parts = survey.parts.map((part): PartSummary => {
    const files = new Set([...part.entries, ...part.unused].map((entry) => entry.file));
    const only = files.size === 1 ? relative(path, [...files][0]!) : `${files.size} shards`;
    return { name: part.name, file: only, unused: part.unused.length, ...totals(part.entries) };
  });
  const total = totals(survey.parts.flatMap((part) => part.entries));
  return { kind: "directory", path, parts, total, configs: survey.configs, problems: survey.problems };
}

async function inspectFile(path: string, options: OpenOptions): Promise<FileInspection> {
  const { entries, metadata } = path.endsWith(".pt")
    ? { entries: await openTorchArchive(path, options), metadata: {} }
    : await openSafetensors(path, options);
  const tensors = entries.map((entry) => ({ ...entry, file: basename(entry.file) }));
  return { kind: "file", path, tensors, total: totals(entries), metadata };
}

function totals(entries: readonly TensorEntry[]): TensorTotals {
  return {
    tensors: entries.length,
    parameters: entries.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    bytes: entries.reduce((sum, { byteLength }) => sum + byteLength, 0),
    dtypes: [...new Set(entries.map(({ dtype }) => dtype))].sort(),
  };
}
