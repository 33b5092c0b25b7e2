import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { CaracalError } from "../../lib/errors.js";

// The part of node-llama-cpp's native binding that is used here (dist/bindings/AddonTypes.d.ts of node-llama-cpp). The
// package with its binaries is loaded without the one around it: that adds no function which the comparison needs, and it
// could build or download a llama.cpp, which this cannot.

export interface LlamaCpp {
  readonly AddonModel: new (path: string, options: { gpuLayers: number; useMmap: boolean }) => AddonModel;
  readonly AddonContext: new (model: AddonModel, options: ContextOptions) => AddonContext;
  init(): Promise<void>;
  /** Loads the ggml backends beside the addon, or in a folder. */
  loadBackends(folder?: string): void;
  /** 2: errors only */
  setLoggerLogLevel(level: number): void;
  systemInfo(): string;
}

export interface AddonModel {
  init(): Promise<boolean>;
  dispose(): Promise<void>;
  getTotalSize(): number;
  getTotalParameters(): number;
}

export interface ContextOptions {
  /** Tokens over all sequences, in equal parts. */
  readonly contextSize: number;
  readonly sequences: number;
  readonly batchSize: number;
  readonly threads: number;
  readonly flashAttention: boolean;
}

export interface AddonContext {
  init(): Promise<boolean>;
  dispose(): Promise<void>;
  initBatch(tokens: number): void;
  /** @param logits which of the tokens' logits are computed */
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logits: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  removeTokenCellsFromSequence(sequence: number, from: number, to: number): boolean;
  copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
}

const peerPackage = "@node-llama-cpp/linux-x64";

/** The folder of llama.cpp's binaries, if their package is installed. */
export function findLlamaCpp(): { readonly folder: string; readonly version: string } | undefined {
  const require = createRequire(import.meta.url);
  try {
    const folder = dirname(dirname(require.resolve(peerPackage)));
    const { version } = require(join(folder, "package.json")) as { version: string };
    return { folder: join(folder, "bins/linux-x64"), version };
  } catch {
    return undefined;
  }
}

/** @throws {CaracalError} `UNSUPPORTED` when the package is not installed */
export function needLlamaCpp(): { readonly folder: string; readonly version: string } {
  const found = findLlamaCpp();
  if (found) return found;
  throw new CaracalError(
    "UNSUPPORTED",
    `llama.cpp is not installed: \`npm install ${peerPackage}\` brings it, on Linux with glibc on x64`,
  );
}

/** Loads llama.cpp for this processor. @throws {CaracalError} `UNSUPPORTED` */
export async function loadLlamaCpp(): Promise<LlamaCpp> {
  const { folder } = needLlamaCpp();
  const llama = createRequire(import.meta.url)(join(folder, "llama-addon.node")) as LlamaCpp;
  llama.setLoggerLogLevel(2);
  llama.loadBackends(folder);
  await llama.init();
  return llama;
}
