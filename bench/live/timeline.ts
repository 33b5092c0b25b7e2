import type { TurnMarks } from "./conversation.js";
import { quantile } from "./distribution.js";
import type { Phase } from "./run.js";

const lanes = ["user speaks", "user is silent", "reply is prepared", "pieces arrive", "reply plays"] as const;
type Lane = (typeof lanes)[number];

/**
 * The turns that a timeline shows: the middle one by the time from t2 to the first audio, among those that were interrupted if
 * there are any, with speculation and without.
 */
export function chosenTurns(phases: readonly Phase[]): { speculate: boolean; turn: TurnMarks }[] {
  return [true, false].flatMap((speculate) => {
    const all = phases.filter((phase) => phase.speculate === speculate).flatMap(({ turns }) => turns);
    const interrupted = all.filter(({ interrupted }) => interrupted !== undefined);
    const turns = interrupted.length > 0 ? interrupted : all;
    const middle = quantile(turns.map(waitOf), 0.5);
    const turn = turns.find((one) => waitOf(one) === middle);
    return turn ? [{ speculate, turn }] : [];
  });
}

const waitOf = ({ t2, firstAudio }: TurnMarks): number => firstAudio - t2;

/** The timeline of turns as they were measured, seconds from t1. The report's Figure 11 is its model. */
export function timelineChart(phases: readonly Phase[], subtitle: string): object {
  const chosen = chosenTurns(phases);
  const rows = chosen.map(({ speculate, turn }) => ({
    mode: speculate ? "with speculation" : "without",
    speculate,
    turn,
  }));
  const bars = rows.flatMap(({ mode, speculate, turn }) => barsOf(turn, speculate).map((bar) => ({ mode, ...bar })));
  const marks = rows.flatMap(({ mode, turn }) => marksOf(turn).map((mark) => ({ mode, ...mark })));
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: "A spoken turn and its reply, as measured", subtitle },
    data: { values: [...bars, ...marks] },
    facet: {
      row: {
        field: "mode",
        title: null,
        sort: ["with speculation", "without"],
        header: { labelFontSize: 12, labelFontWeight: "bold", labelOrient: "top", labelAnchor: "start" },
      },
    },
    spec: {
      width: 760,
      height: 150,
      layer: layers,
    },
    config: { view: { stroke: "#dddddd" }, axis: { grid: false } },
  };
}

const x = { type: "quantitative", title: "seconds from the beginning of the turn" };
const colours = ["#1b6ca8", "#b9c6d3", "#c77700", "#2e8540", "#2e8540"];

/** The bars of the lanes, the lines of the marks, and their names. */
const layers = [
  {
    transform: [{ filter: "isValid(datum.lane)" }],
    mark: { type: "bar", height: 14, cornerRadius: 2 },
    encoding: {
      x: { ...x, field: "from" },
      x2: { field: "to" },
      y: { field: "lane", type: "nominal", sort: lanes, title: null, scale: { domain: lanes } },
      color: { field: "lane", type: "nominal", legend: null, scale: { domain: lanes, range: colours } },
    },
  },
  {
    transform: [{ filter: "isValid(datum.mark)" }],
    mark: { type: "rule", strokeDash: [3, 3], color: "#555555" },
    encoding: { x: { ...x, field: "at" } },
  },
  {
    transform: [{ filter: "isValid(datum.mark)" }],
    mark: {
      ...{ type: "text", baseline: "bottom", fontSize: 11 },
      // t4 may come right after t3, and the first audio right after t4.
      ...{ align: { expr: "datum.mark === 't3' ? 'right' : 'left'" }, dx: { expr: "datum.mark === 't3' ? -2 : 2" } },
    },
    encoding: {
      x: { ...x, field: "at" },
      y: { field: "height", type: "quantitative", scale: null },
      text: { field: "mark" },
    },
  },
];

function barsOf({ t1, t2, t3, t4, firstAudio, pieces, playing, t5, interrupted }: TurnMarks, speculate: boolean) {
  const bar = (lane: Lane, from: number, to: number) => ({ lane, from: from - t1, to: to - t1 });
  const next = t5 === undefined ? [] : [bar("user speaks", t5, Math.max(t5 + 0.3, interrupted ?? t5))];
  return [
    bar("user speaks", t1, t2),
    ...next,
    bar("user is silent", t2, t4),
    bar("reply is prepared", speculate ? (t3 ?? t4) : t4, firstAudio),
    ...pieces.map(([at]) => bar("pieces arrive", at, at + 0.008)),
    ...playing.map((span) => bar("reply plays", ...span)),
  ];
}

function marksOf({ t1, t2, t3, t4, firstAudio, t5, interrupted }: TurnMarks) {
  const marks = [
    ["t1", t1, 0],
    ["t2", t2, 0],
    ["t3", t3, 0],
    ["t4", t4, 0],
    [`first audio, t2 + ${Math.round(1000 * (firstAudio - t2))} ms`, firstAudio, 1],
    ["t5", t5, 0],
    [
      interrupted === undefined ? "" : `stopped, t5 + ${Math.round(1000 * (interrupted - (t5 ?? interrupted)))} ms`,
      interrupted,
      1,
    ],
  ] as const;
  return marks.flatMap(([mark, at, line]) => (at === undefined ? [] : [{ mark, at: at - t1, height: -2 - 12 * line }]));
}
