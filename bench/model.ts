import type { Cell } from "../lib/cli/table.js";
import { OmniModel } from "../lib/model/omni.js";
import type { Device } from "../lib/tensor/tensor.js";
import { values } from "./case.js";

export interface ModelBenchOptions {
  /** Tokens of the prefill. */
  readonly prompt: number;
  /** Decoding steps. */
  readonly steps: number;
  /** Seconds of audio to encode, and of speech to decode. */
  readonly seconds: number;
  readonly speechDtype: "stored" | "bf16";
  readonly signal?: AbortSignal | undefined;
}

export interface ModelResult {
  readonly part: string;
  readonly work: string;
  readonly seconds: number;
  readonly tokensPerSecond?: number;
  /** Compute time ÷ duration of the audio, of all streams together: below 1 keeps up with real time. */
  readonly realTimeFactor?: number;
}

const parts = [languageModel, audioEncoder, vision, speechDecoder];

/** Streams of speech in the decoder, which advance together. */
const speechStreams = [1, 8];

/** The number of results of `benchModel`: loading and the parts, of which the language model gives prefill and decoding. */
export const modelResults = parts.length + 1 + speechStreams.length;

/**
 * Times the parts of a model one by one: prefill and decoding of the language model, the audio encoder and the speech
 * decoder as they stream, one stream and several, the vision encoder on one image.
 * @throws {CaracalError} whatever `OmniModel.load` throws
 */
export async function* benchModel(
  directory: string,
  device: Device,
  options: ModelBenchOptions,
): AsyncGenerator<ModelResult> {
  const { speechDtype, signal } = options;
  const start = performance.now();
  const kvCacheTokens = options.prompt + options.steps + 64;
  await using model = await OmniModel.load(directory, { device, kvCacheTokens, speechDtype, signal });
  yield { part: "load", work: directory, seconds: (performance.now() - start) / 1000 };
  for (const part of parts) {
    signal?.throwIfAborted();
    yield* part(model, options);
  }
}

/** The seconds of a second run: the first one maps every page of the weights. */
async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  await run();
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

async function* languageModel(
  model: OmniModel,
  { prompt, steps, signal }: ModelBenchOptions,
): AsyncGenerator<ModelResult> {
  const { llm, device } = model;
  const rows = device.tensor(
    values(prompt * llm.config.hidden_size),
    [prompt, llm.config.hidden_size],
    llm.activations,
  );
  const prefill = async () => {
    const sequence = llm.cache.sequence();
    (await llm.prefill([{ sequence, embeddings: rows }], { signal })).dispose();
    await device.synchronize();
    return sequence;
  };
  const seconds = await secondsOf(async () => (await prefill()).dispose());
  yield { part: "prefill", work: `${prompt} tokens`, seconds, tokensPerSecond: prompt / seconds };

  using sequence = await prefill();
  using x = rows.slice(0, 1);
  const step = async () => {
    using hidden = llm.decode([sequence], x);
    using logits = llm.logits(hidden);
    await logits.read();
  };
  await step();
  const start = performance.now();
  for (let i = 0; i < steps; i++) await step();
  const decode = (performance.now() - start) / 1000;
  yield { part: "decode", work: `${steps} steps`, seconds: decode, tokensPerSecond: steps / decode };
  rows.dispose();
}

async function* audioEncoder(model: OmniModel, { seconds }: ModelBenchOptions): AsyncGenerator<ModelResult> {
  const rate = model.framing.sampleRate;
  const samples = values(Math.round(seconds * rate));
  const spent = await secondsOf(async () => {
    using stream = model.audioEncoder.stream();
    for (let i = 0; i < samples.length; i += rate) {
      stream.push(samples.subarray(i, i + rate))?.dispose();
      await model.device.synchronize();
    }
    stream.flush()?.dispose();
    await model.device.synchronize();
  });
  yield { part: "audio encoder", work: `${seconds} s, 1 s at a time`, seconds: spent, realTimeFactor: spent / seconds };
}

async function* vision(model: OmniModel): AsyncGenerator<ModelResult> {
  const side = 448;
  const data = Uint8Array.from(values(side * side * 3), (v) => (v + 0.5) * 255);
  let tokens = 0;
  const seconds = await secondsOf(async () => {
    const encoded = await model.vision.encodeImages([{ width: side, height: side, data }]);
    tokens = 0;
    for (const image of encoded) {
      tokens += image.tokens.shape[0] ?? 0;
      await model.device.synchronize();
      image.tokens.dispose();
    }
  });
  yield {
    part: "vision encoder",
    work: `one ${side}×${side} image, ${tokens} tokens`,
    seconds,
    tokensPerSecond: tokens / seconds,
  };
}

async function* speechDecoder(model: OmniModel, { seconds }: ModelBenchOptions): AsyncGenerator<ModelResult> {
  const decoder = model.speechDecoder;
  const { semantic_token_nums: semantic, codec_codebook_size: book, codec_codebooks: books } = decoder.config;
  const frames = Math.round((seconds * decoder.sampleRate) / decoder.samplesPerFrame);
  const code = (t: number, n: number) => (t * 7919 + 13) % n;
  const frameAt = (t: number) => [
    code(t, semantic),
    ...Array.from({ length: books }, (_, q) => code(t + q, book * book)),
  ];
  for (const count of speechStreams) {
    const spent = await secondsOf(async () => {
      const streams = Array.from({ length: count }, () => decoder.stream());
      for (let t = 0; t < frames; t++)
        await Promise.all(streams.map((stream, i) => stream.push([frameAt(t * count + i)])));
      await Promise.all(streams.map((stream) => stream.flush()));
      for (const stream of streams) stream.dispose();
    });
    const each = `${seconds} s, one ${(1000 * decoder.samplesPerFrame) / decoder.sampleRate} ms frame at a time`;
    yield {
      part: "speech decoder",
      work: count === 1 ? each : `${count} streams of ${each}`,
      seconds: spent,
      realTimeFactor: spent / (count * seconds),
    };
  }
}

export const modelHeader = ["part", "work", "s", "tokens/s", "real-time factor"];

export const modelRow = (r: ModelResult): Cell[] => [r.part, r.work, r.seconds, r.tokensPerSecond, r.realTimeFactor];
