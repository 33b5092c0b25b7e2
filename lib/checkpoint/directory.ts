import { basename, isAbsolute, join, relative } from "node:path";
import { CaracalError, throwIfAborted } from "../errors.js";
import { tensorProblems } from "./check.js";
import * as configs from "./config.js";
import type { TensorEntry } from "./entry.js";
import { throwProblems } from "./fields.js";
import { BoundedFile, listDirectory } from "./file.js";
import { isRecord } from "./json.js";
import { type Cmvn, cmvnFromStats, readKaldiMatrix } from "./kaldi.js";
import * as layouts from "./layout.js";
import { recoverAudioConfig, recoverHiddenSize, recoverSpeechConfig, recoverVisionConfig } from "./recover.js";
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
  /** Whether `caracal synth` wrote the directory: the weights are random, and the output means nothing. */
  readonly synthetic: boolean;
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
  readonly synthetic: boolean;
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
  const tensors = (name: string) => tensorMap(survey.parts, name);
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
    synthetic: survey.synthetic,
  };
}

/** The tensors of the part called `name`, by their names. */
export function tensorMap(parts: readonly CheckpointPart[], name: string): TensorMap {
  const { entries } = parts.find((part) => part.name === name)!;
  return new Map(entries.map((entry) => [entry.name, entry]));
}

/** Like {@link openCheckpoint}, but reports what is wrong instead of throwing it. */
export async function surveyCheckpoint(directory: string, { signal }: OpenOptions = {}): Promise<CheckpointSurvey> {
  const surveyor = new Surveyor(directory, await listDirectory(directory), signal);
  const { config: llm, synthetic } = await surveyLlm(surveyor);
  const vision = await surveyVision(surveyor, llm);
  const { audio, features, cmvn } = await surveyAudio(surveyor, llm);
  const codec = await surveyCodec(surveyor);
  const speech = await surveySpeech(surveyor, llm, codec);
  const tokenizer = { model: surveyor.path("tokenizer.json"), config: surveyor.path("tokenizer_config.json") };
  await surveyor.attempt(() => configs.readConfig(tokenizer.config));
  await surveyor.attempt(() => BoundedFile.use(tokenizer.model, async () => {})); // long: parsed when it is used
  const { parts, problems } = surveyor;
  const found = { llm, vision, audio, features, speech, codec };
  return { directory, parts, problems, cmvn, tokenizer, synthetic, configs: found };
}

/** Reads files of a directory and collects what is wrong with them. */
export class Surveyor {
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

export async function surveyLlm(s: Surveyor) {
  const file = s.path("config.json");
  const source = await s.attempt(() => configs.readConfig(file));
  const config = source === undefined ? undefined : await s.attempt(async () => configs.parseLlmConfig(source, file));
  s.check(await s.open("language model", ""), config && layouts.llmLayout(config));
  const copy = "language_model_embedding.pt";
  if (s.holds(copy)) s.check(await s.open("text embedding copy", copy), config && layouts.textEmbeddingLayout(config));
  const note = isRecord(source) ? source._note : undefined;
  return { config, synthetic: typeof note === "string" && note.includes("caracal synth") };
}

/** @param llm the language model's configuration; without it, the projector itself gives the width of its output */
export async function surveyVision(
  s: Surveyor,
  llm?: configs.LlmConfig | undefined,
): Promise<configs.VisionConfig | undefined> {
  const encoder = await s.open("vision encoder", "vision/vision_model.pt");
  const projector = await s.open("vision projector", "vision/vision_projector.pt");
  const config = await s.config("vision/config.json", configs.parseVisionConfig, (source) =>
    recoverVisionConfig(source, projector?.entries ?? []),
  );
  s.check(encoder, config && layouts.visionEncoderLayout(config));
  const width = llm?.hidden_size ?? recoverHiddenSize(projector?.entries, "proj.bias");
  s.check(projector, config && width !== undefined ? layouts.visionProjectorLayout(config, width) : undefined);
  return config;
}

/** @param llm as for `surveyVision` */
export async function surveyAudio(s: Surveyor, llm?: configs.LlmConfig | undefined) {
  const encoder = await s.open("audio encoder", "audio/audio_encoder.pt");
  const projector = await s.open("audio projector", "audio/audio_projector.pt");
  const audio = await s.config("audio/config.json", configs.parseAudioConfig, (source) =>
    recoverAudioConfig(source, encoder?.entries ?? []),
  );
  s.check(encoder, audio && layouts.audioEncoderLayout(audio));
  const width = llm?.hidden_size ?? recoverHiddenSize(projector?.entries, "2.bias");
  s.check(projector, audio && width !== undefined ? layouts.audioProjectorLayout(audio, width) : undefined);
  const { features, cmvn } = await surveyAudioFeatures(s);
  if (features && audio) {
    const stacked = frameFeatures(features) * (features.splice.left + 1 + features.splice.right);
    if (audio.input_size !== stacked) {
      s.problems.push(
        `audio/preprocessor_config.json: gives ${stacked} features a step, the encoder takes ${audio.input_size}`,
      );
    }
  }
  return { audio, features, cmvn };
}

export async function surveyAudioFeatures(s: Surveyor) {
  const features = await s.config("audio/preprocessor_config.json", configs.parseAudioFeatureConfig);
  const file = s.path("audio/global_cmvn");
  const cmvn = await s.attempt(async () => cmvnFromStats(await readKaldiMatrix(file), file));
  if (features && cmvn && cmvn.mean.length !== frameFeatures(features)) {
    s.problems.push(
      `audio/global_cmvn: normalises ${cmvn.mean.length} features, frames have ${frameFeatures(features)}`,
    );
  }
  return { features, cmvn };
}

/** Features of one frame, before frames are stacked. */
const frameFeatures = ({ fbank, delta }: configs.AudioFeatureConfig) => fbank.num_mel_bins * (delta.delta_order + 1);

export async function surveyCodec(s: Surveyor): Promise<configs.CodecConfig | undefined> {
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
  if (embeddings && codec) s.problems.push(...bookProblems("audio/audio_embeddings.pt", speech, codec));
  return speech;
}

/** Whether the books in `file` cover the speech decoder's codes. */
export function bookProblems(file: string, speech: layouts.SpeechConfig, codec: configs.CodecConfig): string[] {
  const books = 1 + codec.codec_codebooks;
  const ids = layouts.reservedSpeechIds + Math.max(codec.semantic_token_nums, codec.codec_codebook_size ** 2);
  return [
    ...(speech.books < books ? [`${file}: ${speech.books} books; the speech decoder reads ${books}`] : []),
    ...(speech.vocab < ids ? [`${file}: ${speech.vocab} ids a book; the speech decoder's codes need ${ids}`] : []),
  ];
}
