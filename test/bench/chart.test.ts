import { expect, test } from "vitest";
import { loadMoeChart } from "../../bench/chart.js";
import type { MoeResult } from "../../bench/moe.js";

const result = (ep: number, gemm: "FC1" | "FC2", reportedMfu?: number): MoeResult => ({
  ...{ cp: 2, ep, localExperts: 512 / ep, rows: 100, rowsPerExpert: 1, gemm, routing: "balanced", maxRows: 1 },
  ...{ milliseconds: 1, gflops: 1, mfu: 0.5, rooflineMilliseconds: 0.5, ofRoofline: 0.5, reportedMfu },
});

test("the chart of the layouts is an SVG with our figures and the report's", async () => {
  const draw = await loadMoeChart();
  const svg = await draw([result(8, "FC1", 0.7), result(16, "FC1"), result(8, "FC2", 0.6)], "a subtitle");
  expect(svg).toMatch(/^<svg[\s\S]*<\/svg>$/);
  for (const text of ["a subtitle", "CP 2", "FC1", "FC2", "measured here", "report, on its GPUs"])
    expect(svg).toContain(text);
});
