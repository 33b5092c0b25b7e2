import { basename } from "node:path";
import { Command } from "commander";
import { type LaunchCounts, readLaunches, type Sum } from "../bench/counters/launches.js";
import { type Cell, formatTable } from "../bench/table.js";

/** `caracal vgpu report`: the counters of the virtual GPU as tables. */
export function vgpuCommand(): Command {
  const report = new Command("report")
    .description("show the counters in a file that CARACAL_VGPU_COUNT named")
    .argument("<file>", "JSON lines, one per launch")
    .option("--lines", "also what every source line of a kernel did")
    .option("--markdown", "print Markdown tables")
    .action(async (file: string, { lines, markdown }: { lines?: true; markdown?: true }) => {
      const launches = await readLaunches(file);
      const print = (table: string) => process.stdout.write(`${table}\n`);
      const names = launches.map((l) => l.kernel);
      print(launchTable(launches, markdown));
      print(
        `\n${kindTable(
          "kernel",
          names,
          launches.map(({ total }) => total),
          markdown,
        )}`,
      );
      if (!lines) return;
      for (const { kernel, lines } of launches) {
        const places = lines.map((l) => `${basename(l.file)}:${l.line}`);
        print(`\n${kernel}\n${lineTable(places, lines, markdown)}\n\n${kindTable("line", places, lines, markdown)}`);
      }
    });
  return new Command("vgpu").description("read what the virtual GPU counted").addCommand(report);
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

function launchTable(launches: readonly LaunchCounts[], markdown?: boolean): string {
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

function lineTable(places: readonly string[], lines: readonly Sum[], markdown?: boolean): string {
  const rows = lines.map((l, i): Cell[] => [places[i], l.executed ?? 0, ...memoryCells(l)]);
  return formatTable(["line", "instructions", ...memoryHeader], rows, markdown);
}

/** Instructions by class, as far as there are any, and what some of them amount to. */
function kindTable(what: string, names: readonly string[], sums: readonly Sum[], markdown?: boolean): string {
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
