import { Command } from "commander";
import { CaracalError } from "../errors.js";
import { WavWriter } from "../media/wav.js";
import { OmniModel } from "../model/omni.js";
import { defaultPromptLimits } from "../model/prompt/limits.js";
import type { Part } from "../model/prompt/messages.js";
import { checkGenerateOptions } from "../model/reply/options.js";
import { Device } from "../tensor/tensor.js";
import { type Answer, describeAnswer } from "./answer.js";
import { checkMedia, checkOut } from "./checks.js";
import { interruptible } from "./interrupt.js";
import {
  activationsOption,
  asCommandLine,
  deviceOption,
  givenModel,
  jsonOption,
  modelOption,
  parseAboveZero,
  parseCount,
  parseNonNegative,
  parsePositive,
  parseProbability,
  speechDtypeOption,
  strictOption,
  threadsOption,
} from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly model?: string;
  readonly strict?: true;
  readonly out: string;
  readonly system?: string;
  readonly json?: true;
  readonly speech: boolean;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly repetitionPenalty?: number;
  readonly maxTokens: number;
  readonly threads?: number;
  readonly activations: "f32" | "bf16";
  readonly speechDtype: "stored" | "bf16";
  readonly kvTokens?: number;
  readonly audioSeconds: number;
  readonly maxPixels?: number;
  readonly imagePixels?: number;
  readonly maxSeconds?: number;
  readonly maxFrames?: number;
  readonly autoOrient: boolean;
  readonly device: "auto" | "cpu" | "cuda";
}

/** `caracal run`: answers one question, as text on stdout and as speech in a WAV file. */
export function runCommand(): Command {
  const content: Part[] = []; // in the order of the command line
  const part = (make: (value: string) => Part) => (value: string) => void content.push(make(value));
  const text = part((text) => ({ type: "text", text }));
  const audio = part((audio) => ({ type: "audio", audio }));
  const image = part((image) => ({ type: "image", image }));
  const video = (interleaveAudio: boolean) => part((video) => ({ type: "video", video, interleaveAudio }));
  return new Command("run")
    .description("answer a question of text, speech, images and videos, in the order of these options")
    .addOption(modelOption())
    .addOption(strictOption())
    .option("--text <text>", "text of the question", text)
    .option("--audio <file>", "speech or other sound", audio)
    .option("--image <file>", "image", image)
    .option("--video <file>", "frames of a video, without its sound", video(false))
    .option("--video-with-sound <file>", "frames of a video, interleaved with its sound", video(true))
    .option("--audio-seconds <s>", "longest sound in seconds", parseAboveZero, defaultPromptLimits.audioSeconds)
    .option("--max-pixels <n>", "most pixels of an image or frame (default: 67108864)", parseAboveZero)
    .option("--image-pixels <n>", "most pixels of all images together (default: 268435456)", parsePositive)
    .option("--max-seconds <s>", "longest video in seconds (default: 14400)", parseAboveZero)
    .option("--max-frames <n>", "most frames of a video (default: 1048576)", parseAboveZero)
    .option("--no-auto-orient", "leave the EXIF orientation of images aside, as the published code does")
    .option("--system <text>", "system prompt")
    .option("--out <file>", "WAV file for the spoken answer", "answer.wav")
    .option("--no-speech", "answer in text only")
    .option("--max-tokens <n>", "maximum number of steps of the language model", parsePositive, 4096)
    .option(
      "--temperature <t>",
      "sampling temperature of text; 0: the most likely token (default: 1)",
      parseNonNegative,
    )
    .option("--top-k <k>", "sample text from the k most likely tokens; 0: all (default: see below)", parseCount)
    .option("--top-p <p>", "sample text from the most likely tokens with this total probability", parseProbability)
    .option(
      "--repetition-penalty <r>",
      "penalty for sampled text among the last 30 tokens (default: 1, off)",
      parseAboveZero,
    )
    .option("--stop <text...>", "end the answer before one of these texts")
    .option("--seed <n>", "seed of the sampling; the same seed gives the same answer", parseCount, 0)
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addOption(activationsOption())
    .addOption(speechDtypeOption())
    .option("--kv-tokens <n>", "tokens that the KV cache can hold", parsePositive)
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nThe most likely token is always taken, unless --temperature, --top-k or --top-p is given: a temperature or\n" +
        "--top-p alone samples from all tokens.",
    )
    .action((options: Options) => run(options, content));
}

