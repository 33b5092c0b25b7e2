// `caracal vgpu report`: the counters as tables.
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { vgpuCommand } from "../../../bench/counters/report.js";
import { counted, file, folder, linesBody, twoLines } from "./counted.js";

async function report(...args: string[]): Promise<string> {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((part) => {
    text += part;
    return true;
  });
  try {
    await vgpuCommand().parseAsync(["report", ...args], { from: "user" });
  } finally {
    write.mockRestore();
  }
  return text;
}
/** The cells of the row of a Markdown table that begins with `name`, by column header. */
function row(text: string, name: string, column: string): Record<string, string> {
  const cells = (line: string) => line.split("|").map((cell) => cell.trim());
  const table = text.split("\n\n").find((t) => t.includes(` ${column} `) && t.includes(`| ${name} `))!;
  const lines = table.split("\n").filter((line) => line.startsWith("|"));
  const header = cells(lines[0]!);
  const found = cells(lines.find((line) => line.startsWith(`| ${name} `))!);
  return Object.fromEntries(header.map((h, i) => [h, found[i]!]));
}

test("a launch and its lines as tables", async () => {
  counted(linesBody, { grid: 5, block: 96, shared: 8 }, 16, twoLines);
  const text = await report(file, "--lines", "--markdown");
  const memory = row(text, "k", "grid");
  expect(memory).toMatchObject({ grid: "5×1×1", block: "96×1×1", shared: "24", instructions: "150", lanes: "32" });
  expect(memory).toMatchObject({ "loaded sectors": "15", stored: "15", "sectors/request": "1", divergences: "0" });
  expect(row(text, "k", "MACs")).toMatchObject({ load: "45", atomic: "15", bar: "15", mma: "0", MACs: "0" });
  expect(row(text, "sum.cu:7", "loaded sectors")).toMatchObject({ instructions: "45", "loaded sectors": "15" });
  expect(row(text, "sum.cu:9", "MACs")).toMatchObject({ store: "15", barrier: "15", bar: "15" });
});
test("other files are refused", async () => {
  await expect(report(join(folder, "none"))).rejects.toThrow(/cannot be read/);
  await expect(report(new URL(import.meta.url).pathname)).rejects.toThrow(/:1: expected the counters/);
});
