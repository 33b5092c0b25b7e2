import { access, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CaracalError, throwIfAborted } from "../../lib/errors.js";
import { type PresetName, preset } from "../../lib/synth/presets.js";
import { quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { randomContents } from "./blocks.js";
import { equalWorkModel, type GgufModel } from "./deepseek2.js";
import { writeGguf } from "./gguf.js";
import type { OurWeights, Pair } from "./rows.js";

/** The two models of a pair on disk. */
export interface ModelFiles {
  /** A checkpoint directory. */
  readonly ours: string;
  /** A GGUF file. */
  readonly theirs: string;
}

/** A folder of models: one that is kept, or a temporary one that is removed at the end. */
export class ModelFolder implements AsyncDisposable {
  readonly path: string;
  readonly #kept: boolean;

  private constructor(path: string, kept: boolean) {
    this.path = path;
    this.#kept = kept;
  }

  /** @throws {CaracalError} `IO_ERROR` when the folder that is to be kept does not exist */
  static async open(kept: string | undefined): Promise<ModelFolder> {
    if (kept === undefined) return new ModelFolder(await mkdtemp(join(tmpdir(), "caracal-bench-")), false);
    if (await exists(kept)) return new ModelFolder(kept, true);
    throw new CaracalError("IO_ERROR", `${kept} does not exist: create the folder first`, { directory: kept });
  }

  /** Writes the models that are not there yet. @throws {CaracalError} `IO_ERROR`, `ABORTED` */
  async write({ preset: name, ours, theirs }: Pair, signal: AbortSignal): Promise<ModelFiles> {
    const files = {
      ours: join(this.path, `${name}-${ours.quantized ?? ours.matrices}`),
      theirs: join(this.path, `${name}-${theirs}.gguf`),
    };
    for (const file of [files.ours, files.theirs]) {
      if (await exists(file)) continue;
      process.stderr.write(`writing ${file} …\n`);
      if (file === files.ours) await this.#writeOurs(file, name, ours, signal);
      else await writeRandom(file, equalWorkModel(preset(name).llm, theirs), signal);
    }
    return files;
  }

  async #writeOurs(file: string, preset: PresetName, { matrices, quantized }: OurWeights, signal: AbortSignal) {
    if (!quantized) return await synthesize(file, { preset, matrices, signal });
    const plain = `${file}-source`;
    try {
      await synthesize(plain, { preset, matrices, signal });
      await quantizeCheckpoint(plain, file, { format: quantized, group: 64, signal });
    } finally {
      await rm(plain, { recursive: true, force: true });
    }
  }

  /** Removes what is not needed any more of a folder that is not kept. */
  async discard({ ours, theirs }: ModelFiles): Promise<void> {
    if (this.#kept) return;
    await rm(ours, { recursive: true, force: true });
    await rm(theirs, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#kept) await rm(this.path, { recursive: true, force: true });
  }
}

async function writeRandom(file: string, { metadata, tensors }: GgufModel, signal: AbortSignal): Promise<void> {
  const partial = `${file}.partial`;
  await rm(partial, { force: true }); // of a call that was killed
  try {
    await writeGguf(partial, metadata, tensors, randomContents(), () => throwIfAborted(signal, "writing a model"));
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
