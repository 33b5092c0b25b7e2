import { CaracalError } from "../lib/errors.js";
import type { MoeResult } from "./moe.js";

export type MoeChart = (results: readonly MoeResult[], subtitle: string) => Promise<string>;

/**
 * Loads what charts are drawn with, which an installation need not have.
 * @returns the function that draws an SVG
 * @throws {CaracalError} `UNSUPPORTED` when vega and vega-lite are not installed
 */
export async function loadMoeChart(): Promise<MoeChart> {
  try {
    const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
    return (results, subtitle) => {
      const { spec } = vegaLite.compile(moeChart(results, subtitle) as never);
      return new vega.View(vega.parse(spec), { renderer: "none" }).toSVG();
    };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw cause;
    const message = "charts need vega and vega-lite: `npm install vega vega-lite`";
    throw new CaracalError("UNSUPPORTED", message, {}, { cause });
  }
}

/** The report's Figure 10 redrawn: MFU over EP; a colour per CP, FC1 solid, FC2 dashed; the report's figures faint. */
function moeChart(results: readonly MoeResult[], subtitle: string): object {
  const values = results.flatMap((r) => [
    { ep: r.ep, cp: `CP ${r.cp}`, gemm: r.gemm, mfu: r.mfu, source: "measured here" },
    ...(r.reportedMfu === undefined
      ? []
      : [{ ep: r.ep, cp: `CP ${r.cp}`, gemm: r.gemm, mfu: r.reportedMfu, source: "report, on its GPUs" }]),
  ]);
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: "Grouped GEMM of the MoE under CP/EP layouts", subtitle },
    width: 520,
    height: 320,
    data: { values },
    mark: { type: "line", point: true },
    encoding: {
      x: {
        field: "ep",
        type: "quantitative",
        scale: { type: "log", base: 2 },
        title: "expert-parallel size",
        axis: { values: [...new Set(results.map((r) => r.ep))] },
      },
      y: { field: "mfu", type: "quantitative", title: "share of the arithmetic peak (MFU)" },
      color: { field: "cp", type: "nominal", title: "context parallel" },
      strokeDash: { field: "gemm", type: "nominal", title: "GEMM" },
      opacity: {
        field: "source",
        type: "ordinal",
        title: "source",
        scale: { domain: ["measured here", "report, on its GPUs"], range: [1, 0.3] },
      },
    },
  };
}
