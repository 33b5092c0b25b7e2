import { type ReplyUsage, type StageUsage, stages } from "../model/reply/usage.js";
import { alignColumns } from "./table.js";

/** The document that `caracal run --json` prints. Times are in seconds. */
export interface Answer {
  readonly text: string;
  readonly reason: "stop" | "length";
  /** The text of `--stop` that ended the answer; null if none did. */
  readonly stopString: string | null;
  readonly audio: { readonly file: string; readonly seconds: number } | null;
  readonly model: string;
  /** True if the weights are random, so that the answer means nothing. */
  readonly synthetic: boolean;
  readonly device: string;
  /** True if a virtual GPU ran the model, so that the times say nothing about a GPU. */
  readonly virtual: boolean;
  readonly seed: number;
  readonly loadSeconds: number;
  readonly usage: ReplyUsage;
  readonly peakMemoryBytes: number;
}

/** A table of the stages, and the place of the spoken answer. */
export function describeAnswer(answer: Answer): string {
  const { usage, audio, device, peakMemoryBytes } = answer;
  const seconds = (value: number | null) => (value === null ? "-" : `${value.toFixed(2)} s`);
  const rows = stages
    .map((stage) => ({ stage, unit: units[stage] ?? "tokens", ...usage.stages[stage] }))
    .filter((used) => used.tokens > 0 || used.seconds > 0)
    .map((used) => [used.stage, seconds(used.seconds), ...amounts(used)]);
  const table = alignColumns([["load", seconds(answer.loadSeconds), "", ""], ...rows], [1, 2]);
  const first = `first text ${seconds(usage.firstText)}, first audio ${seconds(usage.firstAudio)}`;
  const lines = [
    "",
    ...table.map((line) => `  ${line}`),
    `${first}, whole reply ${seconds(usage.total)}; peak memory ${(peakMemoryBytes / 2 ** 20).toFixed(0)} MiB; ${device}`,
  ];
  if (answer.virtual) lines.push("A virtual GPU ran the model: these times say nothing about a GPU.");
  if (answer.reason === "length") lines.push("The reply reached the maximum number of steps and was cut off.");
  if (answer.synthetic)
    lines.push("The weights of this model are random (`caracal synth`): the answer is noise and means nothing.");
  lines.push(audio ? `speech: ${audio.file} (${audio.seconds.toFixed(2)} s)` : "no speech");
  return lines.map((line) => `${line}\n`).join("");
}

const units: Readonly<Record<string, string>> = { decode: "steps", "speech decoder": "frames" };

/** The output of a stage and its speed. */
function amounts({ unit, tokens, seconds, audioSeconds }: StageUsage & { unit: string }): string[] {
  if (tokens === 0) return ["", ""];
  const speed =
    audioSeconds > 0
      ? `${audioSeconds.toFixed(2)} s audio, real-time factor ${(seconds / audioSeconds).toFixed(3)}`
      : `${(tokens / seconds).toFixed(1)} ${unit}/s`;
  return [`${tokens} ${unit}`, speed];
}
