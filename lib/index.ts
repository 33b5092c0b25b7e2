export { CaracalError, type ErrorCode } from "./errors.js";
export type { AudioClip, AudioInput } from "./media/audio.js";
export type { ImageInput, RgbImage } from "./media/image.js";
export type { VideoClip, VideoInput } from "./media/video.js";
export { AudioEncoder, type AudioEncoderOptions, type AudioEncoderStream } from "./model/audio/encoder.js";
export { type AudioFeatureStream, AudioFeatures } from "./model/audio/features.js";
export {
  type CacheRows,
  type CacheTensors,
  KvCache,
  type KvCacheOptions,
  type KvSequence,
  type NewRows,
} from "./model/language/kvCache.js";
export { type Extension, type ForwardOptions, Llm, type LlmOptions } from "./model/language/llm.js";
export { type OmniLoadOptions, type OmniLoadProgress, OmniModel } from "./model/omni.js";
export type { Message, Part, PromptLimits, SpeechSegment } from "./model/prompt/build.js";
export { type EmbeddingOptions, OmniEmbedding, type PromptIds } from "./model/prompt/embedding.js";
export { OmniTokenizer } from "./model/prompt/tokenizer.js";
export type { Generation } from "./model/reply/generation.js";
export type { GenerateEvent, GenerateOptions, ReplyUsage, Stage, StageUsage } from "./model/reply/options.js";
export { SpeechDecoder, type SpeechDecoderStream, type SpeechFrame } from "./model/speech/decoder.js";
export { AudioHeads, type AudioHeadsOptions } from "./model/speech/heads.js";
export { type SpeechInput, SpeechState } from "./model/speech/state.js";
export { type Grid, VisionEncoder, type VisualTokens, type VisualUnit } from "./model/vision/encoder.js";
export { type LoadOptions, type LoadProgress, type Tap, Weights } from "./model/weights.js";
export type { MemoryStatistics } from "./native/addon.js";
export * as ops from "./ops/index.js";
export {
  type BackendNote,
  Device,
  type DeviceOptions,
  disposeAll,
  type MappedFile,
} from "./tensor/device.js";
export { type DType, dtypeBytes, dtypes, type RawArray, type Values } from "./tensor/dtype.js";
export { Graph } from "./tensor/graph.js";
export { PackedWeight, type Shape, Tensor } from "./tensor/tensor.js";
export type { TensorReport } from "./verify/golden.js";
export { type FileReport, type VerifyOptions, verifyFile } from "./verify/verify.js";
