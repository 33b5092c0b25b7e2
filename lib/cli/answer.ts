import { type ReplyUsage, stages } from "../model/generate.js";

/** What `caracal run --json` prints. Times in seconds. */
export interface Answer {
  readonly text: string;
  readonly reason: "stop" | "length";
  readonly audio: { readonly file: string; readonly seconds: number } | null;
  readonly model: string;
  /** The weights are random: the answer means nothing. */
  readonly synthetic: boolean;
  readonly device: string;
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
    .map((stage) => ({ stage, ...usage.stages[stage] }))
    .filter(({ tokens, seconds }) => tokens > 0 || seconds > 0)
    .map(({ stage, ...used }) => [
      stage,
      seconds(used.seconds),
      `${used.tokens} ${units[stage] ?? "tokens"}`,
      used.audioSeconds > 0
        ? `${used.audioSeconds.toFixed(2)} s audio, real-time factor ${(used.seconds / used.audioSeconds).toFixed(3)}`
        : `${(used.tokens / used.seconds).toFixed(1)} ${units[stage] ?? "tokens"}/s`,
    ]);
  const table = align([["load", seconds(answer.loadSeconds), "", ""], ...rows]);
  const first = `first text ${seconds(usage.firstText)}, first audio ${seconds(usage.firstAudio)}`;
  const where = audio ? `speech: ${audio.file} (${audio.seconds.toFixed(2)} s)` : "no speech";
  return [
    "",
    table,
    `${first}, whole reply ${seconds(usage.total)}; peak memory ${(peakMemoryBytes / 2 ** 20).toFixed(0)} MiB; ${device}`,
    answer.reason === "length" ? "The reply was cut off at the most steps allowed." : "",
    answer.synthetic ? "This model's weights are random (`caracal synth`): the answer is noise and means nothing." : "",
    where,
  ]
    .filter((line, i) => i === 0 || line !== "")
    .map((line) => `${line}\n`)
    .join("");
}

const units: Readonly<Record<string, string>> = { decode: "steps", "speech decoder": "frames" };

function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const right = [1, 2];
  const pad = (cell: string, i: number) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => `  ${row.map(pad).join("  ")}`.trimEnd()).join("\n");
}
