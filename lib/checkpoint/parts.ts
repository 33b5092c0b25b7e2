// Readers of one part of a model directory each, for modules that are used alone: they read and check only the files of
// that part, so the rest of the directory may be absent.
import { parseCodecConfig } from "./config.js";
import {
  bookProblems,
  type Checkpoint,
  Surveyor,
  surveyAudio,
  surveyAudioFeatures,
  surveyCodec,
  surveyLlm,
  surveyVision,
  type TensorMap,
  tensorMap,
} from "./directory.js";
import type { TensorEntry } from "./entry.js";
import { throwProblems } from "./fields.js";
import { listDirectory } from "./file.js";
import { type SpeechConfig, speechEmbeddingsLayout, speechHeadsLayout } from "./layout.js";
import { recoverHiddenSize, recoverSpeechConfig } from "./recover.js";
import type { OpenOptions } from "./safetensors.js";

/** The tensors of a part, by file. */
type Tensors = (name: string) => TensorMap;

/**
 * Runs `survey`, and `build` when it found nothing wrong.
 * @throws {CaracalError} `CHECKPOINT_INVALID` listing everything missing, misshapen or inconsistent; `ABORTED`
 */
async function openPart<S, T>(
  directory: string,
  { signal }: OpenOptions,
  survey: (s: Surveyor) => Promise<S>,
  build: (found: S, tensors: Tensors) => T,
): Promise<T> {
  const surveyor = new Surveyor(directory, await listDirectory(directory), signal);
  const found = await survey(surveyor);
  throwProblems(surveyor.problems, directory);
  return build(found, (name) => tensorMap(surveyor.parts, name));
}

/** Reads `config.json` and the headers of the language model's shards. */
export function openLlm(directory: string, options: OpenOptions = {}): Promise<Checkpoint["llm"]> {
  return openPart(directory, options, surveyLlm, ({ config }, tensors) => {
    return { config: config!, tensors: tensors("language model") };
  });
}

/** Reads the configuration and the headers in `vision/`. */
export function openVision(directory: string, options: OpenOptions = {}): Promise<Checkpoint["vision"]> {
  return openPart(directory, options, surveyVision, (config, tensors) => {
    return { config: config!, encoder: tensors("vision encoder"), projector: tensors("vision projector") };
  });
}

/** Reads the audio encoder's configuration, normalisation and headers in `audio/`. */
export function openAudio(directory: string, options: OpenOptions = {}): Promise<Checkpoint["audio"]> {
  return openPart(directory, options, surveyAudio, ({ audio, features, cmvn }, tensors) => {
    const [encoder, projector] = [tensors("audio encoder"), tensors("audio projector")];
    return { config: audio!, features: features!, cmvn: cmvn!, encoder, projector };
  });
}

/** Reads `audio/preprocessor_config.json` and `audio/global_cmvn`. */
export function openAudioFeatures(
  directory: string,
  options: OpenOptions = {},
): Promise<Pick<Checkpoint["audio"], "features" | "cmvn">> {
  return openPart(directory, options, surveyAudioFeatures, ({ features, cmvn }) => {
    return { features: features!, cmvn: cmvn! };
  });
}

/** Reads the speech decoder's configuration and headers in `audio_codec/`. */
export function openCodec(directory: string, options: OpenOptions = {}): Promise<Checkpoint["codec"]> {
  return openPart(directory, options, surveyCodec, (config, tensors) => {
    return { config: config!, tensors: tensors("speech decoder") };
  });
}

/** The speech heads, with the configuration of the codec whose codes they choose. */
export interface SpeechHeadsPart {
  readonly config: SpeechConfig;
  readonly heads: TensorMap;
  readonly codec: Checkpoint["codec"]["config"];
}

/** Reads the header of `audio/audio_output_layers.pt`, and `audio_codec/config.yaml`. */
export function openSpeechHeads(directory: string, options: OpenOptions = {}): Promise<SpeechHeadsPart> {
  const file = "audio/audio_output_layers.pt";
  const survey = async (s: Surveyor) => {
    const heads = await s.open("speech heads", file);
    const config = recoverSpeechConfig(heads?.entries ?? [], "audio_output_layers");
    const width = recoverHiddenSize(heads?.entries, "audio_output_layers.0.weight");
    s.check(heads, width === undefined ? undefined : speechHeadsLayout(config, width));
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
  /** The text embedding table. */
  readonly text: TensorEntry;
}

/**
 * Reads the header of `audio/audio_embeddings.pt`, and of the text table: `language_model_embedding.pt` if present, or
 * else the language model's shards.
 */
export function openEmbeddings(directory: string, options: OpenOptions = {}): Promise<EmbeddingsPart> {
  const survey = async (s: Surveyor) => {
    const embeddings = await s.open("speech embeddings", "audio/audio_embeddings.pt");
    const copy = "language_model_embedding.pt";
    const [file, name] = s.holds(copy) ? [copy, "word_embeddings.weight"] : ["", "model.embed_tokens.weight"];
    const source = await s.open("text embeddings", file);
    const config = recoverSpeechConfig(embeddings?.entries ?? []);
    const text = source?.entries.find((entry) => entry.name === name);
    if (source && !text) s.problems.push(`${file || "the model-*.safetensors"}: 1 tensor missing: "${name}"`);
    if (embeddings && text) s.check(embeddings, speechEmbeddingsLayout(config, text.shape.at(-1) ?? 0));
    return { config, text };
  };
  return openPart(directory, options, survey, ({ config, text }, tensors) => {
    return { config, embeddings: tensors("speech embeddings"), text: text! };
  });
}
