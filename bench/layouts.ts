// biome-ignore-all lint/suspicious/noApproximativeNumericConstant: 0.707 and 0.693 were read off a chart.
// One rank's share of the mixture of experts under CP × EP layouts, and what the LongCat-Flash-Omni report measured for
// each layout (Figure 10: mean MFU of the MoE's grouped GEMMs at 8K sequence length, read off the chart, ±0.003).

import { expertHidden, experts, hidden, realPicks } from "./cases/longcat.js";

/** Sizes of the model's MoE. */
export interface MoeSizes {
  readonly hidden: number;
  readonly expertHidden: number;
  readonly experts: number;
  /** Picks of FFN experts per token: on average 8, since 512 of the 768 experts among which it picks 12 are FFN experts. */
  readonly realPicks: number;
}

export const longcatMoe: MoeSizes = { hidden, expertHidden, experts, realPicks };

export interface Layout {
  readonly cp: number;
  readonly ep: number;
  /** Experts on the rank. */
  readonly localExperts: number;
  /** Rows of the rank's grouped GEMM: picks of zero experts are never sent to another rank. */
  readonly rows: number;
  readonly rowsPerExpert: number;
}

/** A layout that shards tokens by CP and experts by EP, so that an EP group of whole CP groups holds EP/CP sequences. */
export function layout(cp: number, ep: number, sequence: number, sizes: MoeSizes): Layout {
  const localExperts = sizes.experts / ep;
  const rows = (sequence / cp) * sizes.realPicks;
  return { cp, ep, localExperts, rows, rowsPerExpert: rows / localExperts };
}

/** How rows are distributed over experts: evenly, by a uniform multinomial draw, or by a skewed one (weight 1/rank). */
export const routings = ["balanced", "multinomial", "skewed"] as const;
export type RoutingKind = (typeof routings)[number];

/** The rows of each of a rank's experts. */
export function rowsPerExpert(l: Layout, kind: RoutingKind, seed: number): number[] {
  const rows = Math.round(l.rows);
  if (kind === "balanced") {
    const share = Math.floor(rows / l.localExperts);
    return Array.from({ length: l.localExperts }, (_, e) => share + (e < rows - share * l.localExperts ? 1 : 0));
  }
  let total = 0;
  const cumulative = Array.from({ length: l.localExperts }, (_, e) => (total += kind === "skewed" ? 1 / (e + 1) : 1));
  const counts = new Array<number>(l.localExperts).fill(0);
  let state = seed >>> 0;
  for (let r = 0; r < rows; r++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const draw = (state / 4294967296) * total;
    counts[cumulative.findIndex((c) => draw < c)]! += 1;
  }
  return counts;
}

/** MFU of FC1 (gate and up) and FC2 (down) in the report's Figure 10, by `CP/EP`. */
const figure10: Readonly<Record<string, readonly [number, number]>> = {
  "1/8": [0.731, 0.711],
  "1/16": [0.769, 0.747],
  "1/32": [0.772, 0.762],
  "1/64": [0.773, 0.749],
  "2/8": [0.667, 0.621],
  "2/16": [0.707, 0.693],
  "2/32": [0.775, 0.743],
  "2/64": [0.79, 0.754],
  "4/8": [0.522, 0.533],
  "4/16": [0.641, 0.637],
  "4/32": [0.702, 0.679],
  "4/64": [0.758, 0.722],
};

/** The report's MFU of a layout at its sequence length of 8192; undefined for anything it does not show. */
export function reported(cp: number, ep: number, gemm: "FC1" | "FC2", sequence: number): number | undefined {
  return sequence === 8192 ? figure10[`${cp}/${ep}`]?.[gemm === "FC1" ? 0 : 1] : undefined;
}
