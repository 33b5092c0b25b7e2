import { readFile } from "node:fs/promises";
import { CaracalError } from "../../lib/errors.js";

/** The counters of an instruction, a source line or a launch. A counter of zero is omitted. */
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

/** The summed counters of several instructions, and how many of each class they are. */
export interface Sum extends Counts {
  readonly globalLoadSectors?: number;
  readonly globalStoreSectors?: number;
  readonly atomics?: number;
  readonly barriers?: number;
  readonly tensorInstructions?: number;
  readonly tensorMultiplyAdds?: number;
  readonly classes: Readonly<Record<string, number>>;
}

/** The counters of a whole launch. */
export interface Total extends Sum {
  /** Different sectors that were loaded, and stored. */
  readonly globalLoadSectorsTouched?: number;
  readonly globalStoreSectorsTouched?: number;
}

/** A launch as the virtual GPU writes it to the file that `CARACAL_VGPU_COUNT` names: one JSON object per line. */
export interface LaunchCounts {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly staticShared: number;
  readonly dynamicShared: number;
  readonly total: Total;
  readonly lines: readonly (Sum & { readonly file: string; readonly line: number })[];
}

/**
 * Reads such a file.
 * @throws {CaracalError} `IO_ERROR` when it cannot be read; `INVALID_ARGUMENT` when it holds anything else
 */
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
        // reported below, like JSON of another kind
      }
      throw new CaracalError(
        "INVALID_ARGUMENT",
        `${file}:${i + 1}: expected the counters of a launch as a JSON object`,
      );
    });
}
