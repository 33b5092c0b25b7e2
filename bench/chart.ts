import { CaracalError } from "../lib/errors.js";
import type { MoeResult } from "./moe.js";

/** Draws a Vega-Lite specification as an SVG. */
export type Draw = (chart: object) => Promise<string>;

/**
 * Loads what charts are drawn with, which an installation need not have.
 * @throws {CaracalError} `UNSUPPORTED` when vega and vega-lite are not installed
 */
export async function loadDraw(): Promise<Draw> {
  try {
    const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
    return (chart) => {
      const { spec } = vegaLite.compile(chart as never);
      return new vega.View(vega.parse(spec), { renderer: "none" }).toSVG();
    };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw cause;
    const message = "charts need vega and vega-lite: `npm install vega vega-lite`";
    throw new CaracalError("UNSUPPORTED", message, {}, { cause });
  }
}

const sources = ["measured here", "report: its GPUs, full size"] as const;

/** The report's Figure 10 redrawn beside the report's figures: MFU over EP, a colour per CP, a dash and shape per GEMM. */
export function moeChart(results: readonly MoeResult[], subtitle: string): object {
  const point = ({ cp, ep, gemm }: MoeResult, mfu: number, source: (typeof sources)[number]) => ({
    ...{ ep, cp: `CP ${cp}`, gemm, mfu, source },
  });
  const values = results.flatMap((r) => [
    point(r, r.mfu, sources[0]),
    ...(r.reported === undefined ? [] : [point(r, r.reported.mfu, sources[1])]),
  ]);
  const gemm = { field: "gemm", type: "nominal", title: "GEMM", scale: { domain: ["FC1", "FC2"] } };
  const withRange = (range: unknown) => ({ ...gemm, scale: { ...gemm.scale, range } });
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: "Grouped GEMM of the MoE under CP/EP layouts", subtitle },
    data: { values },
    facet: { column: { field: "source", title: null, header: { labelFontSize: 12, labelFontWeight: "bold" } } },
    spec: {
      width: 380,
      height: 320,
      encoding: {
        x: {
          field: "ep",
          type: "quantitative",
          scale: { type: "log", base: 2 },
          title: "expert-parallel size",
          axis: { values: [...new Set(results.map((r) => r.ep))] },
        },
        y: { field: "mfu", type: "quantitative", title: "share of the arithmetic peak (MFU)" },
        color: { field: "cp", type: "nominal", title: "context parallel", sort: null },
      },
      layer: [
        {
          mark: { type: "line", strokeWidth: 2 },
          encoding: {
            strokeDash: withRange([
              [1, 0],
              [7, 4],
            ]),
          },
        },
        {
          mark: { type: "point", filled: true, size: 70, opacity: 1 },
          encoding: { shape: withRange(["circle", "triangle-up"]) },
        },
      ],
    },
    config: {
      range: { category: ["#1b6ca8", "#d1495b", "#2e8540", "#8e44ad", "#c77700", "#4a4a4a"] },
      legend: { symbolSize: 120, symbolStrokeWidth: 2 },
    },
  };
}
