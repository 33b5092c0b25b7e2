import type { MoeResult } from "./moe.js";

/** The report's Figure 10 redrawn: MFU over EP, a colour for each CP, FC1 solid, FC2 dashed; the report's own faint. */
export async function moeChart(results: readonly MoeResult[], subtitle: string): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
  const values = results.flatMap((r) => [
    { ep: r.ep, cp: `CP ${r.cp}`, gemm: r.gemm, mfu: r.mfu, source: "measured here" },
    ...(r.reportedMfu === undefined
      ? []
      : [{ ep: r.ep, cp: `CP ${r.cp}`, gemm: r.gemm, mfu: r.reportedMfu, source: "report, on its GPUs" }]),
  ]);
  const spec = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: "Grouped GEMM of the MoE under CP/EP layouts", subtitle },
    width: 520,
    height: 320,
    data: { values },
    mark: { type: "line" as const, point: true },
    encoding: {
      x: {
        field: "ep",
        type: "quantitative" as const,
        scale: { type: "log" as const, base: 2 },
        title: "expert-parallel size",
        axis: { values: [...new Set(results.map((r) => r.ep))] },
      },
      y: { field: "mfu", type: "quantitative" as const, title: "share of the arithmetic peak (MFU)" },
      color: { field: "cp", type: "nominal" as const, title: "context parallel" },
      strokeDash: { field: "gemm", type: "nominal" as const, title: "GEMM" },
      opacity: {
        field: "source",
        type: "ordinal" as const,
        title: "source",
        scale: { domain: ["measured here", "report, on its GPUs"], range: [1, 0.3] },
      },
    },
  };
  const view = new vega.View(vega.parse(vegaLite.compile(spec as never).spec), { renderer: "none" });
  return view.toSVG();
}
