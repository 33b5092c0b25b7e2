import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../lib/checkpoint/directory.js";
import { Llm, type LlmOptions } from "../../lib/model/language/llm.js";
import { Weights } from "../../lib/model/weights.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import type { Device } from "../../lib/tensor/tensor.js";

/** Makes a directory with a tiny synthetic checkpoint, removed after the file's tests. */
export async function tinyDirectory(seed = 1): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "caracal-tiny-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const directory = join(folder, "model");
  await synthesize(directory, { preset: "tiny", seed });
  return directory;
}

export async function tinyLlm(device: Device, checkpoint: Checkpoint | string, options: LlmOptions = {}): Promise<Llm> {
  const { llm } = typeof checkpoint === "string" ? await openCheckpoint(checkpoint) : checkpoint;
  return Llm.load(Weights.of(device, { "": llm.tensors.values() }), llm.config, { kvCacheTokens: 1024, ...options });
}
