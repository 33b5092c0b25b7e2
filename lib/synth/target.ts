import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { resolve } from "node:path";
import { CaracalError } from "../errors.js";
import { asWriteError } from "./writer.js";

export interface TargetOptions {
  /** Allows replacing an existing checkpoint, but never other files. */
  readonly force: boolean;
  /** The size of what will be written. */
  readonly bytes: number;
}

/**
 * Creates a model directory that appears complete or not at all.
 * @param write writes the files into a directory beside it, which then takes its place
 * @returns the absolute path
 * @throws {CaracalError} `INVALID_ARGUMENT` when the directory exists and may not be replaced; `IO_ERROR` when the disk is
 *   too small or full; the errors of `write`
 */
export async function createCheckpoint(
  directory: string,
  { force, bytes }: TargetOptions,
  write: (partial: string) => Promise<void>,
): Promise<string> {
  const target = resolve(directory);
  await checkTarget(target, force);
  const partial = `${target}.partial-${randomUUID().slice(0, 8)}`;
  try {
    await mkdir(partial, { recursive: true });
    await checkSpace(partial, bytes);
    await write(partial);
    await replace(target, partial);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw asWriteError(target, error);
  }
  return target;
}

/** Accepts a path that is absent or empty and, with `force`, a checkpoint, but never any other files. */
async function checkTarget(target: string, force: boolean): Promise<void> {
  const found = await stat(target).catch(() => undefined);
  if (!found) return;
  const names = found.isDirectory() ? await readdir(target) : undefined;
  if (names?.length === 0) return;
  const isCheckpoint = names?.includes("config.json") && names.includes("model.safetensors.index.json");
  if (isCheckpoint && force) return;
  const advice = isCheckpoint ? "pass force (--force) to replace it" : "it is not a checkpoint; choose another path";
  throw new CaracalError("INVALID_ARGUMENT", `${target} already exists; ${advice}`, { directory: target });
}

async function checkSpace(directory: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  if (free >= needed * 1.01 + (1 << 20)) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  const problem = `needs ${gigabytes(needed)}, but the disk has ${gigabytes(free)} free`;
  throw new CaracalError("IO_ERROR", `${directory}: ${problem}; choose a smaller preset`, { needed, free });
}

/** Moves `partial` to `target`. A previous directory is removed only after the new one is in place. */
async function replace(target: string, partial: string): Promise<void> {
  const old = `${partial}-replaced`;
  const hadOld = await rename(target, old).then(
    () => true,
    () => false,
  );
  await rename(partial, target).catch(async (error) => {
    if (hadOld) await rename(old, target);
    throw error;
  });
  await rm(old, { recursive: true, force: true });
}
