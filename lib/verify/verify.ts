import { quote } from "../checkpoint/problems.js";
import { CaracalError, type ErrorCode } from "../errors.js";
import type { Activations } from "../ops/call.js";
import { checkOptions, type OptionRule, refuseValue } from "../options.js";
import { deviceRule } from "../tensor/rules.js";
import type { Device } from "../tensor/tensor.js";
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

/** Runs a module on the inputs of a golden file and compares its results. */
export type Verifier = (golden: Golden) => Promise<void>;

/** The verifiers by the `module` in the metadata of a golden file. */
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
  /** The dtype of values between operations, for modules that have a choice. Default f32. */
  readonly activations?: Activations | undefined;
}

const optionRules = { device: deviceRule, activations: true } satisfies Record<
  keyof Required<VerifyOptions>,
  OptionRule | true
>;

/** The results for one file, or an `error` if the file could not be run at all. */
export interface FileReport {
  readonly file: string;
  readonly module?: string;
  readonly passed: boolean;
  readonly tensors: readonly TensorReport[];
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}

/**
 * Runs the module of a golden file through the public API and compares every expected tensor. A file that cannot be run
 * gives a report with its error.
 * @param file a `.safetensors` golden file, or a `.json` of preprocessing cases
 * @throws {CaracalError} `INVALID_ARGUMENT` for a file that is no path, no device, or an unknown option
 */
export async function verifyFile(file: string, options: VerifyOptions): Promise<FileReport> {
  checkOptions("verifyFile", options, optionRules);
  if (typeof file !== "string") refuseValue("verifyFile", "file", "a path", file);
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
  const modules = Object.keys(verifiers).join(", ");
  throw new CaracalError("UNSUPPORTED", `${golden.file}: unknown module ${quote(golden.module)}; expected ${modules}`);
}

function report(file: string, module: string, tensors: readonly TensorReport[]): FileReport {
  return { file, module, passed: tensors.every(({ passed }) => passed), tensors };
}
