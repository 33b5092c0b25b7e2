import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { CaracalError, printable } from "../errors.js";
import { OmniModel } from "../model/omni.js";
import { defaultLimits } from "../server/limits.js";
import { type ServeOptions, serve } from "../server/serve.js";
import { Device } from "../tensor/tensor.js";
import { interruptible } from "./interrupt.js";
import {
  activationsOption,
  deviceOption,
  givenModel,
  integerIn,
  modelOption,
  parseAboveZero,
  parsePositive,
  speechDtypeOption,
  threadsOption,
} from "./options.js";
import { ProgressBar } from "./progress.js";

interface Options {
  readonly model?: string;
  readonly host: string;
  readonly port: number;
  readonly name?: string;
  readonly apiKey?: string;
  readonly cors?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly vision: boolean;
  readonly audio: boolean;
  readonly speech: boolean;
  readonly device: "auto" | "cpu" | "cuda";
  readonly threads?: number;
  readonly activations: "f32" | "bf16";
  readonly speechDtype: "stored" | "bf16";
  readonly kvTokens?: number;
  readonly maxBatch?: number;
  readonly prefixCache: boolean;
  readonly maxBody: number;
  readonly maxMessages: number;
  readonly maxImages: number;
  readonly imagePixels: number;
  readonly audioSeconds: number;
  readonly videoSeconds: number;
  readonly maxChoices: number;
  readonly maxTokens: number;
  readonly maxReplies: number;
  readonly maxConnections: number;
  readonly maxSessions: number;
  readonly sessionSeconds: number;
  readonly maxMessage: number;
  readonly waitingSeconds: number;
  readonly unreadBytes: number;
  readonly readSeconds: number;
  readonly drainSeconds: number;
  readonly spokenReplies: number;
  readonly spokenSeconds: number;
}

/** `caracal serve`: answers requests in the forms of OpenAI's API. */
export function serveCommand(): Command {
  const limits = defaultLimits;
  const command = new Command("serve")
    .description("answer clients of OpenAI's chat completions and real-time protocol, and show a web page to talk with")
    .addOption(modelOption())
    .option("--host <address>", "where to listen; 0.0.0.0: on all networks", "127.0.0.1")
    .option("--port <n>", "0: a free one", integerIn({ min: 0, max: 65535 }), 8000)
    .option("--name <name>", "the model's name in requests (default: that of its directory)")
    .addOption(
      new Option("--api-key <key>", "what clients must send; other users of the machine may see it here").env(
        "CARACAL_API_KEY",
      ),
    )
    .option("--cors <origin>", "origin of web pages that may use the server; *: all (default: none)")
    .option("--tls-cert <file>", "certificate in PEM, for HTTPS")
    .option("--tls-key <file>", "key of the certificate in PEM")
    .option("--no-vision", "load nothing for images and videos")
    .option("--no-audio", "load nothing for sound in questions")
    .option("--no-speech", "load nothing for spoken answers")
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addOption(activationsOption())
    .addOption(speechDtypeOption())
    .option("--kv-tokens <n>", "tokens that the KV cache can hold, for all replies together", parsePositive)
    .option("--no-prefix-cache", "compute every prompt anew, also if it begins like an earlier one")
    .option("--max-batch <n>", "most replies per step of the language model (default: 16)", parsePositive)
    .option("--max-body <bytes>", "most bytes of a request", parsePositive, limits.bodyBytes)
    .option("--max-messages <n>", "most messages of a conversation", parsePositive, limits.messages)
    .option("--max-images <n>", "most images and videos of a conversation", parsePositive, limits.images)
    .option("--image-pixels <n>", "most pixels of a conversation's images together", parsePositive, limits.imagePixels)
    .option("--audio-seconds <s>", "longest sound in seconds", parseAboveZero, limits.audioSeconds)
    .option("--video-seconds <s>", "longest video in seconds", parseAboveZero, limits.videoSeconds)
    .option("--max-choices <n>", "most choices of a request", parsePositive, limits.choices)
    .option("--max-tokens <n>", "most steps of the language model for a reply", parsePositive, limits.maxTokens)
    .option("--max-replies <n>", "most replies in progress; beyond, clients get 429", parsePositive, limits.replies)
    .option("--max-connections <n>", "most connections", parsePositive, limits.connections)
    .option("--read-seconds <s>", "how long a client may take or send nothing", parseAboveZero, limits.readSeconds)
    .option("--drain-seconds <s>", "how long replies may go on after Ctrl-C", parseAboveZero, limits.drainSeconds)
    .option(
      "--spoken-replies <n>",
      "most spoken replies that later turns can name",
      parsePositive,
      limits.spokenReplies,
    )
    .option("--spoken-seconds <s>", "how long they can be named", parseAboveZero, limits.spokenSeconds);
  return realtimeOptions(command)
    .addHelpText(
      "after",
      "\nCtrl-C or SIGTERM lets the replies in progress end; a second one does not. See docs/serving.md.",
    )
    .action(run);
}

