export { CaracalError, type ErrorCode } from "./errors.js";
export type { AudioClip, AudioInput } from "./media/audio.js";
export type { ImageInput, RgbImage } from "./media/image.js";
export type { VideoClip, VideoInput } from "./media/video.js";
export { AudioEncoder, type AudioEncoderOptions, type AudioEncoderStream } from "./model/audioEncoder.js";
export { type AudioFeatureStream, AudioFeatures } from "./model/audioFeatures.js";
export { AudioHeads, type AudioHeadsOptions } from "./model/audioHeads.js";
export { type EmbeddingOptions, OmniEmbedding, type PromptIds } from "./model/embedding.js";
export type { GenerateEvent, GenerateOptions, ReplyUsage, Stage, StageUsage } from "./model/generate.js";
export type { Generation } from "./model/generation.js";
export {
  type CacheRows,
  type CacheTensors,
  KvCache,
  type KvCacheOptions,
  type KvSequence,
  type NewRows,
} from "./model/kvCache.js";
export { type Extension, type ForwardOptions, Llm, type LlmOptions } from "./model/llm.js";
export { type OmniLoadOptions, type OmniLoadProgress, OmniModel } from "./model/omni.js";
export type { Message, Part, PromptLimits, SpeechSegment } from "./model/prompt.js";
export { SpeechDecoder, type SpeechDecoderStream, type SpeechFrame } from "./model/speechDecoder.js";
export { type SpeechInput, SpeechState } from "./model/speechState.js";
export { OmniTokenizer } from "./model/tokenizer.js";
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
} from "./tensor/device.js";
export { type DType, dtypeBytes, dtypes, type RawArray, type Values } from "./tensor/dtype.js";
export { Graph } from "./tensor/graph.js";
export { PackedWeight, type Shape, Tensor } from "./tensor/tensor.js";
export type { TensorReport } from "./verify/golden.js";
export { type FileReport, type VerifyOptions, verifyFile } from "./verify/verify.js";
