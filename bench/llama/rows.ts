import { CaracalError } from "../../lib/errors.js";
import type { MatrixDType } from "../../lib/synth/plan.js";
import type { PresetName } from "../../lib/synth/presets.js";
import type { PeerWeights } from "./deepseek2.js";

/** Weights of Caracal's model. */
export interface OurWeights {
  /** The name in tables. */
  readonly name: string;
  /** The checkpoint that is written. */
  readonly matrices: MatrixDType;
  /** What the checkpoint is quantised to before it is loaded. */
  readonly quantized?: "int8" | "int4";
  /** Whether rows may be rounded to 8-bit integers, as llama.cpp's are. */
  readonly int8Rows?: true;
  /** Bytes per value in memory. */
  readonly bytes: number;
  /** Whether rows are multiplied in f32, so that the f32 peak limits them. */
  readonly f32: boolean;
}

const bf16: OurWeights = { name: "bf16", matrices: "bf16", bytes: 2, f32: true };
// 64 elements share a scale and a bias of 16 bits each.
const int8: OurWeights = { name: "int8", matrices: "bf16", quantized: "int8", bytes: 1 + 4 / 64, f32: true };
const int4: OurWeights = { name: "int4", matrices: "bf16", quantized: "int4", bytes: 0.5 + 4 / 64, f32: true };
const int4Rows: OurWeights = { ...int4, name: "int4 and int8 rows", int8Rows: true, f32: false };
const fp8: OurWeights = { name: "fp8", matrices: "f8e4m3", bytes: 1 + 4 / 128 ** 2, f32: true };

/** Two models that do the same work, to be compared. */
export interface Pair {
  readonly preset: PresetName;
  readonly ours: OurWeights;
  readonly theirs: PeerWeights;
}

export const pairs: readonly Pair[] = [
  { preset: "peer-layer", ours: bf16, theirs: "bf16" },
  { preset: "peer-layer", ours: fp8, theirs: "q8_0" },
  { preset: "peer-layer", ours: int8, theirs: "q8_0" },
  { preset: "peer-layer", ours: int4, theirs: "q4_k" },
  { preset: "peer-layer", ours: int4Rows, theirs: "q4_k" },
  { preset: "mini", ours: bf16, theirs: "bf16" },
];

/** A step of one token in each sequence of a batch, each with a context, or a prompt. */
export type Work =
  | { readonly kind: "decode"; readonly batch: number; readonly context: number }
  | { readonly kind: "prefill"; readonly tokens: number };

/** In an order in which contexts only grow, since llama.cpp must compute them. */
export const works: readonly Work[] = [
  { kind: "prefill", tokens: 64 },
  { kind: "prefill", tokens: 512 },
  { kind: "decode", batch: 1, context: 16 },
  { kind: "decode", batch: 8, context: 16 },
  { kind: "decode", batch: 1, context: 2048 },
  { kind: "decode", batch: 8, context: 2048 },
];

/** Room that the caches of both engines need. */
export const room = { sequences: 8, tokens: 2048 + 64, prompt: 512 } as const;

export const rowsOf = (work: Work): number => (work.kind === "decode" ? work.batch : work.tokens);

export const describeWork = (work: Work): string =>
  work.kind === "decode" ? `decode batch ${work.batch} context ${work.context}` : `prefill ${work.tokens}`;

export const describePair = ({ preset, ours, theirs }: Pair): string => `${preset} ${ours.name}:${theirs}`;

/** What is measured of a pair: its works, and loading. */
export interface Selection {
  readonly pair: Pair;
  readonly works: readonly Work[];
  readonly loads: boolean;
}

export const loading = "load";

/**
 * The pairs and works whose names match.
 * @throws {CaracalError} `INVALID_ARGUMENT` when none does
 */
export function select(filter: RegExp | undefined): Selection[] {
  const matches = (pair: Pair, what: string) => !filter || filter.test(`${describePair(pair)} ${what}`);
  const selected = pairs
    .map((pair) => ({
      pair,
      works: works.filter((work) => matches(pair, describeWork(work))),
      loads: matches(pair, loading),
    }))
    .filter(({ works, loads }) => works.length > 0 || loads);
  if (selected.length > 0) return selected;
  const names = pairs.map(describePair).join(", ");
  const what = [loading, ...works.map(describeWork)].join(", ");
  throw new CaracalError(
    "INVALID_ARGUMENT",
    `--filter ${filter?.source} matches nothing. There are ${names}, each with ${what}`,
  );
}
