import { basename, isAbsolute, join, relative } from "node:path";
import { CaracalError, shown, throwIfAborted } from "../errors.js";
import { aFunction, isRecord, maxPathLength, type OptionRule, oneOf, optional } from "../options.js";
import { Turns } from "../turns.js";
import { compareSteps, unexpected } from "./checkTensors.js";
import { cmvnFromStats } from "./cmvn.js";
import * as configs from "./config.js";
import type { TensorEntry, TensorMap } from "./entry.js";
import { listDirectory, type OpenOptions } from "./formats/file.js";
import { readKaldiMatrix } from "./formats/kaldi.js";
import { openTensorFile } from "./formats/tensorFile.js";
import * as layouts from "./layout.js";
import { isMlx, mlxLayoutSteps } from "./mlxLayout.js";
import { plural, throwProblems } from "./problems.js";
import { recoverAudioConfig, recoverHiddenSize, recoverSpeechConfig, recoverVisionConfig } from "./recover.js";

/** Options of every function that opens a model directory, or a part of one. */
export interface OpenCheckpointOptions extends OpenOptions {
  /**
   * Whether tensors that the library does not know make the checkpoint invalid. By default they are ignored, with a
   * warning.
   */
  readonly strict?: boolean | undefined;
  /**
   * Receives a message for each file with something odd that does not prevent loading it: unknown tensors. From
   * `OmniModel.load` also the warning of `model.memory`. Default: `process.emitWarning` with the type `CaracalWarning`.
   */
  readonly onWarning?: ((message: string) => void) | undefined;
}

export const openCheckpointOptions = {
  signal: true,
  strict: optional(oneOf(true, false)),
  onWarning: optional(aFunction),
} satisfies Record<keyof OpenCheckpointOptions, OptionRule | true>;

/** One file of tensors; for the LLM, all of its shards. */
export interface CheckpointPart {
  readonly name: string;
  readonly path: string;
  readonly entries: readonly TensorEntry[];
  /** Tensors that this library does not use: the multi-token-prediction layer, and those that it does not know. */
  readonly unused: readonly TensorEntry[];
}

/** Refuses a model directory that is not a path. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkDirectory(directory: unknown): asserts directory is string {
  if (typeof directory === "string" && directory !== "" && directory.length <= maxPathLength) return;
  const advice = directory instanceof URL ? "; pass fileURLToPath(url) of node:url" : '; pass "." for the current one';
  const message = `a model directory must be a path, as a string that is not empty, at most ${maxPathLength} long, got ${shown(directory)}${advice}`;
  throw new CaracalError("INVALID_ARGUMENT", message, { argument: "directory", actual: shown(directory) });
}

/** Reads the files of one directory, collecting the parts that it can open and the problems of the others. */
export class Surveyor {
  readonly parts: CheckpointPart[] = [];
  readonly problems: string[] = [];
  readonly warnings: string[] = [];
  readonly turns: Turns;
  readonly #tensors = new Map<string, Map<string, TensorEntry>>();
  readonly #directory: string;
  readonly #names: readonly string[];
  readonly #signal: AbortSignal | undefined;
  readonly #strict: boolean;

