import { type ReplyUsage, type StageUsage, stages } from "../model/reply/usage.js";

/** What `caracal run --json` prints. Times in seconds. */
export interface Answer {
  readonly text: string;
  readonly reason: "stop" | "length";
  readonly audio: { readonly file: string; readonly seconds: number } | null;
  readonly model: string;
  /** The weights are random: the answer means nothing. */
  readonly synthetic: boolean;
  readonly device: string;
  /** A virtual GPU stood in for one: the times say nothing of a GPU. */
  readonly virtual: boolean;
  readonly seed: number;
  readonly loadSeconds: number;
  readonly usage: ReplyUsage;
  readonly peakMemoryBytes: number;
}

/** A table of the stages, and where the answer is. */
export function describeAnswer(answer: Answer): string {
  const { usage, audio, device, peakMemoryBytes } = answer;
  const seconds = (value: number | null) => (value === null ? "-" : `${value.toFixed(2)} s`);
  const rows = stages
    .map((stage) => ({ stage, unit: units[stage] ?? "tokens", ...usage.stages[stage] }))
    .filter((used) => used.tokens > 0 || used.seconds > 0)
    .map((used) => [used.stage, seconds(used.seconds), ...amounts(used)]);
  const table = align([["load", seconds(answer.loadSeconds), "", ""], ...rows]);
  const first = `first text ${seconds(usage.firstText)}, first audio ${seconds(usage.firstAudio)}`;
  const where = audio ? `speech: ${audio.file} (${audio.seconds.toFixed(2)} s)` : "no speech";
  return [
    "",
    table,
    `${first}, whole reply ${seconds(usage.total)}; peak memory ${(peakMemoryBytes / 2 ** 20).toFixed(0)} MiB; ${device}`,
    answer.virtual ? "A virtual GPU stood in for one: these times say nothing of a GPU." : "",
    answer.reason === "length" ? "The reply was cut off at the most steps allowed." : "",
    answer.synthetic ? "This model's weights are random (`caracal synth`): the answer is noise and means nothing." : "",
    where,
  ]
    .filter((line, i) => i === 0 || line !== "")
    .map((line) => `${line}\n`)
    .join("");
}

const units: Readonly<Record<string, string>> = { decode: "steps", "speech decoder": "frames" };

/** How much a stage made, and how fast. */
function amounts({ unit, tokens, seconds, audioSeconds }: StageUsage & { unit: string }): string[] {
  if (tokens === 0) return ["", ""];
  const speed =
    audioSeconds > 0
      ? `${audioSeconds.toFixed(2)} s audio, real-time factor ${(seconds / audioSeconds).toFixed(3)}`
      : `${(tokens / seconds).toFixed(1)} ${unit}/s`;
  return [`${tokens} ${unit}`, speed];
}

function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const right = [1, 2];
  const pad = (cell: string, i: number) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => `  ${row.map(pad).join("  ")}`.trimEnd()).join("\n");
}
