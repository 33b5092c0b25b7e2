/**
 * The public API.
 * @module caracal
 */
export type { Cmvn } from "./checkpoint/cmvn.js";
export type {
  AudioConfig,
  AudioFeatureConfig,
  CodecConfig,
  LlmConfig,
  VisionConfig,
} from "./checkpoint/config.js";
export {
  type Checkpoint,
  type OpenCheckpointOptions,
  openCheckpoint,
  type PartialCheckpoint,
  type TensorMap,
} from "./checkpoint/directory.js";
export type { EntryDType, TensorEntry } from "./checkpoint/entry.js";
export type { OpenOptions } from "./checkpoint/formats/file.js";
export {
  type DirectoryInspection,
  type FileInspection,
  type InspectOptions,
  inspectPath,
  type PartSummary,
  type TensorTotals,
} from "./checkpoint/inspect.js";
export type { SpeechConfig } from "./checkpoint/layout.js";
export type { AffineFormat, MlxQuantization } from "./checkpoint/quantization.js";
export { CaracalError, type ErrorCode, errorCodes } from "./errors.js";
export type { LiveEvent } from "./live/events.js";
export type { LiveClock, LiveOptions, LiveReplyOptions, LiveUpdate } from "./live/options.js";
export { type AddedMessage, LiveSession } from "./live/session.js";
export { TurnDetector, type TurnDetectorOptions, type TurnEvent, type TurnSnapshot } from "./live/turnDetector.js";
export {
  type OpenVoiceActivityOptions,
  VoiceActivityDetector,
  type VoiceActivityStream,
} from "./live/voiceActivity.js";
export type { VoiceDetector } from "./live/voiceDetector.js";
export type { AudioClip, AudioInput } from "./media/audio.js";
export type { ImageInput, RgbImage } from "./media/image.js";
export type { VideoClip, VideoInput } from "./media/video.js";
export { encodeWav } from "./media/wav.js";
export {
  type AudioEncodeOptions,
  AudioEncoder,
  type AudioEncoderOptions,
  type AudioEncoderStream,
  type OpenAudioEncoderOptions,
} from "./model/audio/encoder.js";
export { type AudioFeatureStream, AudioFeatures, type OpenFeaturesOptions } from "./model/audio/features.js";
export type { AudioFraming } from "./model/audio/framing.js";
export type { CacheTensors } from "./model/language/cacheTensors.js";
export { type CacheRows, KvCache, type KvSequence, type NewRows } from "./model/language/kvCache.js";
export type { AppendOptions, KvCacheOptions } from "./model/language/kvCacheOptions.js";
export {
  type Extension,
  type ForwardOptions,
  Llm,
  type LlmOptions,
  type PrefillOptions,
} from "./model/language/llm.js";
export type { OmniLoadProgress } from "./model/loader.js";
export {
  type OmniLoadOptions,
  OmniModel,
  type OmniStats,
} from "./model/omni.js";
export type { OmniPackedCacheNote, PackedCacheNote, PackedCacheOptions } from "./model/packed/cache.js";
export type { OmniMemory } from "./model/packed/memory.js";
export type { RenderOptions } from "./model/prompt/chatTemplate.js";
export {
  type EmbeddingOptions,
  OmniEmbedding,
  type OpenEmbeddingOptions,
  type PromptIds,
} from "./model/prompt/embedding.js";
export type { PromptLimits } from "./model/prompt/limits.js";
export type { MediaFile, Message, Part, SpeechSegment } from "./model/prompt/messages.js";
export {
  type ChatMessage,
  type JsonObject,
  OmniTokenizer,
  type SpecialString,
  specialStrings,
  type TextPiece,
  type TokenizerContents,
  type TokenizerOptions,
} from "./model/prompt/tokenizer.js";
export type { TokenStream, TokenStreamSnapshot } from "./model/prompt/tokenStream.js";
export type { GenerateEvent } from "./model/reply/events.js";
export type { Generation } from "./model/reply/generation.js";
export type { SpeechPart } from "./model/reply/history.js";
export type { LogProbability, TokenLogProbability } from "./model/reply/logProbabilities.js";
export type { GenerateOptions } from "./model/reply/options.js";
export type { QueueStats } from "./model/reply/queue.js";
export type { SchedulerOptions } from "./model/reply/scheduler.js";
export { type ReplyUsage, type Stage, type StageUsage, stages } from "./model/reply/usage.js";
export { type SpeechDecodeOptions, SpeechDecoder } from "./model/speech/decoder.js";
export { AudioHeads, type AudioHeadsOptions } from "./model/speech/heads.js";
export {
  type SpeechFrame,
  type SpeechInput,
  type SpeechPhase,
  type SpeechSnapshot,
  SpeechState,
  type SpeechStateOptions,
  type SpeechStep,
} from "./model/speech/state.js";
export type { SpeechDecoderStream } from "./model/speech/stream.js";
export type { Ids, Logits, Matrix, PackedMatrix, Rows, Tap, Vector } from "./model/types.js";
export {
  type EncodeUnitsOptions,
  type VisionEncodeOptions,
  VisionEncoder,
  type VisionEncoderOptions,
} from "./model/vision/encoder.js";
export type { Size, VisionLimits } from "./model/vision/resize.js";
export type { Grid, ResizedFrame, VisualTokens, VisualUnit } from "./model/vision/units.js";
export type { LoadOptions, LoadProgress, WeightParts } from "./model/weightSource.js";
export {
  type Affine,
  type Norm,
  type OpenModuleOptions,
  Weights,
} from "./model/weights.js";
export type { MemoryStatistics } from "./native/addon.js";
export type { Activations, StoredDType, Weight, WeightDType } from "./ops/call.js";
export * as ops from "./ops/index.js";
export type { If, Matches, PlusOne, Problem, Ranked, Shaped, ShapeText } from "./ops/shapes.js";
export {
  type QuantizeFormat,
  type QuantizeLayout,
  type QuantizeOptions,
  type QuantizeResult,
  quantizeCheckpoint,
  type TensorError,
} from "./synth/quantize.js";
export { type SliceOptions, type SliceResult, sliceCheckpoint } from "./synth/slice.js";
export type { SynthProgress } from "./synth/writer.js";
export {
  type CodeDType,
  codeDtypes,
  type DType,
  dtypeBytes,
  dtypes,
  type RawArray,
  type Values,
} from "./tensor/dtype.js";
export { Graph } from "./tensor/graph.js";
export type { BackendNote, DeviceDescription, DeviceList, DeviceOptions } from "./tensor/open.js";
export { type PackedLayout, PackedWeight } from "./tensor/packedWeight.js";
export type { Elements, Holding } from "./tensor/shape.js";
export {
  Device,
  disposeAll,
  type MappedFile,
  type NativeArray,
  type Row,
  type Shape,
  Tensor,
} from "./tensor/tensor.js";
export { type UploadOptions, upload } from "./tensor/upload.js";
export {
  type LoadedTensors,
  type LoadTensorsOptions,
  loadTensors,
  type SaveTensorsOptions,
  saveTensors,
} from "./tensorFiles.js";
export type { TensorReport } from "./verify/golden.js";
export { type FileReport, type VerifyOptions, verifyFile } from "./verify/verify.js";
