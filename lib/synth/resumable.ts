import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { readText } from "../checkpoint/formats/file.js";
import { CaracalError } from "../errors.js";
import { checkParent, checkTarget, configFile, filesIn } from "./target.js";
import { asWriteError } from "./writer.js";

/** What a finished file is recorded with; `R` is for whoever writes it. */
interface Finished<R> {
  readonly bytes: number;
  readonly result: R;
}

interface State<R> {
  /** What is written from what, as text: a directory is only continued for the same. */
  readonly job: Readonly<Record<string, string>>;
  readonly files: Record<string, Finished<R>>;
}

/** Present while a directory is not complete. */
const stateFile = "caracal-unfinished.json";
const maxStateBytes = 1 << 28;
/** The ending of files that are being written. */
const partialEnding = ".partial";

/**
 * A model directory that is written file by file, and continued where it was interrupted. A file gets its name when it is
 * complete. Until the directory is complete, it has no `config.json`, so that nothing takes it for a model.
 */
export class ResumableCheckpoint<R> {
  /** The absolute path. */
  readonly directory: string;
  readonly #state: State<R>;

  private constructor(directory: string, state: State<R>) {
    this.directory = directory;
    this.#state = state;
  }

  /**
   * Begins a directory, or continues one of the same `job`.
   * @param force begins again what another job, or a finished one, has written there
   * @throws {CaracalError} `INVALID_ARGUMENT` when the directory exists and may not be replaced, or was begun for another
   *   job; `IO_ERROR` when its parent does not exist
   */
  static async open<R>(path: string, job: State<R>["job"], force: boolean): Promise<ResumableCheckpoint<R>> {
    const directory = resolve(path);
    await checkParent(directory);
    const found = await readState<R>(directory);
    if (found && !force) {
      const changed = Object.keys(job).filter((key) => job[key] !== found.job[key]);
      if (changed.length > 0) throw otherJob(directory, job, found.job, changed);
      return new ResumableCheckpoint(directory, { job, files: found.files });
    }
    if (!found) await checkTarget(directory, force);
    await clear(directory, found !== undefined);
    await mkdir(directory).catch((error) => {
      if (error.code !== "EEXIST") throw asWriteError(directory, error);
    });
    const target = new ResumableCheckpoint<R>(directory, { job, files: {} });
    await target.#save();
    return target;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** What `write` returned for a file, if it is complete. */
  async finished(name: string): Promise<R | undefined> {
    const record = this.#state.files[name];
    const size = await stat(this.path(name)).then(
      (file) => file.size,
      () => undefined,
    );
    return record && size === record.bytes ? record.result : undefined;
  }

  /** Writes a file under another name, which then becomes `name`, and records it. */
  async write(name: string, write: (path: string) => Promise<R>): Promise<R> {
    const [path, partial] = [this.path(name), this.path(name + partialEnding)];
    try {
      const result = await write(partial);
      await rename(partial, path);
      this.#state.files[name] = { bytes: (await stat(path)).size, result };
      await this.#save();
      return result;
    } catch (error) {
      await rm(partial, { force: true });
      throw asWriteError(path, error);
    }
  }

  /** Writes the files of a complete directory that are small: others, and `config.json` last. */
  async finish(texts: Readonly<Record<string, string>>, config: object): Promise<void> {
    for (const [name, text] of Object.entries(texts)) await this.#replace(name, text);
    const names = new Set([...(await filesIn(this.directory)), configFile]);
    names.delete(stateFile);
    await this.#replace(configFile, `${JSON.stringify({ ...config, _files: [...names].sort() }, null, 2)}\n`);
    await rm(this.path(stateFile));
  }

  #save(): Promise<void> {
    return this.#replace(stateFile, JSON.stringify(this.#state));
  }

  /** A process that is killed leaves the old file, or the new one. */
  async #replace(name: string, text: string): Promise<void> {
    const partial = this.path(name + partialEnding);
    await writeFile(partial, text).catch((error) => Promise.reject(asWriteError(this.path(name), error)));
    await rename(partial, this.path(name));
  }
}

async function readState<R>(directory: string): Promise<State<R> | undefined> {
  const path = join(directory, stateFile);
  const isThere = await stat(path).then(
    (file) => file.isFile(),
    () => false,
  );
  if (!isThere) return undefined;
  try {
    const state = JSON.parse(await readText(path, maxStateBytes)) as Partial<State<R>> | null;
    return { job: state?.job ?? {}, files: state?.files ?? {} };
  } catch {
    return { job: {}, files: {} }; // damaged: only `force` begins again
  }
}

/**
 * Empties a directory of which `checkTarget` has said that all in it is ours. In an unfinished one, other files may have been
 * put, so only what is written file by file goes.
 */
async function clear(directory: string, isUnfinished: boolean): Promise<void> {
  const names = await readdir(directory).catch(() => [] as string[]);
  const isOurs = (name: string) =>
    !isUnfinished || /^model-\d+-of-\d+\.safetensors$|\.index\.json$|\.partial$/.test(name);
  const marks = [configFile, stateFile]; // these go last: they say whose directory it is
  const others = names.filter((name) => isOurs(name) && !marks.includes(name));
  for (const name of [...others, ...marks]) await rm(join(directory, name), { recursive: true, force: true });
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
      : `${key} ${before}, now ${job[key]}`;
  });
  const message =
    `${directory} was begun with ${differences.join("; ").replaceAll("its ", "another ")}: ` +
    "continue with what it was begun with, or pass force (--force) to begin again";
  return new CaracalError("INVALID_ARGUMENT", message, { directory, changed });
}
