export { CaracalError, type ErrorCode } from "./errors.js";
export { AudioEncoder, type AudioEncoderOptions, type AudioEncoderStream } from "./model/audioEncoder.js";
export { type AudioFeatureStream, AudioFeatures } from "./model/audioFeatures.js";
export { SpeechDecoder, type SpeechDecoderStream, type SpeechFrame } from "./model/speechDecoder.js";
export { type Grid, VisionEncoder, type VisualTokens, type VisualUnit } from "./model/vision.js";
export { type LoadOptions, type LoadProgress, type Tap, Weights } from "./model/weights.js";
export type { MemoryStatistics } from "./native/addon.js";
export * as ops from "./ops/index.js";
export {
  type BackendNote,
  Device,
  type DeviceOptions,
  disposeAll,
  type MappedFile,
  type Values,
} from "./tensor/device.js";
export { type DType, dtypeBytes, dtypes, type RawArray } from "./tensor/dtype.js";
export { PackedWeight, type Shape, Tensor } from "./tensor/tensor.js";
export type { TensorReport } from "./verify/golden.js";
export { type FileReport, type VerifyOptions, verifyFile } from "./verify/verify.js";