async function run(options: Options, parts: readonly Part[]): Promise<void> {
  const model = givenModel(options);
  const content = parts.map((part) => limited(part, options));
  if (content.length === 0)
    throw new CaracalError("INVALID_ARGUMENT", "there is no question: pass --text, --audio, --image or --video");
  const out = options.speech ? await checkOut(options.out) : "";
  const progress = new ProgressBar(!options.json);
  try {
    const answer = await interruptible((signal) => ask({ ...options, model }, content, out, signal, progress));
    progress.clear();
    if (options.json) process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
    else process.stderr.write(describeAnswer(answer));
  } catch (error) {
    throw asCommandLine(error);
  } finally {
    progress.clear();
  }
}

/** A part with the limits of the command line. */
function limited(part: Part, { maxPixels, maxSeconds, maxFrames, autoOrient }: Options): Part {
  if (part.type === "image") return { ...part, maxPixels, autoOrient };
  if (part.type === "video") return { ...part, maxPixels, maxSeconds, maxFrames };
  return part;
}

type ModelOptions = Options & { readonly model: string };

/** Loads what the question needs. */
function load(
  options: ModelOptions,
  content: readonly Part[],
  device: Device,
  signal: AbortSignal,
  progress: ProgressBar,
): Promise<OmniModel> {
  return OmniModel.load(options.model, {
    vision: content.some(({ type }) => type === "image" || type === "video"),
    audio: content.some((part) => part.type === "audio" || (part.type === "video" && part.interleaveAudio)),
    speech: options.speech,
    device,
    signal,
    strict: options.strict,
    onWarning: (message) => process.stderr.write(`warning: ${message}\n`),
    activations: options.activations,
    speechDtype: options.speechDtype,
    kvCacheTokens: options.kvTokens,
    onProgress: ({ module, loaded, total }) => progress.show(`loading ${module}`, loaded, total),
  });
}

async function ask(
  options: ModelOptions,
  content: readonly Part[],
  out: string,
  signal: AbortSignal,
  progress: ProgressBar,
): Promise<Answer> {
  const start = performance.now();
  const { json, speech, maxTokens, audioSeconds, imagePixels } = options;
  const { seed, stop, temperature, topK, topP, repetitionPenalty } = options;
  const sampling = { seed, stop, temperature, topK, topP, repetitionPenalty };
  checkGenerateOptions({ speech, maxTokens, ...sampling });
  await checkMedia(content, audioSeconds, signal);
  await using device = await Device.open({ backend: options.device, threads: options.threads });
  await using model = await load(options, content, device, signal, progress);
  const loadSeconds = (performance.now() - start) / 1000;
  const system = options.system === undefined ? [] : [{ role: "system", content: options.system } as const];
  const events = model.generate([...system, { role: "user", content }], {
    speech,
    maxTokens,
    signal,
    limits: { audioSeconds, imagePixels },
    ...sampling,
  });
  let wav: WavWriter | undefined;
  try {
    for await (const event of events) {
      if (event.type === "stage") progress.show(event.stage, event.done, event.total);
      if (event.type === "text") {
        progress.end(); // from here on, the answer is being printed
        if (!json) process.stdout.write(event.text);
      }
      if (event.type === "audio") {
        wav ??= await WavWriter.create(out, event.sampleRate);
        await wav.write(event.samples);
      }
      if (event.type !== "end") continue;
      if (!json) process.stdout.write("\n");
      return {
        text: event.text,
        reason: event.reason,
        stopString: event.stopString,
        audio: wav ? { file: out, seconds: wav.seconds } : null,
        model: model.checkpoint.directory,
        synthetic: model.synthetic,
        device: device.name,
        virtual: device.virtual,
        seed,
        loadSeconds,
        usage: event.usage,
        peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      };
    }
  } finally {
    await wav?.close();
  }
  throw new CaracalError("ABORTED", "the answer ended before it was complete");
}
