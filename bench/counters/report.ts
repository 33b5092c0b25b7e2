import { basename } from "node:path";
import { Command } from "commander";
import { type Cell, formatTable } from "../../lib/cli/table.js";
import { type LaunchCounts, readLaunches, type Sum } from "./launches.js";

/** `caracal vgpu report`: prints the counters of the virtual GPU as tables. */
export function vgpuCommand(): Command {
  const report = new Command("report")
    .description("show the counters in a file written with CARACAL_VGPU_COUNT")
    .argument("<file>", "JSON lines, one per launch")
    .option("--lines", "also show the counters of every source line")
    .option("--markdown", "print Markdown tables")
    .action(async (file: string, { lines, markdown }: { lines?: true; markdown?: true }) => {
      const launches = await readLaunches(file);
      process.stdout.write(`${tables(launches, lines, markdown).join("\n\n")}\n`);
    });
  return new Command("vgpu").description("read the counters of the virtual GPU").addCommand(report);
}

/** Tables of all launches; with `lines`, two more for every launch. */
function tables(launches: readonly LaunchCounts[], lines = false, markdown = false): string[] {
  const names = launches.map(({ kernel }) => kernel);
  const totals = launches.map(({ total }) => total);
  return [
    launchTable(launches, markdown),
    kindTable("kernel", names, totals, markdown),
    ...(lines ? launches : []).flatMap(({ kernel, lines }) => {
      const positions = lines.map((l) => `${basename(l.file)}:${l.line}`);
      return [`${kernel}\n${lineTable(positions, lines, markdown)}`, kindTable("line", positions, lines, markdown)];
    }),
  ];
}

const memoryHeader = [
  "loaded sectors",
  "stored",
  "sectors/request",
  "× ideal",
  "wavefronts",
  "× ideal",
  "conflicts",
  "divergences",
];

function memoryCells(c: Sum): Cell[] {
  const ratio = (a = 0, b = 0) => (b > 0 ? a / b : undefined);
  return [
    c.globalLoadSectors ?? 0,
    c.globalStoreSectors ?? 0,
    ratio(c.globalSectors, c.globalRequests),
    ratio(c.globalSectors, c.globalSectorsIdeal),
    c.sharedWavefronts ?? 0,
    ratio(c.sharedWavefronts, c.sharedWavefrontsIdeal),
    c.bankConflicts ?? 0,
    c.divergences ?? 0,
  ];
}

function launchTable(launches: readonly LaunchCounts[], markdown: boolean): string {
  const header = ["kernel", "grid", "block", "shared", "instructions", "lanes", ...memoryHeader];
  const rows = launches.map((l): Cell[] => [
    l.kernel,
    l.grid.join("×"),
    l.block.join("×"),
    l.staticShared + l.dynamicShared,
    l.total.executed ?? 0,
    l.total.executed ? (l.total.lanes ?? 0) / l.total.executed : undefined,
    ...memoryCells(l.total),
  ]);
  return formatTable(header, rows, markdown);
}

function lineTable(positions: readonly string[], lines: readonly Sum[], markdown: boolean): string {
  const rows = lines.map((l, i): Cell[] => [positions[i], l.executed ?? 0, ...memoryCells(l)]);
  return formatTable(["line", "instructions", ...memoryHeader], rows, markdown);
}

/** Instructions by class, omitting classes that do not occur, and the amounts that some of them sum to. */
function kindTable(what: string, names: readonly string[], sums: readonly Sum[], markdown: boolean): string {
  const classes = [...new Set(sums.flatMap((s) => Object.keys(s.classes)))];
  const rows = sums.map((s, i): Cell[] => [
    names[i],
    ...classes.map((c) => s.classes[c] ?? 0),
    s.barriers ?? 0,
    s.asyncBytes ?? 0,
    s.tensorInstructions ?? 0,
    s.tensorMultiplyAdds ?? 0,
  ]);
  return formatTable([what, ...classes, "bar", "async bytes", "mma", "MACs"], rows, markdown);
}
