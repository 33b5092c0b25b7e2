import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { CaracalError } from "../errors.js";
import { WavWriter } from "../media/wav.js";
import { OmniModel } from "../model/omni.js";
import type { Part } from "../model/prompt/messages.js";
import { Device } from "../tensor/device.js";
import { type Answer, describeAnswer } from "./answer.js";
import { StatusLine } from "./statusLine.js";

interface Options {
  readonly model: string;
  readonly out: string;
  readonly system?: string;
  readonly json?: true;
  readonly speech: boolean;
  readonly seed: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly repetitionPenalty: number;
  readonly maxTokens: number;
  readonly threads?: number;
  readonly activations: "f32" | "bf16";
  readonly kvTokens?: number;
  readonly device: "auto" | "cpu" | "cuda";
}

/** `caracal run`: one question, one answer, as text on stdout and as speech in a WAV file. */
export function runCommand(): Command {
  const content: Part[] = []; // in the order of the command line
  const part = (make: (value: string) => Part) => (value: string) => void content.push(make(value));
  const video = (interleaveAudio: boolean) => part((file) => ({ type: "video", video: file, interleaveAudio }));
  return new Command("run")
    .description("answer a question given as text, speech, images or video, in the order given here")
    .requiredOption("--model <dir>", "the model directory")
    .option(
      "--text <text>",
      "text of the question",
      part((text) => ({ type: "text", text })),
    )
    .option(
      "--audio <file>",
      "speech or sound",
      part((audio) => ({ type: "audio", audio })),
    )
    .option(
      "--image <file>",
      "an image",
      part((image) => ({ type: "image", image })),
    )
    .option("--video <file>", "a video, its frames only", video(false))
    .option("--video-with-sound <file>", "a video, its sound in step with its frames", video(true))
    .option("--system <text>", "system prompt")
    .option("--out <file>", "the spoken answer, as WAV", "answer.wav")
    .option("--no-speech", "answer in text only")
    .option("--max-tokens <n>", "most steps of the language model", number, 4096)
    .option("--temperature <t>", "0 takes the likeliest text", number, 1)
    .option("--top-k <k>", "draw text among the k likeliest tokens; 0: all", number, 1)
    .option("--top-p <p>", "draw text among the likeliest tokens of this total probability", number, 1)
    .option("--repetition-penalty <r>", "for text that occurred in the last 30 tokens", number, 1)
    .option("--seed <n>", "the same seed gives the same answer", number, 0)
    .addOption(new Option("--device <device>", "backend").choices(["auto", "cpu", "cuda"]).default("auto"))
    .option("--threads <n>", "CPU threads; all that the process may use when left out", number)
    .addOption(new Option("--activations <dtype>", "between operations").choices(["f32", "bf16"]).default("f32"))
    .option("--kv-tokens <n>", "tokens that the KV cache holds", number)
    .option("--json", "print one JSON object, and no progress")
    .action((options: Options) => run(options, content));
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("expected a number");
  return value;
}

async function run(options: Options, content: readonly Part[]): Promise<void> {
  if (content.length === 0)
    throw new CaracalError("INVALID_ARGUMENT", "there is no question: give --text, --audio, --image or --video");
  const out = resolve(options.out);
  if (options.speech) await checkWritable(out);
  const interrupt = new AbortController();
  const onInterrupt = () => {
    process.exitCode = 130;
    interrupt.abort(new Error("interrupted"));
  };
  process.once("SIGINT", onInterrupt); // the second one ends the process
  const status = new StatusLine(process.stderr, !options.json);
  try {
    const answer = await ask(options, content, out, interrupt.signal, status);
    status.clear();
    if (options.json) process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
    else process.stderr.write(describeAnswer(answer));
  } finally {
    status.clear();
    process.off("SIGINT", onInterrupt);
  }
}

async function ask(
  options: Options,
  content: readonly Part[],
  out: string,
  signal: AbortSignal,
  status: StatusLine,
): Promise<Answer> {
  const start = performance.now();
  const { json, speech, seed, temperature, topK, topP, repetitionPenalty, maxTokens, activations } = options;
  await using device = await Device.open({ backend: options.device, threads: options.threads });
  await using model = await OmniModel.load(options.model, {
    device,
    signal,
    activations,
    kvCacheTokens: options.kvTokens,
    onProgress: ({ module, loaded, total }) => status.show(`loading ${module}`, loaded / total),
  });
  const loadSeconds = (performance.now() - start) / 1000;
  const system = options.system === undefined ? [] : [{ role: "system", content: options.system } as const];
  const sampling = { seed, temperature, topK, topP, repetitionPenalty };
  const events = model.generate([...system, { role: "user", content }], { speech, maxTokens, signal, ...sampling });
  let wav: WavWriter | undefined;
  try {
    for await (const event of events) {
      if (event.type === "stage") status.show(event.stage, event.done / event.total);
      if (event.type === "text") {
        status.end(); // from here on, the terminal is the answer's
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
  throw new CaracalError("ABORTED", "the answer ended early");
}

/** Found out before minutes are spent on loading; the file itself is made when there is something to write. */
async function checkWritable(file: string): Promise<void> {
  await access(dirname(file), constants.W_OK).catch((cause) => {
    throw new CaracalError("IO_ERROR", `cannot write ${file}: ${(cause as Error).message}`, { file }, { cause });
  });
}
