import { constants } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { CaracalError, printable } from "../errors.js";
import { addon, guarded } from "../native/addon.js";
import { asWriteError } from "./writer.js";

/** Is in a directory while it is written, and stays in one whose process was killed, where it means nothing. */
export const lockFile = "caracal-unfinished.lock";

/**
 * Keeps a directory for one call, of all in this process and in others. The lock is one of the operating system (flock),
 * which gives it back when the process ends in whatever way: a killed one blocks nobody, and no process has to be asked
 * whether another is alive, which it cannot know of one in another container. On a file system that has no locks,
 * nothing is kept; which these are is in docs/quantised-weights.md.
 */
export class DirectoryLock {
  readonly #path: string;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when another call has the lock; `IO_ERROR` */
  static async take(directory: string): Promise<DirectoryLock> {
    const path = join(directory, lockFile);
    for (let tries = 0; tries < 8; tries++) {
      const file = await openLock(path);
      const lock = new DirectoryLock(path, file);
      try {
        if (guarded(() => addon().lockFile(file.fd)) === "held") throw isHeld(directory, await holder(file));
        if (await lock.#isThere()) {
          await file.truncate(0);
          await file.write(`process ${process.pid} on ${hostname()}`, 0).catch(() => {}); // a full disk: only the name lacks
          return lock;
        }
      } catch (error) {
        await file.close();
        throw asWriteError(path, error);
      }
      await file.close(); // who had the lock removed the file after it was opened here
    }
    throw isHeld(directory, "others, one after another");
  }

  /**
   * Called before a file gets its name: somebody may have moved the directory away, and begun another one in its place.
   * @throws {CaracalError} `IO_ERROR`
   */
  async check(directory: string): Promise<void> {
    if (await this.#isThere()) return;
    const message = `${directory} was moved, removed or replaced while it was being written; begin again`;
    throw new CaracalError("IO_ERROR", message, { directory });
  }

  async release(): Promise<void> {
    // While the lock is still held: the file of the next owner is never removed.
    if (await this.#isThere()) await rm(this.#path, { force: true }).catch(() => {});
    await this.#file.close();
  }

  /** Whether the file that is locked still has its name. */
  async #isThere(): Promise<boolean> {
    const [own, found] = [
      await this.#file.stat({ bigint: true }),
      await stat(this.#path, { bigint: true }).catch(() => undefined),
    ];
    return found?.ino === own.ino && found.dev === own.dev;
  }
}

/** Follows no link, and waits at no FIFO. Over NFS, only a file that is open for writing can be locked. */
async function openLock(path: string): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK).catch((error) => {
    throw asWriteError(path, error);
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new CaracalError("IO_ERROR", `${path}: something else than a regular file has this name; remove it`, {
    file: path,
  });
}

/** What whoever has the lock has written about itself. */
async function holder(file: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(200), 0, 200, 0);
  return bytesRead > 0 ? printable(buffer.toString("utf8", 0, bytesRead)) : "another process";
}

function isHeld(directory: string, holder: string): CaracalError {
  const message = `${directory} is being written by ${holder}: wait until that has ended, or choose another path`;
  return new CaracalError("INVALID_ARGUMENT", message, { directory, holder });
}