function realtimeOptions(command: Command): Command {
  const limits = defaultLimits;
  return command
    .option("--max-sessions <n>", "most real-time sessions; beyond, clients get 429", parsePositive, limits.sessions)
    .option("--session-seconds <s>", "longest real-time session", parseAboveZero, limits.sessionSeconds)
    .option("--max-message <bytes>", "most bytes of a real-time message", parsePositive, limits.messageBytes)
    .option(
      "--waiting-seconds <s>",
      "most real-time sound that waits to be heard",
      parseAboveZero,
      limits.waitingSeconds,
    )
    .option(
      "--unread-bytes <bytes>",
      "real-time events that wait before a reply does",
      parsePositive,
      limits.unreadBytes,
    );
}

async function run(options: Options): Promise<void> {
  const directory = givenModel(options);
  const serveOptions = await serveOptionsOf(options);
  const progress = new ProgressBar(true);
  try {
    await interruptible(async (signal) => {
      await using device = await Device.open({ backend: options.device, threads: options.threads });
      let load = (_model: Promise<OmniModel>) => {};
      const loading = new Promise<OmniModel>((resolve) => {
        load = resolve;
      });
      // It listens before the load, which may take minutes. Why a load fails is reported as for any command.
      const onError = (error: unknown) => server.state !== "failed" && report(error);
      const server = await serve(loading, { ...serveOptions, onError });
      try {
        process.stdout.write(`listening on ${server.url}\n`);
        load(loadModel(directory, options, device, signal, progress));
        await loading;
        progress.end();
        process.stdout.write("ready\n");
        if (!signal.aborted) await once(signal, "abort");
        process.stderr.write("waiting for the replies in progress\n");
        process.exitCode = 0; // the signal is being followed
      } finally {
        await server.close();
        await loading.then((model) => model.dispose()).catch(() => {}); // what failed to load is thrown already
      }
    });
  } finally {
    progress.clear();
  }
}

function loadModel(directory: string, options: Options, device: Device, signal: AbortSignal, progress: ProgressBar) {
  const { vision, audio, speech, activations, speechDtype, kvTokens, maxBatch, prefixCache } = options;
  return OmniModel.load(directory, {
    ...{ vision, audio, speech, activations, speechDtype, maxBatch, prefixCache, device, signal },
    kvCacheTokens: kvTokens,
    onWarning: (message) => process.stderr.write(`warning: ${message}\n`),
    onProgress: ({ module, loaded, total }) => progress.show(`loading ${module}`, loaded, total),
  });
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for one of the files of TLS without the other, `IO_ERROR` */
async function serveOptionsOf(options: Options): Promise<ServeOptions> {
  const { host, port, name: modelName, apiKey, cors, tlsCert, tlsKey } = options;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new CaracalError("INVALID_ARGUMENT", "--tls-cert and --tls-key go together");
  const tls = tlsCert && tlsKey ? { cert: await textOf(tlsCert), key: await textOf(tlsKey) } : undefined;
  if (apiKey === undefined && !/^(127\.|localhost$|::1$)/.test(host))
    process.stderr.write(`warning: everybody who reaches ${printable(host)} can use the model: pass --api-key\n`);
  const { maxBody: bodyBytes, maxMessages: messages, maxImages: images, maxChoices: choices } = options;
  const { maxReplies: replies, maxConnections: connections, maxTokens, imagePixels, audioSeconds } = options;
  const { videoSeconds, readSeconds, drainSeconds, spokenReplies, spokenSeconds } = options;
  const { maxSessions: sessions, sessionSeconds, maxMessage: messageBytes, waitingSeconds, unreadBytes } = options;
  const limits = {
    ...{ sessions, sessionSeconds, messageBytes, waitingSeconds, unreadBytes },
    ...{ bodyBytes, messages, images, imagePixels, audioSeconds, videoSeconds, choices, maxTokens },
    ...{ replies, connections, readSeconds, drainSeconds, spokenReplies, spokenSeconds },
  };
  return { host, port, modelName, apiKey, cors, tls, limits };
}

function report(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`error: ${text.split("\n").map(printable).join("\n")}\n`);
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new CaracalError("IO_ERROR", `cannot read ${file}: ${(cause as Error).message}`, { file }, { cause });
  }
}
