import { basename, isAbsolute, join, relative } from "node:path";
import { CaracalError, throwIfAborted } from "../errors.js";
import { checkOptionNames } from "../options.js";
import { tensorProblems } from "./checkTensors.js";
import { type Cmvn, cmvnFromStats } from "./cmvn.js";
import * as configs from "./config.js";
import type { TensorEntry } from "./entry.js";
import { BoundedFile, listDirectory, type OpenOptions, openOptionNames } from "./formats/file.js";
import { isRecord } from "./formats/json.js";
import { readKaldiMatrix } from "./formats/kaldi.js";
import { openTensorFile } from "./formats/tensorFile.js";
import * as layouts from "./layout.js";
import { plural, throwProblems } from "./problems.js";
import { recoverAudioConfig, recoverSpeechConfig, recoverVisionConfig } from "./recover.js";

export type TensorMap = ReadonlyMap<string, TensorEntry>;

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
    readonly config: layouts.SpeechConfig;
    readonly embeddings: TensorMap;
    readonly heads: TensorMap;
  };
  readonly codec: { readonly config: configs.CodecConfig; readonly tensors: TensorMap };
  /** The paths of `tokenizer.json` and `tokenizer_config.json`. */
  readonly tokenizer: { readonly model: string; readonly config: string };
}

/** One file of tensors; for the LLM, all of its shards. */
export interface CheckpointPart {
  readonly name: string;
  readonly path: string;
  readonly entries: readonly TensorEntry[];
  /** Tensors of the published file that this library does not use: the multi-token-prediction layer. */
  readonly unused: readonly TensorEntry[];
}

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
    readonly speech: layouts.SpeechConfig;
    readonly codec?: configs.CodecConfig;
  };
  readonly cmvn?: Cmvn;
  readonly tokenizer: Checkpoint["tokenizer"];
  readonly problems: readonly string[];
}

/**
 * Opens a model directory in its published form. Reads configurations and headers, but no tensor data.
 * @throws {CaracalError} `CHECKPOINT_INVALID` that lists everything missing, misshapen or inconsistent in any module;
 *   `IO_ERROR`, `ABORTED`; `INVALID_ARGUMENT` for an unknown option
 */
export async function openCheckpoint(directory: string, options: OpenOptions = {}): Promise<Checkpoint> {
  checkOptionNames("openCheckpoint", options, openOptionNames);
  const survey = await surveyCheckpoint(directory, options);
  throwProblems(survey.problems, directory);
  const { llm, vision, audio, features, speech, codec } = survey.configs;
  const tensors = (name: string) => {
    const { entries } = survey.parts.find((part) => part.name === name)!;
    return new Map(entries.map((entry) => [entry.name, entry]));
  };
  return {
    directory,
    synthetic: survey.synthetic,
    llm: { config: llm!, tensors: tensors("language model") },
    vision: { config: vision!, encoder: tensors("vision encoder"), projector: tensors("vision projector") },
    audio: {
      config: audio!,
      features: features!,
      cmvn: survey.cmvn!,
      encoder: tensors("audio encoder"),
      projector: tensors("audio projector"),
    },
    speech: { config: speech, embeddings: tensors("speech embeddings"), heads: tensors("speech heads") },
    codec: { config: codec!, tensors: tensors("speech decoder") },
    tokenizer: survey.tokenizer,
  };
}

/** Like {@link openCheckpoint}, but returns the problems instead of throwing them. */
export async function surveyCheckpoint(directory: string, { signal }: OpenOptions = {}): Promise<CheckpointSurvey> {
  const surveyor = new Surveyor(directory, await listDirectory(directory), signal);
  const { llm, synthetic } = await surveyLlm(surveyor);
  const vision = await surveyVision(surveyor, llm);
  const { audio, features, cmvn } = await surveyAudio(surveyor, llm);
  const codec = await surveyCodec(surveyor);
  const speech = await surveySpeech(surveyor, llm, codec);
  const tokenizer = { model: surveyor.path("tokenizer.json"), config: surveyor.path("tokenizer_config.json") };
  await surveyor.attempt(() => configs.readConfig(tokenizer.config));
  await surveyor.attempt(() => BoundedFile.use(tokenizer.model, async () => {})); // large, so parsed only when used
  const { parts, problems } = surveyor;
  const found = { llm, vision, audio, features, speech, codec };
  return { directory, synthetic, parts, problems, cmvn, tokenizer, configs: found };
}

