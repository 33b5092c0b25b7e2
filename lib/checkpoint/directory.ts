import { checkOptions } from "../options.js";
import type { Cmvn } from "./cmvn.js";
import * as configs from "./config.js";
import type { TensorMap } from "./entry.js";
import { BoundedFile } from "./formats/file.js";
import type { SpeechConfig } from "./layout.js";
import {
  type CheckpointPart,
  type OpenCheckpointOptions,
  openCheckpointOptions,
  Surveyor,
  surveyAudio,
  surveyCodec,
  surveyLlm,
  surveySpeech,
  surveyVision,
} from "./survey.js";

export type { TensorMap } from "./entry.js";
export type { CheckpointPart, OpenCheckpointOptions } from "./survey.js";

/** A complete, validated model directory: every tensor exists and has the shape that its configuration implies. */
export interface Checkpoint {
  readonly directory: string;
  /** True if `caracal synth` wrote the directory: its weights are random and the model's output means nothing. */
  readonly synthetic: boolean;
  readonly llm: { readonly config: configs.LlmConfig; readonly tensors: TensorMap };
  readonly vision: {
    readonly config: configs.VisionConfig;
    readonly encoder: TensorMap;
    readonly projector: TensorMap;
  };
  readonly audio: {
    readonly config: configs.AudioConfig;
    readonly features: configs.AudioFeatureConfig;
    readonly cmvn: Cmvn;
    readonly encoder: TensorMap;
    readonly projector: TensorMap;
  };
  readonly speech: {
    readonly config: SpeechConfig;
    readonly embeddings: TensorMap;
    readonly heads: TensorMap;
  };
  readonly codec: { readonly config: configs.CodecConfig; readonly tensors: TensorMap };
  /** The paths of `tokenizer.json` and `tokenizer_config.json`. */
  readonly tokenizer: { readonly model: string; readonly config: string };
  /** What is odd about the directory, file by file: tensors that the library does not know. */
  readonly warnings: readonly string[];
}

/** Which parts of a model directory to read beside the language model and the tokenizer. */
export interface OptionalParts {
  /** `vision/`. */
  readonly vision: boolean;
  /** The audio encoder, its projector and features in `audio/`. */
  readonly audio: boolean;
  /** The speech embeddings and heads in `audio/`, and `audio_codec/`. */
  readonly speech: boolean;
}
const allParts: OptionalParts = { vision: true, audio: true, speech: true };

/** A model directory of which parts may have been left out, absent or not. */
export type PartialCheckpoint = Omit<Checkpoint, "vision" | "audio" | "speech" | "codec"> & Partial<Checkpoint>;

/** The contents of a directory, as far as they can be read, and everything that is wrong with it. */
export interface CheckpointSurvey {
  readonly directory: string;
  readonly synthetic: boolean;
  readonly parts: readonly CheckpointPart[];
  readonly configs: {
    readonly llm?: configs.LlmConfig;
    readonly vision?: configs.VisionConfig;
    readonly audio?: configs.AudioConfig;
    readonly features?: configs.AudioFeatureConfig;
    readonly speech?: SpeechConfig;
    readonly codec?: configs.CodecConfig;
  };
  readonly cmvn?: Cmvn;
  readonly tokenizer: Checkpoint["tokenizer"];
  readonly problems: readonly string[];
  /** What is odd, but does not prevent loading the directory. */
  readonly warnings: readonly string[];
}

/**
 * Opens a model directory in its published form. Reads configurations and headers, but no tensor data.
 * @throws {CaracalError} `CHECKPOINT_INVALID` that lists everything missing, misshapen or inconsistent in any module;
 *   `IO_ERROR`, `ABORTED`; `INVALID_ARGUMENT` for an unknown option
 */
export async function openCheckpoint(directory: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint> {
  checkOptions("openCheckpoint", options, openCheckpointOptions);
  return (await openParts(directory, allParts, options)) as Checkpoint;
}

/** Like {@link openCheckpoint}, for a directory of which some parts are not read and may be absent. */
export async function openParts(
  directory: string,
  parts: OptionalParts,
  options: OpenCheckpointOptions = {},
): Promise<PartialCheckpoint> {
  const surveyor = await Surveyor.in(directory, options);
  const survey = await surveyAll(surveyor, directory, parts);
  surveyor.finish(options);
  const { llm, vision, audio, features, speech, codec } = survey.configs;
  const tensors = (name: string) => surveyor.tensors(name);
  return {
    directory,
    synthetic: survey.synthetic,
    llm: { config: llm!, tensors: tensors("language model") },
    vision: vision && { config: vision, encoder: tensors("vision encoder"), projector: tensors("vision projector") },
    audio: audio && {
      config: audio,
      features: features!,
      cmvn: survey.cmvn!,
      encoder: tensors("audio encoder"),
      projector: tensors("audio projector"),
    },
    speech: speech && { config: speech, embeddings: tensors("speech embeddings"), heads: tensors("speech heads") },
    codec: codec && { config: codec, tensors: tensors("speech decoder") },
    tokenizer: survey.tokenizer,
    warnings: survey.warnings,
  };
}

/** Like {@link openCheckpoint}, but returns the problems and warnings instead of throwing and reporting them. */
export async function surveyCheckpoint(
  directory: string,
  options: Omit<OpenCheckpointOptions, "onWarning"> = {},
): Promise<CheckpointSurvey> {
  return surveyAll(await Surveyor.in(directory, options), directory, allParts);
}

async function surveyAll(surveyor: Surveyor, directory: string, wanted: OptionalParts): Promise<CheckpointSurvey> {
  const { config: llm, synthetic } = await surveyLlm(surveyor);
  const vision = wanted.vision ? await surveyVision(surveyor, llm) : undefined;
  const { audio, features, cmvn } = wanted.audio ? await surveyAudio(surveyor, llm) : {};
  const codec = wanted.speech ? await surveyCodec(surveyor) : undefined;
  const speech = wanted.speech ? await surveySpeech(surveyor, llm, codec) : undefined;
  const tokenizer = { model: surveyor.path("tokenizer.json"), config: surveyor.path("tokenizer_config.json") };
  await surveyor.attempt(() => configs.readConfig(tokenizer.config));
  await surveyor.attempt(() => BoundedFile.use(tokenizer.model, async () => {})); // large, so parsed only when used
  const { parts, problems, warnings } = surveyor;
  const found = { llm, vision, audio, features, speech, codec };
  return { directory, synthetic, parts, problems, warnings, cmvn, tokenizer, configs: found };
}
