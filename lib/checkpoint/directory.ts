import { basename, isAbsolute, join, relative } from "node:path";
import { CaracalError, throwIfAborted } from "../errors.js";
import { tensorProblems } from "./check.js";
import * as configs from "./config.js";
import type { TensorEntry } from "./entry.js";
import { throwProblems } from "./fields.js";
import { BoundedFile, listDirectory } from "./file.js";
import { type Cmvn, cmvnFromStats, readKaldiMatrix } from "./kaldi.js";
import * as layouts from "./layout.js";
import { recoverAudioConfig, recoverSpeechConfig, recoverVisionConfig } from "./recover.js";
import { type OpenOptions, openSafetensors } from "./safetensors.js";
import { openTorchArchive } from "./torch.js";

export type TensorMap = ReadonlyMap<string, TensorEntry>;

/** A complete model directory, validated: every tensor is there, with the shape that its configuration says. */
export interface Checkpoint {
  readonly directory: string;
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
  /** Paths of `tokenizer.json` and `tokenizer_config.json`. */
  readonly tokenizer: { readonly model: string; readonly config: string };
}

/** One file of tensors (for the LLM: its shards together). */
export interface CheckpointPart {
  readonly name: string;
  readonly path: string;
  readonly entries: readonly TensorEntry[];
  /** Tensors of the published file that this library does not run: the multi-token-prediction layer. */
  readonly unused: readonly TensorEntry[];
}

/** What a directory holds, as far as it can be read, and everything that is wrong with it. */
export interface CheckpointSurvey {
  readonly directory: string;
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
 * Opens a model directory as it is published: configurations and headers only, no tensor data. Throws one
 * `CHECKPOINT_INVALID` that lists everything missing, misshapen or inconsistent in any module.
 */
export async function openCheckpoint(directory: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const survey = await surveyCheckpoint(directory, options);
  throwProblems(survey.problems, directory);
  const { llm, vision, audio, features, speech, codec } = survey.configs;
  const tensors = (name: string) => {
    const { entries } = survey.parts.find((part) => part.name === name)!;
    return new Map(entries.map((entry) => [entry.name, entry]));
  };
  return {
    directory,
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

/** Like {@link openCheckpoint}, but reports what is wrong instead of throwing it. */
export async function surveyCheckpoint(directory: string, { signal }: OpenOptions = {}): Promise<CheckpointSurvey> {
  const surveyor = new Surveyor(directory, await listDirectory(directory), signal);
  const llm = await surveyLlm(surveyor);
  const vision = await surveyVision(surveyor, llm);
  const { audio, features, cmvn } = await surveyAudio(surveyor, llm);
  const codec = await surveyCodec(surveyor);
  const speech = await surveySpeech(surveyor, llm, codec);
  const tokenizer = { model: surveyor.path("tokenizer.json"), config: surveyor.path("tokenizer_config.json") };
  await surveyor.attempt(() => configs.readConfig(tokenizer.config));
  await surveyor.attempt(() => BoundedFile.use(tokenizer.model, async () => {})); // long: parsed when it is used
  const { parts, problems } = surveyor;
  return { directory, parts, problems, cmvn, tokenizer, configs: { llm, vision, audio, features, speech, codec } };
}

class Surveyor {
  readonly parts: CheckpointPart[] = [];
  readonly problems: string[] = [];

  constructor(
    private readonly directory: string,
    private readonly names: readonly string[],
    private readonly signal: AbortSignal | undefined,
  ) {}

  path(name: string): string {
    return join(this.directory, name);
  }

  holds(name: string): boolean {
    return this.names.includes(name);
  }

  /** Runs `read`; notes its `CHECKPOINT_INVALID` and goes on. */
  async attempt<T>(read: () => Promise<T>): Promise<T | undefined> {
    throwIfAborted(this.signal, "opening a checkpoint");
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof CaracalError) || error.code !== "CHECKPOINT_INVALID") throw error;
      const file = String(error.details.file);
      const found = (error.details.problems as string[] | undefined) ?? [error.details.problem];
      this.problems.push(...found.map((problem) => `${relative(this.directory, file) || "."}: ${problem}`));
      return undefined;
    }
  }

  config<T>(name: string, parse: (source: unknown, file: string) => T, amend = (source: unknown) => source) {
    const file = this.path(name);
    return this.attempt(async () => parse(amend(await configs.readConfig(file)), file));
  }

  /** Opens a file of tensors; `undefined` (and noted) when it cannot be read. */
  async open(name: string, file: string): Promise<CheckpointPart | undefined> {
    const path = this.path(file);
    const all = await this.attempt(async () => {
      return path.endsWith(".pt")
        ? openTorchArchive(path, { signal: this.signal })
        : (await openSafetensors(path, { signal: this.signal })).entries;
    });
    if (!all) return undefined;
    const isUnused = (entry: TensorEntry) => entry.name.startsWith("model.mtp.");
    const part = { name, path, entries: all.filter((e) => !isUnused(e)), unused: all.filter(isUnused) };
    this.parts.push(part);
    return part;
  }

  check(part: CheckpointPart | undefined, layout: layouts.Layout | undefined): void {
    if (!part || !layout) return;
    const where = relative(this.directory, part.path) || "the model-*.safetensors";
    this.problems.push(...tensorProblems(part.entries, layout).map((problem) => `${where}: ${problem}`));
  }
}

async function surveyLlm(s: Surveyor): Promise<configs.LlmConfig | undefined> {
  const config = await s.config("config.json", configs.parseLlmConfig);
  s.check(await s.open("language model", ""), config && layouts.llmLayout(config));
  const copy = "language_model_embedding.pt";
  if (s.holds(copy)) s.check(await s.open("text embedding copy", copy), config && layouts.textEmbeddingLayout(config));
  return config;
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
      s.problems.push(`audio/global_cmvn: normalises ${cmvn.mean.length} features, frames have ${frame}`);
    }
    if (audio && audio.input_size !== stacked) {
      s.problems.push(
        `audio/preprocessor_config.json: gives ${stacked} features a step, the encoder takes ${audio.input_size}`,
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
 * The decoder's `.pt` under `audio_codec/`. Published configurations name it as seen from somewhere else
 * (`ckpts/….pt`), so a file of the same base name beside the configuration is it too; never one outside the folder.
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
        `audio/audio_embeddings.pt: ${speech.books} books; the speech decoder reads ${1 + codec.codec_codebooks}`,
      );
    }
    if (speech.vocab < needed) {
      s.problems.push(
        `audio/audio_embeddings.pt: ${speech.vocab} ids a book; the speech decoder's codes need ${needed}`,
      );
    }
  }
  return speech;
}
