import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { readText } from "../checkpoint/formats/file.js";
import { isRecord } from "../options.js";

// What a directory that is not complete says about itself, in a file that anything may have happened to.

/** What is to be written; `R` is what a finished file is recorded with. */
export interface Job<R> {
  /** What is written from what, as text: a directory is only continued for the same. */
  readonly job: Readonly<Record<string, string>>;
  /** Begins again what another job, or a finished one, has written. */
  readonly force: boolean;
  /** Tells whether something that was read back is an `R`. */
  readonly isResult: (value: unknown) => value is R;
}

export interface FinishedFile<R> {
  readonly bytes: number;
  readonly result: R;
}

interface State<R> {
  readonly job: Readonly<Record<string, string>>;
  readonly files: Record<string, FinishedFile<R>>;
}

/** Present while a directory is not complete. */
export const stateFile = "caracal-unfinished.json";
const maxStateBytes = 1 << 28;

/** The names of files that are finished one by one. */
export const shardPattern = "model-\\d+-of-\\d+\\.safetensors";

/** Returns undefined where nothing has been begun. */
export async function readState<R>(
  directory: string,
  isResult: Job<R>["isResult"],
): Promise<State<R> | "damaged" | undefined> {
  const path = join(directory, stateFile);
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isFile()) return undefined;
  try {
    const state: unknown = JSON.parse(await readText(path, maxStateBytes));
    return isState(state, isResult) ? state : "damaged";
  } catch {
    return "damaged";
  }
}

function isState<R>(state: unknown, isResult: Job<R>["isResult"]): state is State<R> {
  const isShard = new RegExp(`^${shardPattern}$`);
  return (
    isRecord(state) &&
    isRecord(state.job) &&
    Object.values(state.job).every((text) => typeof text === "string") &&
    isRecord(state.files) &&
    Object.entries(state.files).every(
      ([name, file]) =>
        isShard.test(name) &&
        isRecord(file) &&
        Number.isSafeInteger(file.bytes) &&
        (file.bytes as number) >= 0 &&
        isResult(file.result),
    )
  );
}
