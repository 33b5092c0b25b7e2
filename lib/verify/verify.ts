import { CaracalError, type ErrorCode } from "../errors.js";
import type { Activations } from "../ops/call.js";
import type { Device } from "../tensor/device.js";
import { verifyAudioEncoder } from "./audioEncoder.js";
import { verifyAudioFeatures } from "./audioFeatures.js";
import { verifyCodecDecoder } from "./codecDecoder.js";
import { verifyFsmnVad } from "./fsmnVad.js";
import { Golden, type TensorReport } from "./golden.js";
import { verifyImagePreprocess } from "./imagePreprocess.js";
import { verifyLongcatFlash } from "./longcatFlash.js";
import { verifyOmniAudioHeads } from "./omniAudioHeads.js";
import { verifyOmniEmbedding } from "./omniEmbedding.js";
import { verifyPreprocess } from "./preprocess.js";
import { verifyVision } from "./vision.js";

/** Runs a module on a golden file's inputs and compares what comes out. */
export type Verifier = (golden: Golden) => Promise<void>;

/** By the `module` of a golden file's metadata. */
const verifiers: Readonly<Record<string, Verifier>> = {
  audio_encoder: verifyAudioEncoder,
  audio_features: verifyAudioFeatures,
  codec_decoder: verifyCodecDecoder,
  fsmn_vad_trained: verifyFsmnVad,
  image_preprocess: verifyImagePreprocess,
  longcat_flash: verifyLongcatFlash,
  omni_audio_heads: verifyOmniAudioHeads,
  omni_embedding: verifyOmniEmbedding,
  vision: verifyVision,
};

export interface VerifyOptions {
  readonly device: Device;
  /** The dtype between the operations, where the module has a choice. Default f32. */
  readonly activations?: Activations | undefined;
}

/** The outcome for one file; `error` when the file could not be run at all. */
export interface FileReport {
  readonly file: string;
  readonly module?: string;
  readonly passed: boolean;
  readonly tensors: readonly TensorReport[];
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}

/**
 * Runs the module that a golden file is about, through the public API, and compares every expected tensor.
 * @param file a `.safetensors` golden file, or a `.json` of preprocessing cases
 */
export async function verifyFile(file: string, options: VerifyOptions): Promise<FileReport> {
  let module: string | undefined;
  try {
    if (file.endsWith(".json")) return report(file, "preprocess", await verifyPreprocess(file));
    const golden = await Golden.open(file, options.device, options.activations ?? "f32");
    try {
      module = golden.module;
      await verifierOf(golden)(golden);
      return report(file, module, await golden.finish());
    } finally {
      golden.dispose();
    }
  } catch (error) {
    if (!(error instanceof CaracalError)) throw error;
    const { code, message } = error;
    return { file, ...(module && { module }), passed: false, tensors: [], error: { code, message } };
  }
}

function verifierOf(golden: Golden): Verifier {
  const verifier = Object.hasOwn(verifiers, golden.module) ? verifiers[golden.module] : undefined;
  if (verifier) return verifier;
  const known = Object.keys(verifiers).join(", ");
  throw new CaracalError("UNSUPPORTED", `${golden.file}: unknown module "${golden.module}"; there are ${known}`);
}

function report(file: string, module: string, tensors: readonly TensorReport[]): FileReport {
  return { file, module, passed: tensors.every(({ passed }) => passed), tensors };
}
