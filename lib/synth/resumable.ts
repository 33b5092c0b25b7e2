import { randomBytes } from "node:crypto";
import { lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CaracalError, printable } from "../errors.js";
import { DirectoryLock, lockFile } from "./lock.js";
import { checkParent, checkTarget, configFile, filesIn } from "./target.js";
import { type FinishedFile, type Job, readState, shardPattern, stateFile } from "./unfinished.js";
import { asWriteError, writeNew, writing } from "./writer.js";

/**
 * A model directory that is written file by file, and continued where it was interrupted. A file gets its name when it is
 * complete. Until the directory is complete, it has no `config.json`, so that nothing takes it for a model. Disposing it
 * lets other calls write there.
 */
export class ResumableCheckpoint<R> implements AsyncDisposable {
  /** The absolute path. */
  readonly directory: string;
  readonly #job: Job<R>["job"];
  readonly #files: Record<string, FinishedFile<R>>;
  readonly #lock: DirectoryLock;

  private constructor(directory: string, { job }: Job<R>, files: Record<string, FinishedFile<R>>, lock: DirectoryLock) {
    this.directory = directory;
    this.#job = job;
    this.#files = files;
    this.#lock = lock;
  }

  /**
   * Begins a directory, or continues one of the same job.
   * @throws {CaracalError} `INVALID_ARGUMENT` when the directory exists and may not be replaced, was begun for another job,
   *   or is being written by another call; `IO_ERROR` when its parent does not exist
   */
  static async open<R>(path: string, job: Job<R>): Promise<ResumableCheckpoint<R>> {
    const directory = resolve(path);
    await checkParent(directory);
    await admit(directory, job); // before anything is put there
    await mkdir(directory).catch((error) => {
      if (error.code !== "EEXIST") throw asWriteError(directory, error);
    });
    const lock = await DirectoryLock.take(directory);
    try {
      const found = await admit(directory, job); // others may have changed it until it was locked
      await (found ? removePartials(directory) : clear(directory));
      const target = new ResumableCheckpoint(directory, job, found ?? {}, lock);
      await target.#save();
      return target;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lock.release();
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** What `write` returned for a file, if it is complete. */
  async finished(name: string): Promise<R | undefined> {
    const record = this.#files[name];
    const found = await lstat(this.path(name)).catch(() => undefined);
    return record && found?.isFile() && found.size === record.bytes ? record.result : undefined;
  }

  /** Writes a new file under another name, which then becomes `name`, and records it. */
  async write(name: string, write: (path: string) => Promise<R>): Promise<R> {
    const result = await this.#publish(name, write);
    const { size: bytes } = await writing(this.path(name), lstat(this.path(name)));
    this.#files[name] = { bytes, result };
    await this.#save();
    return result;
  }

  /** Writes the files of a complete directory that are small: others, and `config.json` last. */
  async finish(texts: Readonly<Record<string, string>>, config: object): Promise<void> {
    for (const [name, text] of Object.entries(texts)) await this.#replace(name, text);
    const names = new Set([...(await writing(this.directory, filesIn(this.directory))), configFile]);
    for (const name of [stateFile, lockFile]) names.delete(name);
    await this.#replace(configFile, `${JSON.stringify({ ...config, _files: [...names].sort() }, null, 2)}\n`);
    await writing(this.directory, rm(this.path(stateFile)));
  }

  #save(): Promise<void> {
    return this.#replace(stateFile, JSON.stringify({ job: this.#job, files: this.#files }));
  }

  #replace(name: string, text: string): Promise<void> {
    return this.#publish(name, (partial) => writeNew(partial, text));
  }

  /**
   * A process that is killed leaves the old file, or the new one. The name until then is one that nobody else uses, also
   * where the directory cannot be locked, and at which nothing lies that could be opened or followed.
   */
  async #publish<T>(name: string, write: (partial: string) => Promise<T>): Promise<T> {
    const partial = this.path(`${name}.${randomBytes(4).toString("hex")}.partial`);
    try {
      const result = await write(partial);
      await this.#lock.check(this.directory);
      await writing(this.path(name), rename(partial, this.path(name)));
      return result;
    } catch (error) {
      await rm(partial, { force: true }).catch(() => {}); // the first error counts
      throw error;
    }
  }
}

/**
 * The files that an earlier call has finished, if it may be continued; undefined to begin.
 * @throws {CaracalError} `INVALID_ARGUMENT` when neither is allowed
 */
async function admit<R>(directory: string, job: Job<R>): Promise<Record<string, FinishedFile<R>> | undefined> {
  const found = await readState(directory, job.isResult);
  if (!found) await checkTarget(directory, job.force);
  if (!found || job.force) return undefined;
  if (found === "damaged") {
    const message = `${join(directory, stateFile)} is damaged: pass force (--force) to begin again`;
    throw new CaracalError("INVALID_ARGUMENT", message, { directory });
  }
  const changed = Object.keys(job.job).filter((key) => job.job[key] !== found.job[key]);
  if (changed.length > 0) throw otherJob(directory, job.job, found.job, changed);
  return found.files;
}

/** Removes what a call that was killed had begun to write. */
async function removePartials(directory: string): Promise<void> {
  for (const entry of await writing(directory, readdir(directory, { withFileTypes: true }))) {
    const path = join(directory, entry.name);
    if (partialPattern.test(entry.name) && !entry.isDirectory()) await writing(path, rm(path, { force: true }));
  }
}

/** The names of files that are being written, with and without the random part. */
const partialPattern = new RegExp(
  `^(${shardPattern}|model\\.safetensors\\.index\\.json|config\\.json|caracal-unfinished\\.json)(\\.[0-9a-f]{8})?\\.partial$`,
);

/**
 * Empties a directory, of which `checkTarget` has said that all in it is ours. In an unfinished one, other files may have
 * been put, so only what is written file by file goes.
 */
async function clear(directory: string): Promise<void> {
  await removePartials(directory);
  const names = await writing(directory, readdir(directory));
  const isOurs = names.includes(stateFile) ? new RegExp(`^${shardPattern}$|\\.index\\.json$`) : /./s;
  const last = [configFile, stateFile]; // they say whose directory it is
  const others = names.filter((name) => isOurs.test(name) && name !== lockFile && !last.includes(name));
  for (const name of [...others, ...last]) {
    const path = join(directory, name);
    await writing(path, rm(path, { recursive: true, force: true }));
  }
}

function otherJob(
  directory: string,
  job: Readonly<Record<string, string>>,
  found: Readonly<Record<string, string>>,
  changed: readonly string[],
): CaracalError {
  const differences = changed.map((key) => {
    const before = found[key];
    return before === undefined || `${job[key]}${before}`.length > 80
      ? `its ${key}`
      : `${key} ${printable(before)}, now ${job[key]}`;
  });
  const message =
    `${directory} was begun with ${differences.join("; ").replaceAll("its ", "another ")}: ` +
    "continue with what it was begun with, or pass force (--force) to begin again";
  return new CaracalError("INVALID_ARGUMENT", message, { directory, changed });
}