/** Reads the files of one directory, collecting the parts that it can open and the problems of the others. */
class Surveyor {
  readonly parts: CheckpointPart[] = [];
  readonly problems: string[] = [];
  readonly #directory: string;
  readonly #names: readonly string[];
  readonly #signal: AbortSignal | undefined;

  constructor(directory: string, names: readonly string[], signal: AbortSignal | undefined) {
    this.#directory = directory;
    this.#names = names;
    this.#signal = signal;
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  holds(name: string): boolean {
    return this.#names.includes(name);
  }

  /** Runs `read`. If it throws `CHECKPOINT_INVALID`, collects the problems and returns `undefined`. */
  async attempt<T>(read: () => Promise<T>): Promise<T | undefined> {
    throwIfAborted(this.#signal, "opening a checkpoint");
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof CaracalError) || error.code !== "CHECKPOINT_INVALID") throw error;
      const file = String(error.details.file);
      const found = (error.details.problems as string[] | undefined) ?? [error.details.problem];
      this.problems.push(...found.map((problem) => `${relative(this.#directory, file) || "."}: ${problem}`));
      return undefined;
    }
  }

  config<T>(name: string, parse: (source: unknown, file: string) => T, amend = (source: unknown) => source) {
    const file = this.path(name);
    return this.attempt(async () => parse(amend(await configs.readConfig(file)), file));
  }

  /** Opens a file of tensors; `undefined` if it cannot be read. */
  async open(name: string, file: string): Promise<CheckpointPart | undefined> {
    const path = this.path(file);
    const tensors = await this.attempt(() => openTensorFile(path, { signal: this.#signal }));
    if (!tensors) return undefined;
    const isUnused = (entry: TensorEntry) => entry.name.startsWith("model.mtp.");
    const entries = tensors.entries.filter((entry) => !isUnused(entry));
    const part = { name, path, entries, unused: tensors.entries.filter(isUnused) };
    this.parts.push(part);
    return part;
  }

  check(part: CheckpointPart | undefined, layout: layouts.Layout | undefined): void {
    if (!part || !layout) return;
    const file = relative(this.#directory, part.path) || "model-*.safetensors";
    this.problems.push(...tensorProblems(part.entries, layout).map((problem) => `${file}: ${problem}`));
  }
}

async function surveyLlm(s: Surveyor): Promise<{ llm: configs.LlmConfig | undefined; synthetic: boolean }> {
  let synthetic = false;
  const config = await s.config("config.json", (source, file) => {
    synthetic = isRecord(source) && source._note === configs.syntheticNote;
    return configs.parseLlmConfig(source, file);
  });
  s.check(await s.open("language model", ""), config && layouts.llmLayout(config));
  const copy = "language_model_embedding.pt";
  if (s.holds(copy)) s.check(await s.open("text embedding copy", copy), config && layouts.textEmbeddingLayout(config));
  return { llm: config, synthetic };
}

async function surveyVision(
  s: Surveyor,
  llm: configs.LlmConfig | undefined,
): Promise<configs.VisionConfig | undefined> {
  const encoder = await s.open("vision encoder", "vision/vision_model.pt");
  const projector = await s.open("vision projector", "vision/vision_projector.pt");
  const config = await s.config("vision/config.json", configs.parseVisionConfig, (source) =>
    recoverVisionConfig(source, projector?.entries ?? []),
  );
  s.check(encoder, config && layouts.visionEncoderLayout(config));
  s.check(projector, config && llm && layouts.visionProjectorLayout(config, llm.hidden_size));
  return config;
}

async function surveyAudio(s: Surveyor, llm: configs.LlmConfig | undefined) {
  const encoder = await s.open("audio encoder", "audio/audio_encoder.pt");
  const projector = await s.open("audio projector", "audio/audio_projector.pt");
  const audio = await s.config("audio/config.json", configs.parseAudioConfig, (source) =>
    recoverAudioConfig(source, encoder?.entries ?? []),
  );
  s.check(encoder, audio && layouts.audioEncoderLayout(audio));
  s.check(projector, audio && llm && layouts.audioProjectorLayout(audio, llm.hidden_size));
  const features = await s.config("audio/preprocessor_config.json", configs.parseAudioFeatureConfig);
  const cmvnFile = s.path("audio/global_cmvn");
  const cmvn = await s.attempt(async () => cmvnFromStats(await readKaldiMatrix(cmvnFile), cmvnFile));
  if (features) {
    const frame = features.fbank.num_mel_bins * (features.delta.delta_order + 1);
    const stacked = frame * (features.splice.left + 1 + features.splice.right);
    if (cmvn && cmvn.mean.length !== frame) {
      s.problems.push(`audio/global_cmvn: normalises ${plural(cmvn.mean.length, "feature")}, but frames have ${frame}`);
    }
    if (audio && audio.input_size !== stacked) {
      s.problems.push(
        `audio/preprocessor_config.json: gives ${stacked} features per step, but the encoder takes ${audio.input_size}`,
      );
    }
  }
  return { audio, features, cmvn };
}

async function surveyCodec(s: Surveyor): Promise<configs.CodecConfig | undefined> {
  const config = await s.config("audio_codec/config.yaml", configs.parseCodecConfig);
  const file = config && (await s.attempt(() => findCodecFile(s.path("audio_codec"), config.ckpt_path)));
  if (file) s.check(await s.open("speech decoder", `audio_codec/${file}`), layouts.codecDecoderLayout(config));
  return config;
}

/**
 * The name of the decoder's `.pt` in `audio_codec/`. Published configurations give its path in another tree
 * (`ckpts/….pt`), so a file of the same base name beside the configuration is accepted, but never one outside the
 * folder.
 */
async function findCodecFile(folder: string, path: string | undefined): Promise<string> {
  const names = await listDirectory(folder);
  if (path === undefined) return names.find((name) => name.endsWith(".pt")) ?? "decoder.pt";
  const isInside = !isAbsolute(path) && !relative(folder, join(folder, path)).startsWith("..");
  return names.includes(basename(path)) || !isInside ? basename(path) : path;
}

async function surveySpeech(s: Surveyor, llm: configs.LlmConfig | undefined, codec: configs.CodecConfig | undefined) {
  const embeddings = await s.open("speech embeddings", "audio/audio_embeddings.pt");
  const heads = await s.open("speech heads", "audio/audio_output_layers.pt");
  const speech = recoverSpeechConfig(embeddings?.entries ?? []);
  s.check(embeddings, llm && layouts.speechEmbeddingsLayout(speech, llm.hidden_size));
  s.check(heads, llm && layouts.speechHeadsLayout(speech, llm.hidden_size));
  if (embeddings && codec) {
    const needed = layouts.reservedSpeechIds + Math.max(codec.semantic_token_nums, codec.codec_codebook_size ** 2);
    if (speech.books < 1 + codec.codec_codebooks) {
      s.problems.push(
        `audio/audio_embeddings.pt: ${plural(speech.books, "book")}, but the speech decoder reads ${1 + codec.codec_codebooks}`,
      );
    }
    if (speech.vocab < needed) {
      s.problems.push(
        `audio/audio_embeddings.pt: ${speech.vocab} ids per book, but the speech decoder's codes need ${needed}`,
      );
    }
  }
  return speech;
}
