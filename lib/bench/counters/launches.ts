import { readFile } from "node:fs/promises";
import { CaracalError } from "../../errors.js";

/** What is counted of an instruction, a source line or a launch; what is zero is left out. */
export interface Counts {
  readonly executed?: number;
  readonly lanes?: number;
  readonly divergences?: number;
  readonly globalRequests?: number;
  readonly globalSectors?: number;
  readonly globalSectorsIdeal?: number;
  readonly sharedWavefronts?: number;
  readonly sharedWavefrontsIdeal?: number;
  readonly bankConflicts?: number;
  readonly asyncBytes?: number;
}

/** Counts of several instructions, and of how many of which kinds they are. */
export interface Sum extends Counts {
  readonly globalLoadSectors?: number;
  readonly globalStoreSectors?: number;
  readonly atomics?: number;
  readonly barriers?: number;
  readonly tensorInstructions?: number;
  readonly tensorMultiplyAdds?: number;
  readonly classes: Readonly<Record<string, number>>;
}

/** Counts of a whole launch. */
export interface Total extends Sum {
  /** Sectors that were loaded, or stored, at all. */
  readonly globalLoadSectorsTouched?: number;
  readonly globalStoreSectorsTouched?: number;
}

/** A launch, as `CARACAL_VGPU_COUNT=FILE` has the virtual GPU write it, one JSON object per line. */
export interface LaunchCounts {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly staticShared: number;
  readonly dynamicShared: number;
  readonly total: Total;
  readonly lines: readonly (Sum & { readonly file: string; readonly line: number })[];
}

/** @throws `IO_ERROR`; `INVALID_ARGUMENT` for a file of something else */
export async function readLaunches(file: string): Promise<LaunchCounts[]> {
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
