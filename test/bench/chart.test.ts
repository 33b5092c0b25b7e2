import { expect, test } from "vitest";
import { loadDraw, moeChart } from "../../bench/chart.js";
import type { MoeResult } from "../../bench/moe.js";

const result = (ep: number, gemm: "FC1" | "FC2", reportedMfu?: number): MoeResult => ({
  ...{ cp: 2, ep, localExperts: 512 / ep, rows: 100, rowsPerExpert: 1, gemm, maxRows: 1 },
  ...{ time: { best: 1, median: 1, runs: 3 }, gflops: 1, mfu: 0.5, rooflineMilliseconds: 0.5, ofRoofline: 0.5 },
  ...(reportedMfu === undefined ? {} : { reported: { mfu: reportedMfu, rowsPerExpert: 8 } }),
});
const drawSvg = await loadDraw();
const draw = (results: readonly MoeResult[], subtitle: string) => drawSvg(moeChart(results, subtitle));

test("the chart of the layouts is an SVG with our figures and, in a panel of their own, the report's", async () => {
  const svg = await draw([result(8, "FC1", 0.7), result(16, "FC1"), result(8, "FC2", 0.6)], "a subtitle");
  expect(svg).toMatch(/^<svg[\s\S]*<\/svg>$/);
  for (const text of ["a subtitle", "CP 2", "FC1", "FC2", "measured here", "report: its GPUs, full size"])
    expect(svg).toContain(text);
});

test("FC1 and FC2 differ in dash and shape, in the legend too, and no line is faint", async () => {
  const svg = await draw(
    ["FC1", "FC2"].flatMap((gemm) => [8, 16].map((ep) => result(ep, gemm as "FC1" | "FC2"))),
    "",
  );
  const legend = svg.slice(svg.indexOf("Symbol legend titled 'GEMM' for shape and strokeDash with 2 values: FC1, FC2"));
  const [circle, triangle] = Array.from(
    legend.matchAll(/role-legend-symbol[^>]*><path[^>]* d="([^"]+)"/g),
    ([, path]) => path,
  );
  expect(circle).toMatch(/A/);
  expect(triangle).toMatch(/^M[^A]*L[^A]*Z$/);
  expect(svg).toContain('stroke-dasharray="7,4"');
  for (const [, opacity] of svg.matchAll(/opacity="([\d.]+)"/g)) expect([0, 1]).toContain(Number(opacity));
  expect(svg).not.toContain("report");
});
