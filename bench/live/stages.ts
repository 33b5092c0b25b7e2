// What each stage of the conversations costs alone: processor time on a machine that does nothing else, for as much work at a
// time as the sessions gave it on average.
import { VoiceActivityDetector } from "../../lib/live/voiceActivity.js";
import type { OmniModel } from "../../lib/model/omni.js";
import { random, values } from "../case.js";
import { type Phase, temperature } from "./run.js";

/** The share that a stage has in the processor time of all processors. */
export interface StageShare {
  readonly stage: string;
  /** What it is given, and what that costs. */
  readonly work: string;
  readonly milliseconds: number;
  /** Of the time of all processors, with as much work as the sessions had. */
  readonly share: number;
}

/** The number of results of `measureStages`. */
export const stageResults = 6;

/** Seconds of sound of each measurement. */
const seconds = 6;

/**
 * Measures the stages alone, and multiplies with the work of the phases.
 * @param processors which the shares are of
 */
export async function* measureStages(
  model: OmniModel,
  phases: readonly Phase[],
  { sessions, processors, signal }: { sessions: number; processors: number; signal?: AbortSignal | undefined },
): AsyncGenerator<StageShare> {
  const total = (of: (phase: Phase) => number) => phases.reduce((sum, phase) => sum + of(phase), 0);
  const available = processors * total((phase) => phase.seconds);
  const audioSeconds = total(({ work }) => work.audioSeconds);
  const spokenSeconds = total(({ work }) => work.spokenSeconds);
  const replies = Math.max(1, Math.round(audioSeconds / total((phase) => phase.seconds)));
  let rest = total(({ processor }) => processor);
  const share = (stage: string, work: string, cost: number, count: number): StageShare => {
    signal?.throwIfAborted();
    rest -= cost * count;
    return { stage, work, milliseconds: 1000 * cost, share: (cost * count) / available };
  };
  const heard = sessions * total((phase) => phase.seconds);
  yield share(
    "voice activity",
    `1 s of sound, ${sessions} sessions at a time`,
    await voiceActivity(model, sessions),
    heard,
  );
  yield share("audio encoder", "1 s of speech", await audioEncoder(model), spokenSeconds);
  yield share("prefill", "the rows of 1 s of speech", await prefill(model), spokenSeconds);
  const speech = await speechDecoder(model, replies);
  const frames = audioSeconds / (model.speechDecoder.samplesPerFrame / model.speechDecoder.sampleRate);
  const step = await replySteps(model, replies);
  yield share("decoding", `a step, ${replies} replies at a time`, Math.max(0, step - speech), frames);
  yield share("speech decoder", `a frame, ${replies} replies at a time`, speech, frames);
  yield share(
    "the rest",
    "1 s of all sessions",
    rest / total((phase) => phase.seconds),
    total((phase) => phase.seconds),
  );
}

/** Seconds of processor time that a second run takes: the first one compiles and maps. */
async function costOf(run: () => Promise<unknown>): Promise<number> {
  await run();
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

async function voiceActivity({ device }: OmniModel, sessions: number): Promise<number> {
  using detector = await VoiceActivityDetector.open({ device });
  const sound = Float32Array.from(values(detector.sampleRate), (value) => value / 10);
  const cost = await costOf(async () => {
    const streams = Array.from({ length: sessions }, () => detector.stream());
    for (let i = 0; i < seconds; i++) await Promise.all(streams.map((stream) => stream.push(sound)));
  });
  return cost / (sessions * seconds);
}

async function audioEncoder({ audioEncoder, framing, device }: OmniModel): Promise<number> {
  const sound = Float32Array.from(values(framing.sampleRate), (value) => value / 10);
  const cost = await costOf(async () => {
    using stream = audioEncoder.stream();
    for (let i = 0; i < seconds; i++) stream.push(sound)?.dispose();
    await device.synchronize();
  });
  return cost / seconds;
}

/** Rows of a second of speech: its tokens and time stamp. */
const rowsPerSecond = 16;

async function prefill({ llm, device }: OmniModel): Promise<number> {
  using embeddings = random(device, [rowsPerSecond, llm.config.hidden_size], llm.activations);
  const cost = await costOf(async () => {
    using sequence = llm.cache.sequence();
    for (let i = 0; i < seconds; i++) (await llm.prefill([{ sequence, embeddings }])).dispose();
    await device.synchronize();
  });
  return cost / seconds;
}

/** A step of one of several spoken replies, with all that follows from it. */
async function replySteps(model: OmniModel, replies: number): Promise<number> {
  const length = 50;
  const cost = await costOf(async () => {
    const reply = async (seed: number) => {
      for await (const _ of model.generate([{ role: "user", content: "Hello!" }], {
        maxTokens: length,
        temperature,
        seed,
      }));
    };
    await Promise.all(Array.from({ length: replies }, (_, i) => reply(i)));
  });
  return cost / (replies * length);
}

async function speechDecoder({ speechDecoder }: OmniModel, streams: number): Promise<number> {
  const frames = 50;
  const frame = Array.from({ length: 1 + speechDecoder.config.codec_codebooks }, () => 1);
  const cost = await costOf(async () => {
    const all = Array.from({ length: streams }, () => speechDecoder.stream());
    for (let i = 0; i < frames; i++) await Promise.all(all.map((stream) => stream.push([frame])));
    await Promise.all(all.map((stream) => stream.flush()));
    for (const stream of all) stream.dispose();
  });
  return cost / (streams * frames);
}