  private constructor(directory: string, names: readonly string[], options: OpenCheckpointOptions) {
    this.#directory = directory;
    this.#names = names;
    this.#signal = options.signal;
    this.#strict = options.strict ?? false;
    this.turns = new Turns("opening a checkpoint", options.signal);
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` when there is no such directory, `INVALID_ARGUMENT` for no path */
  static async in(directory: string, options: OpenCheckpointOptions): Promise<Surveyor> {
    checkDirectory(directory);
    return new Surveyor(directory, await listDirectory(directory), options);
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` that lists the problems; without any, passes the warnings on */
  finish({ onWarning = emitWarning }: OpenCheckpointOptions): void {
    throwProblems(this.problems, this.#directory);
    for (const warning of this.warnings) onWarning(`${this.#directory}: ${warning}`);
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
    const part = { name, path, entries: [] as TensorEntry[], unused: [] as TensorEntry[] };
    const found = new Map<string, TensorEntry>();
    for (const entry of tensors.entries) {
      if (entry.name.startsWith("model.mtp.")) part.unused.push(entry);
      else {
        part.entries.push(entry);
        found.set(entry.name, entry);
      }
      if (this.turns.due) await this.turns.next();
    }
    this.parts.push(part);
    this.#tensors.set(name, found);
    return part;
  }

  /** The tensors of the part called `name`, by their names. */
  tensors(name: string): TensorMap {
    return this.#tensors.get(name)!;
  }

  /** Compares the tensors of a part with its layout. Those that the layout does not contain become unused. */
  async check(part: CheckpointPart | undefined, layout: layouts.Layout | undefined): Promise<void> {
    if (!part || !layout) return;
    const file = relative(this.#directory, part.path) || "model-*.safetensors";
    const tensors = this.#tensors.get(part.name)!;
    const { problems, unknown } = await this.turns.during(compareSteps(tensors, layout));
    this.problems.push(...problems.map((problem) => `${file}: ${problem}`));
    const list = this.#strict ? this.problems : this.warnings;
    list.push(...unexpected(unknown).map((line) => `${file}: ${line}`));
    if (unknown.length === 0) return;
    const strangers = unknown.map((name) => tensors.get(name)!);
    for (const name of unknown) tensors.delete(name);
    const known = { ...part, entries: [...tensors.values()], unused: [...part.unused, ...strangers] };
    this.parts[this.parts.indexOf(part)] = known;
  }
}

function emitWarning(message: string): void {
  process.emitWarning(message, { type: "CaracalWarning", code: "CHECKPOINT_UNEXPECTED" });
}

/** Reads `config.json` and the headers of the language model. */
export async function surveyLlm(s: Surveyor) {
  let synthetic = false;
  const config = await s.config("config.json", (source, file) => {
    synthetic = isRecord(source) && source._note === configs.syntheticNote;
    return configs.parseLlmConfig(source, file);
  });
  const part = await s.open("language model", "");
  if (config && part) {
    const tensors = s.tensors(part.name);
    const steps = isMlx(config, tensors) ? mlxLayoutSteps(config, tensors) : layouts.llmLayoutSteps(config);
    await s.check(part, await s.turns.during(steps));
  }
  const copy = "language_model_embedding.pt";
  if (s.holds(copy))
    await s.check(await s.open("text embedding copy", copy), config && layouts.textEmbeddingLayout(config));
  return { config, synthetic };
}

/**
 * Reads the configuration and the headers in `vision/`.
 * @param llm the language model's configuration; without it, the projector's own output width counts
 */
export async function surveyVision(s: Surveyor, llm?: configs.LlmConfig): Promise<configs.VisionConfig | undefined> {
  const encoder = await s.open("vision encoder", "vision/vision_model.pt");
  const projector = await s.open("vision projector", "vision/vision_projector.pt");
  const config = await s.config("vision/config.json", configs.parseVisionConfig, (source) =>
    recoverVisionConfig(source, projector?.entries ?? []),
  );
  await s.check(encoder, config && layouts.visionEncoderLayout(config));
  const width = llm?.hidden_size ?? recoverHiddenSize(projector?.entries, "proj.bias");
  await s.check(projector, config && width !== undefined ? layouts.visionProjectorLayout(config, width) : undefined);
  return config;
}

/** Reads the configurations, the normalisation and the headers of the audio encoder. `llm` is as for the vision part. */
export async function surveyAudio(s: Surveyor, llm?: configs.LlmConfig) {
  const encoder = await s.open("audio encoder", "audio/audio_encoder.pt");
  const projector = await s.open("audio projector", "audio/audio_projector.pt");
  const audio = await s.config("audio/config.json", configs.parseAudioConfig, (source) =>
    recoverAudioConfig(source, encoder?.entries ?? []),
  );
  await s.check(encoder, audio && layouts.audioEncoderLayout(audio));
  const width = llm?.hidden_size ?? recoverHiddenSize(projector?.entries, "2.bias");
  await s.check(projector, audio && width !== undefined ? layouts.audioProjectorLayout(audio, width) : undefined);
  const { features, cmvn } = await surveyAudioFeatures(s);
  if (features && audio) {
    const stacked = frameFeatures(features) * (features.splice.left + 1 + features.splice.right);
    if (audio.input_size !== stacked) {
      s.problems.push(
        `audio/preprocessor_config.json: gives ${stacked} features per step, but the encoder takes ${audio.input_size}`,
      );
    }
  }
  return { audio, features, cmvn };
}

/** Reads the configuration of audio features and their normalisation. */
export async function surveyAudioFeatures(s: Surveyor) {
  const features = await s.config("audio/preprocessor_config.json", configs.parseAudioFeatureConfig);
  const file = s.path("audio/global_cmvn");
  const cmvn = await s.attempt(async () => cmvnFromStats(await readKaldiMatrix(file), file));
  if (features && cmvn && cmvn.mean.length !== frameFeatures(features)) {
    const normalised = plural(cmvn.mean.length, "feature");
    s.problems.push(`audio/global_cmvn: normalises ${normalised}, but frames have ${frameFeatures(features)}`);
  }
  return { features, cmvn };
}

/** The number of features of one frame, before frames are stacked. */
function frameFeatures({ fbank, delta }: configs.AudioFeatureConfig): number {
  return fbank.num_mel_bins * (delta.delta_order + 1);
}

/** Reads the configuration and the header of the speech decoder. */
export async function surveyCodec(s: Surveyor): Promise<configs.CodecConfig | undefined> {
  const config = await s.config("audio_codec/config.yaml", configs.parseCodecConfig);
  const file = config && (await s.attempt(() => findCodecFile(s.path("audio_codec"), config.ckpt_path)));
  if (file) await s.check(await s.open("speech decoder", `audio_codec/${file}`), layouts.codecDecoderLayout(config));
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

/** Reads the headers of the speech embeddings and heads, and checks them against the other parts. */
export async function surveySpeech(
  s: Surveyor,
  llm: configs.LlmConfig | undefined,
  codec: configs.CodecConfig | undefined,
): Promise<layouts.SpeechConfig> {
  const embeddings = await s.open("speech embeddings", "audio/audio_embeddings.pt");
  const heads = await s.open("speech heads", "audio/audio_output_layers.pt");
  const speech = recoverSpeechConfig(embeddings?.entries ?? [], "audio_embeddings");
  await s.check(embeddings, llm && layouts.speechEmbeddingsLayout(speech, llm.hidden_size));
  await s.check(heads, llm && layouts.speechHeadsLayout(speech, llm.hidden_size));
  if (embeddings && codec) s.problems.push(...bookProblems("audio/audio_embeddings.pt", speech, codec));
  return speech;
}

/** The problems of `file` if its books do not cover all codes of the speech decoder. */
export function bookProblems(file: string, speech: layouts.SpeechConfig, codec: configs.CodecConfig): string[] {
  const books = 1 + codec.codec_codebooks;
  const ids = layouts.reservedSpeechIds + Math.max(codec.semantic_token_nums, codec.codec_codebook_size ** 2);
  const problems: string[] = [];
  if (speech.books < books)
    problems.push(`${file}: ${plural(speech.books, "book")}, but the speech decoder reads ${books}`);
  if (speech.vocab < ids)
    problems.push(`${file}: ${speech.vocab} ids per book, but the speech decoder's codes need ${ids}`);
  return problems;
}
