import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Command } from "commander";
import { type Cell, formatTable } from "../bench/table.js";
import { CaracalError } from "../errors.js";

/** What is counted of an instruction, a source line or a launch; what is zero is left out. */
interface Counts {
  readonly executed?: number;
  readonly lanes?: number;
  readonly divergences?: number;
  readonly globalRequests?: number;
  readonly globalSectors?: number;
  readonly globalSectorsIdeal?: number;
  readonly sharedWavefronts?: number;
  readonly sharedWavefrontsIdeal?: number;
}

/** A launch, as `CARACAL_VGPU_COUNTERS=FILE` has the virtual GPU write it, one JSON object per line. */
interface LaunchCounts {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly staticShared: number;
  readonly dynamicShared: number;
  readonly total: Counts & { readonly tensorMultiplyAdds: number };
  readonly lines: readonly (Counts & { readonly file: string; readonly line: number })[];
}

/** `caracal vgpu report`: the counters of the virtual GPU as tables. */
export function vgpuCommand(): Command {
  const report = new Command("report")
    .description("show the counters in a file that CARACAL_VGPU_COUNTERS named")
    .argument("<file>", "JSON lines, one per launch")
    .option("--lines", "also what every source line of a kernel did")
    .option("--markdown", "print Markdown tables")
    .action(async (file: string, { lines, markdown }: { lines?: true; markdown?: true }) => {
      const launches = await readLaunches(file);
      process.stdout.write(`${launchTable(launches, markdown)}\n`);
      if (!lines) return;
      for (const launch of launches) process.stdout.write(`\n${launch.kernel}\n${lineTable(launch, markdown)}\n`);
    });
  return new Command("vgpu").description("read what the virtual GPU counted").addCommand(report);
}

async function readLaunches(file: string): Promise<LaunchCounts[]> {
  const text = await readFile(file, "utf8").catch((error: Error) => {
    throw new CaracalError("IO_ERROR", `${file} cannot be read: ${error.message}`);
  });
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line, i) => {
      try {
        const launch = JSON.parse(line) as LaunchCounts;
        if (typeof launch.kernel === "string" && typeof launch.total === "object") return launch;
      } catch {
        // said below
      }
      throw new CaracalError(
        "INVALID_ARGUMENT",
        `${file}:${i + 1}: expected the counters of a launch as a JSON object`,
      );
    });
}

const memoryHeader = ["sectors/request", "× ideal", "wavefronts", "× ideal", "divergences"];

/** Sectors per request and over the ideal, wavefronts and over the ideal, divergent branches. */
function memoryCells(c: Counts): Cell[] {
  const ratio = (a = 0, b = 0) => (b > 0 ? a / b : undefined);
  return [
    ratio(c.globalSectors, c.globalRequests),
    ratio(c.globalSectors, c.globalSectorsIdeal),
    c.sharedWavefronts ?? 0,
    ratio(c.sharedWavefronts, c.sharedWavefrontsIdeal),
    c.divergences ?? 0,
  ];
}

function launchTable(launches: readonly LaunchCounts[], markdown?: boolean): string {
  const header = ["kernel", "grid", "block", "shared", "instructions", "lanes", "sectors", ...memoryHeader, "MACs"];
  const rows = launches.map((l): Cell[] => [
    l.kernel,
    l.grid.join("×"),
    l.block.join("×"),
    l.staticShared + l.dynamicShared,
    l.total.executed ?? 0,
    l.total.executed ? (l.total.lanes ?? 0) / l.total.executed : undefined,
    l.total.globalSectors ?? 0,
    ...memoryCells(l.total),
    l.total.tensorMultiplyAdds,
  ]);
  return formatTable(header, rows, markdown);
}

function lineTable({ lines }: LaunchCounts, markdown?: boolean): string {
  const rows = lines.map((l): Cell[] => [`${basename(l.file)}:${l.line}`, l.executed ?? 0, ...memoryCells(l)]);
  return formatTable(["line", "instructions", ...memoryHeader], rows, markdown);
}
