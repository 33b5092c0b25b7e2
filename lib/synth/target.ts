import { randomUUID } from "node:crypto";
import { mkdir, readdir, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { asReadError, readText } from "../checkpoint/formats/file.js";
import { CaracalError } from "../errors.js";
import { lockFile } from "./lock.js";
import { writeNew, writing } from "./writer.js";

export interface TargetOptions {
  /** Allows replacing a checkpoint that `synthesize`, `sliceCheckpoint` or `quantizeCheckpoint` wrote, but never other files. */
  readonly force: boolean;
  /** The size of what will be written. */
  readonly bytes: number;
}

/**
 * Creates a model directory that appears complete or not at all. Its parent must exist: a missing one is more often a
 * misspelt one, and the recursive `mkdir` of Node.js never returns below `/proc`.
 * @param write writes the files into a directory beside it, which then takes its place. Its `config.json` lists them then
 * @returns the absolute path
 * @throws {CaracalError} `INVALID_ARGUMENT` when the directory exists and may not be replaced; `IO_ERROR` when the
 *   parent does not exist, or the disk is too small or full; the errors of `write`
 */
export async function createCheckpoint(
  directory: string,
  { force, bytes }: TargetOptions,
  write: (partial: string) => Promise<void>,
): Promise<string> {
  const target = resolve(directory);
  await checkParent(target);
  await checkTarget(target, force);
  const partial = `${target}.partial-${randomUUID().slice(0, 8)}`;
  try {
    await writing(target, mkdir(partial));
    await checkSpace(partial, bytes, "choose a smaller preset");
    await write(partial);
    await writing(target, listIn(join(partial, configFile), await filesIn(partial)));
    await checkTarget(target, force); // another call may have begun to write there
    await writing(target, replace(target, partial));
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {}); // the first error counts
    throw error;
  }
  return target;
}

/**
 * Refuses a target that is the same folder as `source`, contains it or lies inside it: writing it would change or remove
 * what is being read.
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export async function checkApart(source: string, directory: string): Promise<void> {
  const [from, to] = [
    await realpath(source).catch((error) => Promise.reject(asReadError(source, error))),
    await realPath(directory),
  ];
  const relation =
    from === to ? "is the source itself" : isInside(from, to) ? "contains the source" : "lies inside the source";
  if (from !== to && !isInside(from, to) && !isInside(to, from)) return;
  const [shown, details] = [resolve(directory), { source: from, directory: to }];
  throw new CaracalError("INVALID_ARGUMENT", `${shown} ${relation}, ${from}: choose a folder beside it`, details);
}

/** The path without symbolic links, of which the last parts need not exist. */
async function realPath(path: string): Promise<string> {
  const whole = resolve(path);
  const parent = dirname(whole);
  return realpath(whole).catch(async () => (parent === whole ? whole : join(await realPath(parent), basename(whole))));
}

function isInside(path: string, folder: string): boolean {
  const from = relative(folder, path);
  return from !== ".." && !from.startsWith(`..${sep}`) && resolve(folder, from) === path;
}

export async function checkParent(target: string): Promise<void> {
  const parent = dirname(target);
  const found = await stat(parent).catch(() => undefined);
  if (found?.isDirectory()) return;
  const reason = found ? "is not a folder; choose another path" : "does not exist; create it first";
  throw new CaracalError("IO_ERROR", `${target} cannot be created: ${parent} ${reason}`, { directory: target });
}

/** Accepts a path that is absent or empty and, with `force`, a checkpoint of ours, but never any other files. */
export async function checkTarget(target: string, force: boolean): Promise<void> {
  const found = await stat(target).catch(() => undefined);
  if (!found) return;
  const all = found.isDirectory() ? await writing(target, readdir(target)) : undefined;
  const names = all?.filter((name) => name !== lockFile);
  if (names?.length === 0) return;
  const refuse = (advice: string): never => {
    throw new CaracalError("INVALID_ARGUMENT", `${target} already exists; ${advice}`, { directory: target });
  };
  if (!names?.includes("config.json") || !names.includes("model.safetensors.index.json"))
    return refuse("it is not a checkpoint; choose another path");
  const { _files: written } = await readMarks(join(target, configFile));
  if (!Array.isArray(written))
    return refuse(
      "it is a checkpoint that none of synth, slice and quantize wrote; choose another path, or remove it yourself",
    );
  const ours = new Set<unknown>([...written, lockFile]);
  const foreign = (await writing(target, filesIn(target))).find((file) => !ours.has(file));
  if (foreign !== undefined) refuse(`it also holds ${foreign}, which is not of the checkpoint; move that elsewhere`);
  if (!force) refuse("pass force (--force) to replace it");
}

export const configFile = "config.json";
const maxConfigBytes = 1 << 24;

/** The files and folders in a folder and its folders, in the order of their names. */
export const filesIn = async (folder: string): Promise<string[]> => (await readdir(folder, { recursive: true })).sort();

/** Notes in a `config.json` what was written beside it, so that nothing else is ever replaced. */
async function listIn(file: string, files: readonly string[]): Promise<void> {
  const config = { ...(await readMarks(file)), _files: files };
  await rm(file);
  await writeNew(file, `${JSON.stringify(config, null, 2)}\n`);
}

async function readMarks(file: string): Promise<{ readonly _files?: unknown }> {
  try {
    return Object(JSON.parse(await readText(file, maxConfigBytes)));
  } catch {
    return {}; // a file that is no JSON has no mark of ours
  }
}

/** @throws {CaracalError} `IO_ERROR` when the disk has no room for so many bytes, with `advice` */
export async function checkSpace(directory: string, needed: number, advice: string): Promise<void> {
  const { bavail, bsize } = await writing(directory, statfs(directory));
  const free = bavail * bsize;
  if (free >= needed * 1.01 + (1 << 20)) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  const problem = `needs ${gigabytes(needed)}, but the disk has ${gigabytes(free)} free`;
  throw new CaracalError("IO_ERROR", `${directory}: ${problem}; ${advice}`, { needed, free });
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
