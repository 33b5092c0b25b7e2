// Readers of single parts of a model directory, for modules that are used alone. They read and check only the files of
// their part, so the rest of the directory may be absent.
import { parseCodecConfig } from "./config.js";
import type { Checkpoint } from "./directory.js";
import type { TensorEntry, TensorMap } from "./entry.js";
import { type SpeechConfig, speechEmbeddingsLayout, speechHeadsLayout } from "./layout.js";
import { quote } from "./problems.js";
import { recoverHiddenSize, recoverSpeechConfig } from "./recover.js";
import {
  bookProblems,
  type OpenCheckpointOptions,
  Surveyor,
  surveyAudio,
  surveyAudioFeatures,
  surveyCodec,
  surveyLlm,
  surveyVision,
} from "./survey.js";

/** The tensors of a file, by the name of the part. */
type Tensors = (name: string) => TensorMap;

/**
 * Runs `survey` and, if it found no problems, `build`.
 * @throws {CaracalError} `CHECKPOINT_INVALID` that lists everything missing, misshapen or inconsistent; `ABORTED`
 */
async function openPart<S, T>(
  directory: string,
  options: OpenCheckpointOptions,
  survey: (s: Surveyor) => Promise<S>,
  build: (found: S, tensors: Tensors) => T,
): Promise<T> {
  const surveyor = await Surveyor.in(directory, options);
  const found = await survey(surveyor);
  surveyor.finish(options);
  return build(found, (name) => surveyor.tensors(name));
}

/** Reads `config.json` and the headers of the language model's shards. */
export function openLlm(directory: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint["llm"]> {
  return openPart(directory, options, surveyLlm, ({ config }, tensors) => {
    return { config: config!, tensors: tensors("language model") };
  });
}

/** Reads the configuration and the headers in `vision/`. */
export function openVision(directory: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint["vision"]> {
  return openPart(directory, options, surveyVision, (config, tensors) => {
    return { config: config!, encoder: tensors("vision encoder"), projector: tensors("vision projector") };
  });
}

/** Reads the audio encoder's configuration, normalisation and headers in `audio/`. */
export function openAudio(directory: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint["audio"]> {
  return openPart(directory, options, surveyAudio, ({ audio, features, cmvn }, tensors) => {
    const [encoder, projector] = [tensors("audio encoder"), tensors("audio projector")];
    return { config: audio!, features: features!, cmvn: cmvn!, encoder, projector };
  });
}

/** Reads `audio/preprocessor_config.json` and `audio/global_cmvn`. */
export function openAudioFeatures(
  directory: string,
  options: OpenCheckpointOptions = {},
): Promise<Pick<Checkpoint["audio"], "features" | "cmvn">> {
  return openPart(directory, options, surveyAudioFeatures, ({ features, cmvn }) => {
    return { features: features!, cmvn: cmvn! };
  });
}

/** Reads the speech decoder's configuration and headers in `audio_codec/`. */
export function openCodec(directory: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint["codec"]> {
  return openPart(directory, options, surveyCodec, (config, tensors) => {
    return { config: config!, tensors: tensors("speech decoder") };
  });
}

/** The speech heads, and the configuration of the codec whose codes they predict. */
export interface SpeechHeadsPart {
  readonly config: SpeechConfig;
  readonly heads: TensorMap;
  readonly codec: Checkpoint["codec"]["config"];
}

/** Reads the header of `audio/audio_output_layers.pt`, and `audio_codec/config.yaml`. */
export function openSpeechHeads(directory: string, options: OpenCheckpointOptions = {}): Promise<SpeechHeadsPart> {
  const file = "audio/audio_output_layers.pt";
  const survey = async (s: Surveyor) => {
    const heads = await s.open("speech heads", file);
    const config = recoverSpeechConfig(heads?.entries ?? [], "audio_output_layers");
    const width = recoverHiddenSize(heads?.entries, "audio_output_layers.0.weight");
    await s.check(heads, width === undefined ? undefined : speechHeadsLayout(config, width));
    const codec = await s.config("audio_codec/config.yaml", parseCodecConfig);
    if (heads && codec) s.problems.push(...bookProblems(file, config, codec));
    return { config, codec };
  };
  return openPart(directory, options, survey, ({ config, codec }, tensors) => {
    return { config, heads: tensors("speech heads"), codec: codec! };
  });
}

/** The tables that embed text and speech codes. */
export interface EmbeddingsPart {
  readonly config: SpeechConfig;
  readonly embeddings: TensorMap;
  /** The text embedding table, and its scales and biases if it is in MLX's format. */
  readonly text: TensorEntry;
  readonly textScales: readonly TensorEntry[];
  /** The width of all tables. */
  readonly width: number;
}

/**
 * Reads the headers of `audio/audio_embeddings.pt` and of the text table, which is in `language_model_embedding.pt` or,
 * if that file is absent, in the language model's shards.
 */
export function openEmbeddings(directory: string, options: OpenCheckpointOptions = {}): Promise<EmbeddingsPart> {
  const survey = async (s: Surveyor) => {
    const embeddings = await s.open("speech embeddings", "audio/audio_embeddings.pt");
    const copy = "language_model_embedding.pt";
    const [file, name] = s.holds(copy) ? [copy, "word_embeddings.weight"] : ["", "model.embed_tokens.weight"];
    const source = await s.open("text embeddings", file);
    const config = recoverSpeechConfig(embeddings?.entries ?? [], "audio_embeddings");
    const find = (wanted: string) => source?.entries.find((entry) => entry.name === wanted);
    const text = find(name);
    const scales = ["scales", "biases"].flatMap((part) => find(name.replace(/weight$/, part)) ?? []);
    if (source && !text) s.problems.push(`${file || "model-*.safetensors"}: 1 tensor missing: ${quote(name)}`);
    // Words of MLX's format do not tell the width.
    const width = (scales.length > 0 ? embeddings?.entries[0] : text)?.shape.at(-1) ?? 0;
    if (embeddings && text) await s.check(embeddings, speechEmbeddingsLayout(config, width));
    return { config, text, scales, width };
  };
  return openPart(directory, options, survey, ({ config, text, scales, width }, tensors) => {
    return { config, embeddings: tensors("speech embeddings"), text: text!, textScales: scales, width };
  });
}
