import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import type { ErrorCode } from "../../lib/errors.js";
import { DirectoryLock } from "../../lib/synth/lock.js";
import { copyOthers, findOthers, missingBytes } from "../../lib/synth/others.js";
import { quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { type SliceOptions, sliceCheckpoint } from "../../lib/synth/slice.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { OutputFile } from "../../lib/synth/writer.js";
import { scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { code } from "../support/errors.js";
import { filesOf } from "./quantized.js";

// Directories that are written in steps, and what else may happen in them: other calls, killed processes, odd files.

const folder = scratch();
const source = await tinyDirectory(5);
const whole = join(folder, "whole");
await sliceCheckpoint(source, whole);

let made = 0;
const fresh = () => join(folder, `target-${made++}`);
const fifo = (path: string) => void execFileSync("mkfifo", [path]);
const refused = (code: ErrorCode, message: RegExp) =>
  expect.objectContaining({ name: "CaracalError", code, message: expect.stringMatching(message) });

const stop = new Error("stop");
const atSecondShard = ({ file }: { file: string }) => {
  if (file.startsWith("model-00002")) throw stop;
};

/** A directory with the first shard. */
async function unfinished(): Promise<string> {
  const target = fresh();
  await expect(sliceCheckpoint(source, target, { onProgress: atSecondShard })).rejects.toBe(stop);
  return target;
}

describe("what lies where a file is written", () => {
  const kinds: Record<string, (path: string, victim: string) => void> = {
    "a link": (path, victim) => symlinkSync(victim, path),
    "a FIFO": fifo,
    "a folder": (path) => void mkdirSync(path),
    "a file": (path) => writeFileSync(path, "of a call that was killed"),
  };

  test.each(Object.keys(kinds))("%s is neither opened nor followed", async (kind) => {
    const target = await unfinished();
    const victim = join(folder, `victim-${made}`);
    writeFileSync(victim, "precious");
    const second = "model-00002-of-00003.safetensors";
    for (const name of [`${second}.partial`, `${second}.0123abcd.partial`, "caracal-unfinished.json.partial"])
      kinds[kind]!(join(target, name), victim);
    expect((await sliceCheckpoint(source, target)).resumed).toBe(1);
    expect(readFileSync(victim, "utf8")).toBe("precious");
    expect(lstatSync(join(target, second)).isFile()).toBe(true);
    const left = readdirSync(target).filter((name) => name.endsWith(".partial"));
    expect(left).toHaveLength(kind === "a folder" ? 3 : 0);
    for (const name of left) rmSync(join(target, name), { recursive: true });
    const shards = (directory: string) => [...filesOf(directory)].filter(([name]) => name !== "config.json");
    expect(shards(target)).toEqual(shards(whole));
  });

  test.each(Object.keys(kinds))("%s has the name of a file that only begins", async (kind) => {
    const [path, victim] = [join(folder, `begins-${made++}`), join(folder, `victim-${made}`)];
    writeFileSync(victim, "precious");
    kinds[kind]!(path, victim);
    const call = OutputFile.use(path, (file) => file.write(Buffer.from("new")));
    await expect(call).rejects.toThrowError(refused("IO_ERROR", /cannot be written: EEXIST/));
    expect(readFileSync(victim, "utf8")).toBe("precious");
  });

  test.each(["a link", "a FIFO", "a folder"])("%s in the place of the lock is refused", async (kind) => {
    const target = await unfinished();
    const victim = join(folder, `victim-${made}`);
    writeFileSync(victim, "precious");
    kinds[kind]!(join(target, "caracal-unfinished.lock"), victim);
    await expect(sliceCheckpoint(source, target)).rejects.toThrowError(code("IO_ERROR"));
    expect(readFileSync(victim, "utf8")).toBe("precious");
  });

  test("a link is no finished shard", async () => {
    const target = await unfinished();
    const first = join(target, "model-00001-of-00003.safetensors");
    const elsewhere = join(folder, "elsewhere.safetensors");
    renameSync(first, elsewhere);
    symlinkSync(elsewhere, first);
    expect((await sliceCheckpoint(source, target)).resumed).toBe(0);
    expect(lstatSync(first).isFile()).toBe(true);
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  test("links among the copied files of the target lead to nothing that is written", async () => {
    const target = await unfinished();
    const [victim, elsewhere] = [join(folder, `victim-${made}`), join(folder, `elsewhere-${made}`)];
    writeFileSync(victim, "precious");
    mkdirSync(elsewhere);
    rmSync(join(target, "tokenizer.json"));
    symlinkSync(victim, join(target, "tokenizer.json"));
    rmSync(join(target, "vision"), { recursive: true });
    symlinkSync(elsewhere, join(target, "vision"));
    const other = refused("IO_ERROR", /vision: something else than a folder has this name; remove it/);
    await expect(sliceCheckpoint(source, target)).rejects.toThrowError(other);
    rmSync(join(target, "vision"));
    await sliceCheckpoint(source, target);
    expect([readFileSync(victim, "utf8"), readdirSync(elsewhere)]).toEqual(["precious", []]);
    expect(filesOf(target)).toEqual(filesOf(whole));
  });
});

describe("a damaged state", () => {
  const first = "model-00001-of-00003.safetensors";
  type State = { job: Record<string, unknown>; files: Record<string, { bytes: unknown; result: unknown }> };
  const changes: Record<string, (state: State) => unknown> = {
    "no object": () => 7,
    null: () => null,
    "no files": ({ job }) => ({ job }),
    "a number of files": (state) => ({ ...state, files: 7 }),
    "text of files": (state) => ({ ...state, files: "abc" }),
    "a list of files": (state) => ({ ...state, files: [1] }),
    "no job": ({ files }) => ({ files }),
    "a job of objects": (state) => ({ ...state, job: { ...state.job, format: { toString: 1 } } }),
    "another name": (state) => ({ ...state, files: { ...state.files, "config.json": state.files[first] } }),
    "a file's name of a prototype": (state) => ({ ...state, files: JSON.parse('{ "__proto__": {} }') }),
    "no record": (state) => ({ ...state, files: { [first]: null } }),
    "half a byte": (state) => ({ ...state, files: { [first]: { ...state.files[first], bytes: 0.5 } } }),
    ...Object.fromEntries(
      [5, null, [null, 5], Array(300_000).fill(null), [{ name: 1, error: 1 }], [{ name: "w", error: null }]].map(
        (result, i) => [
          `result ${i}`,
          (state: State) => ({ ...state, files: { [first]: { ...state.files[first], result } } }),
        ],
      ),
    ),
  };

  test("begins again only if forced", async () => {
    const target = fresh();
    const options = { format: "fp8" } as const;
    await expect(quantizeCheckpoint(source, target, { ...options, onProgress: atSecondShard })).rejects.toBe(stop);
    const path = join(target, "caracal-unfinished.json");
    const state = readFileSync(path, "utf8");
    const damaged = refused("INVALID_ARGUMENT", /caracal-unfinished\.json is damaged: pass force \(--force\) to begin/);
    for (const [what, change] of Object.entries(changes)) {
      writeFileSync(path, JSON.stringify(change(JSON.parse(state))));
      await expect(quantizeCheckpoint(source, target, options), what).rejects.toThrowError(damaged);
    }
    expect((await quantizeCheckpoint(source, target, { ...options, force: true })).resumed).toBe(0);
  });

  test("is what a slice does not write", async () => {
    const target = await unfinished();
    const path = join(target, "caracal-unfinished.json");
    const state = JSON.parse(readFileSync(path, "utf8"));
    state.files[first].result = [{ name: "w", error: 0.5 }];
    writeFileSync(path, JSON.stringify(state));
    await expect(sliceCheckpoint(source, target)).rejects.toThrow(/is damaged/);
  });

  test("a result that is read back is that which was written", async () => {
    const target = fresh();
    const options = { format: "fp8" } as const;
    const all = await quantizeCheckpoint(source, fresh(), options);
    await expect(quantizeCheckpoint(source, target, { ...options, onProgress: atSecondShard })).rejects.toBe(stop);
    expect((await quantizeCheckpoint(source, target, options)).errors).toEqual(all.errors);
  });
});

describe("files beside the language model", () => {
  test.each<[string, (directory: string) => void, RegExp]>([
    ["a link to its own folder", (directory) => symlinkSync(".", join(directory, "odd")), /odd: is a link to a folder/],
    [
      "a link to the folder above",
      (directory) => symlinkSync("..", join(directory, "vision/odd")),
      /vision\/odd: is a/,
    ],
    ["a link to a file system", (directory) => symlinkSync("/", join(directory, "odd")), /odd: is a link to a folder/],
    ["a link to nothing", (directory) => symlinkSync("/nonexistent", join(directory, "odd")), /odd: no such file/],
    ["a link to itself", (directory) => symlinkSync("odd", join(directory, "odd")), /odd: cannot be read \(ELOOP\)/],
    ["a FIFO", (directory) => fifo(join(directory, "audio/odd")), /audio\/odd: expected a regular file/],
    ["a device", (directory) => symlinkSync("/dev/null", join(directory, "odd")), /odd: expected a regular file/],
  ])("%s is refused by its name before anything is written", async (_, put, message) => {
    const copy = join(folder, `source-${made++}`);
    execFileSync("cp", ["-r", source, copy]);
    put(copy);
    const target = fresh();
    const error = refused(message.source.includes("ELOOP") ? "IO_ERROR" : "CHECKPOINT_INVALID", message);
    await expect(sliceCheckpoint(copy, target)).rejects.toThrowError(error);
    expect(existsSync(target)).toBe(false);
  });

  test("may be links to files, as in the hub's cache, and count once", async () => {
    const [copy, blobs, target] = [join(folder, "snapshot"), join(folder, "blobs"), fresh()];
    execFileSync("cp", ["-r", source, copy]);
    mkdirSync(blobs);
    for (const name of ["tokenizer.json", "vision/config.json"]) {
      renameSync(join(copy, name), join(blobs, basename(name)));
      symlinkSync(join(blobs, basename(name)), join(copy, name));
    }
    const others = await findOthers(copy);
    expect(await missingBytes(others, target)).toBe(await missingBytes(await findOthers(source), target));
    await sliceCheckpoint(copy, target);
    expect(await missingBytes(others, target)).toBe(0);
    for (const name of ["tokenizer.json", "vision/config.json"])
      expect(lstatSync(join(target, name)).isFile()).toBe(true);
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  test("are not copied any more after an abort", async () => {
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    for (const path of [from, to]) mkdirSync(path);
    for (const name of ["a", "b", "c"]) writeFileSync(join(from, name), name);
    const others = ["a", "b", "c"].map((name) => ({ name, bytes: 1 }));
    const signal = {
      reason: "enough",
      get aborted() {
        return existsSync(join(to, "b"));
      },
    } as AbortSignal;
    await expect(copyOthers(from, others, to, signal)).rejects.toThrowError(code("ABORTED"));
    expect(readdirSync(to)).toEqual(["a", "b"]);
    await expect(findOthers(from, AbortSignal.abort())).rejects.toThrowError(code("ABORTED"));
  });

  test("that cannot be copied are named", async () => {
    const target = await unfinished();
    rmSync(join(target, "tokenizer.json"));
    mkdirSync(join(target, "tokenizer.json"));
    await expect(sliceCheckpoint(source, target)).rejects.toThrowError(
      refused("IO_ERROR", /tokenizer\.json: cannot be/),
    );
  });
});

test("an error of the caller's own is passed on as it is, also one of the system's", async () => {
  const mine = Object.assign(new Error("mine"), { code: "EACCES" });
  const onProgress = () => {
    throw mine;
  };
  await expect(sliceCheckpoint(source, fresh(), { onProgress })).rejects.toBe(mine);
  await expect(synthesize(fresh(), { onProgress })).rejects.toBe(mine);
});

describe("a directory is written by one call", () => {
  test("at a time, in a process", async () => {
    const target = fresh();
    let second: Promise<unknown> | undefined;
    const options: SliceOptions = {
      onProgress: () => {
        second ??= sliceCheckpoint(source, target, { force: true }).catch((error) => error);
      },
    };
    await sliceCheckpoint(source, target, options);
    expect(await second).toEqual(
      refused(
        "INVALID_ARGUMENT",
        new RegExp(`is being written by process ${process.pid} on .*: wait until that has ended`),
      ),
    );
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  test("of many that begin at once, none spoils what another writes", async () => {
    const target = fresh();
    const calls = Array.from({ length: 6 }, () => sliceCheckpoint(source, target));
    const results = await Promise.allSettled(calls);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results)
      if (result.status === "rejected")
        expect(result.reason).toEqual(refused("INVALID_ARGUMENT", /is being written|already exists/));
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  /** Writes the first shard, says so and waits in the middle of the second. */
  const program = (target: string) => `
    const { sliceCheckpoint } = await import("${new URL("../../dist/lib/index.js", import.meta.url)}");
    const { writeSync } = await import("node:fs");
    const { parentPort } = await import("node:worker_threads");
    const onProgress = ({ file }) => {
      if (!file.startsWith("model-00002")) return;
      if (parentPort) parentPort.postMessage("writing");
      else writeSync(1, "writing");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };
    await sliceCheckpoint(${JSON.stringify(source)}, ${JSON.stringify(target)}, { onProgress });
  `;

  test("of all processes, and goes on when that was killed, to the same bytes", async () => {
    const target = fresh();
    const child = spawn(process.execPath, ["--input-type=module", "-e", program(target)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    const held = refused("INVALID_ARGUMENT", new RegExp(`is being written by process ${child.pid} on `));
    await expect(sliceCheckpoint(source, target)).rejects.toThrowError(held);
    await expect(sliceCheckpoint(source, target, { force: true })).rejects.toThrowError(held);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(readdirSync(target).filter((name) => /\.partial$|\.lock$/.test(name))).toHaveLength(2);
    expect((await sliceCheckpoint(source, target)).resumed).toBe(1);
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  test("of all threads, and goes on when that was terminated", async () => {
    const target = fresh();
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program(target))}`));
    await once(worker, "message");
    await expect(sliceCheckpoint(source, target)).rejects.toThrow(/is being written by process/);
    await worker.terminate();
    expect((await sliceCheckpoint(source, target)).resumed).toBe(1);
    expect(filesOf(target)).toEqual(filesOf(whole));
  });

  test("however often the lock changes hands", async () => {
    const directory = fresh();
    mkdirSync(directory);
    let [holders, taken] = [0, 0];
    const contend = async () => {
      while (taken < 300) {
        const lock = await DirectoryLock.take(directory).catch(() => undefined);
        if (!lock) continue;
        taken++;
        expect(++holders).toBe(1);
        await stat(directory); // others try meanwhile
        holders--;
        await lock.release();
      }
    };
    await Promise.all(Array.from({ length: 6 }, contend));
    expect(readdirSync(directory)).toEqual([]);
  });

  test("which notices that its directory was moved away, and another begun", async () => {
    const target = fresh();
    const onProgress = ({ file }: { file: string }) => {
      if (!file.startsWith("model-00002") || existsSync(`${target}-moved`)) return;
      renameSync(target, `${target}-moved`);
      mkdirSync(target);
      copyFileSync(join(source, "tokenizer.json"), join(target, "mine"));
    };
    const moved = refused("IO_ERROR", /was moved, removed or replaced while it was being written/);
    await expect(sliceCheckpoint(source, target, { onProgress })).rejects.toThrowError(moved);
    expect(readdirSync(target)).toEqual(["mine"]);
  });
});
