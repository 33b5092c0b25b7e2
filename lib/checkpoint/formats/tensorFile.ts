import type { TensorEntry } from "../entry.js";
import type { OpenOptions } from "./file.js";
import { openSafetensors } from "./safetensors.js";
import { openTorchArchive } from "./torch.js";

/** The tensors of one file, or of several shards together. */
export interface TensorFile {
  readonly entries: readonly TensorEntry[];
  /** Free text by key. Torch archives have none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Opens a `.pt` file with {@link openTorchArchive}, and anything else with {@link openSafetensors}. */
export async function openTensorFile(path: string, options: OpenOptions = {}): Promise<TensorFile> {
  return path.endsWith(".pt")
    ? { entries: await openTorchArchive(path, options), metadata: {} }
    : openSafetensors(path, options);
}
