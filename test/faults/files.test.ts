// Mapped files that must not be written, or that change while they are mapped.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  cpSync,
  linkSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { openSafetensors } from "../../lib/checkpoint/formats/safetensors.js";
import { OmniModel } from "../../lib/model/omni.js";
import { Weights } from "../../lib/model/weights.js";
import { addon } from "../../lib/native/addon.js";
import { add, concatRows, copyRows, embedding, layerNorm, packWeight } from "../../lib/ops/index.js";
import { Graph } from "../../lib/tensor/graph.js";
import { movePacked } from "../../lib/tensor/packedFile.js";
import { Device } from "../../lib/tensor/tensor.js";
import { saveTensors } from "../../lib/tensorFiles.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { loadCompiled } from "../support/compiled.js";
import { backends, devices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { settledMemory } from "../support/garbage.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "caracal-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const rows = 1024;
const width = 256;
let next = 0;
/** A file of f32 rows, whose row i holds the number i, after `offset` bytes. */
function numbers(offset = 0): string {
  const values = Float32Array.from({ length: rows * width }, (_, i) => Math.floor(i / width));
  const path = join(folder, `numbers-${next++}`);
  writeFileSync(path, Buffer.concat([Buffer.alloc(offset), Buffer.from(values.buffer)]));
  return path;
}
const mapped = (device: Device, path: string, offset = 0) =>
  device.mapped(device.mapFile(path), offset, [rows, width], "f32");
const changedFile = (path: string) =>
  expect.objectContaining({
    name: "CaracalError",
    code: "IO_ERROR",
    message: expect.stringContaining(`${path} was cut short, written to or became unreadable`),
    details: { path },
  });

const cpu = devices.at(-1)!;

describe.each(backends.map((device) => [device.name, device] as const))(
  "%s: a tensor of a mapped file",
  (_, device) => {
    test.each([0, 4, 2])("is read-only, as are its views, at offset %i", async (offset) => {
      const x = mapped(device, numbers(offset), offset);
      const one = device.zeros([1, width]);
      for (const target of [x, x.slice(1, 3), x.reshape([rows, width])]) {
        expect(() => copyRows(target, one)).toThrowError(code("INVALID_ARGUMENT"));
        expect(() => copyRows(target, one)).toThrowError(/copyRows: \w+ is written in place.*mapped file/);
        expect(() => Graph.capture(device, () => copyRows(target, one))).toThrowError(code("INVALID_ARGUMENT"));
        expect(() => target.write(new Float32Array(target.size))).toThrowError(code("INVALID_ARGUMENT"));
      }
      expect((await x.slice(1, 2).read())[0]).toBe(1);
      const copy = concatRows([x.slice(0, 2)]);
      copyRows(copy, one, 1);
      expect((await copy.read())[width]).toBe(0);
    });
  },
);

describe("a mapped file that is cut short", () => {
  test("fails reads and operations, also those that see a rest of its last page", async () => {
    const path = numbers();
    const x = mapped(cpu, path);
    const within = x.slice(1, 2);
    const cutPage = x.slice(3, 4); // bytes 3072 to 4095
    const gone = x.slice(100, 101);
    expect((await gone.read())[0]).toBe(100);
    truncateSync(path, 3100);
    const ids = cpu.tensor([100], [1], "i32");
    for (const tensor of [cutPage, gone, within, add(gone, gone), embedding(x, ids), x]) {
      await expect(tensor.read()).rejects.toThrowError(changedFile(path));
      await expect(tensor.toFloat32Array()).rejects.toThrowError(changedFile(path));
      await expect(tensor.ready()).rejects.toThrowError(changedFile(path));
    }
    const other = cpu.tensor([1, 2], [2]);
    expect([...(await add(other, other).read())]).toEqual([2, 4]);
  });

  test("fails the rest of it that is still to be copied", async () => {
    for (const device of backends) {
      const path = numbers(1);
      const file = device.mapFile(path);
      truncateSync(path, 10);
      const x = device.mapped(file, 1, [rows, width], "f32"); // not aligned, so it is copied on the CPU too
      await expect(x.read()).rejects.toThrowError(changedFile(path));
      await expect(add(x, x).ready()).rejects.toThrowError(changedFile(path));
    }
  });

  test("fails graphs, but not tensors that were copied from it before", async () => {
    const path = numbers();
    const x = mapped(cpu, path).slice(0, 2);
    const copy = concatRows([x]);
    using graph = Graph.capture(cpu, () => add(x, x));
    graph.replay();
    expect((await graph.result.read())[width]).toBe(2);
    await copy.ready();
    truncateSync(path, 0);
    graph.replay();
    await expect(graph.result.read()).rejects.toThrowError(changedFile(path));
    expect((await copy.read())[width]).toBe(1);
  });

  test("is as good as new when it is mapped again", async () => {
    const path = numbers();
    const x = mapped(cpu, path);
    truncateSync(path, 4);
    await expect(x.read()).rejects.toThrowError(changedFile(path));
    cpSync(numbers(), path);
    await expect(x.read()).rejects.toThrowError(changedFile(path)); // the mapping has seen other bytes
    expect((await mapped(cpu, path).slice(7, 8).read())[0]).toBe(7);
  });
});

test("a mapped file that is written over fails reads, also if its time of modification is put back", async () => {
  const path = numbers();
  const past = new Date(1e12);
  utimesSync(path, past, past);
  const x = mapped(cpu, path).slice(0, 1);
  await x.read();
  writeFileSync(path, Buffer.alloc(rows * width * 4, 1), { flag: "r+" });
  utimesSync(path, past, past);
  await expect(x.read()).rejects.toThrowError(changedFile(path));
});

test("a mapped file that gets other links, names or rights is read on", async () => {
  const path = numbers();
  const x = mapped(cpu, path).slice(7, 8);
  const other = `${path}-moved`;
  const changes = [
    () => linkSync(path, other),
    () => unlinkSync(other),
    () => chmodSync(path, 0o400),
    () => renameSync(path, other),
    () => renameSync(numbers(), other), // an atomic replacement: the mapping keeps the old file
  ];
  for (const change of changes) {
    change();
    expect((await x.read())[0]).toBe(7);
  }
});

test("a checkpoint that is replaced or written to after its header was read is not loaded", async () => {
  const path = join(folder, "replaced.safetensors");
  const write = async (to: string, value: number) => saveTensors(to, { x: cpu.tensor([value, value], [2]) });
  const replace = async () => {
    await write(`${path}.new`, 2);
    renameSync(`${path}.new`, path);
  };
  const overwrite = () => writeFileSync(path, readFileSync(path).fill(0, statSync(path).size - 4));
  for (const change of [replace, overwrite]) {
    await write(path, 1);
    utimesSync(path, new Date(1e12), new Date(1e12)); // not the time at which it is written to, which may be coarse
    const { entries } = await openSafetensors(path);
    await change();
    const weights = Weights.of(cpu, { "": entries });
    const refused = expect.objectContaining({
      code: "IO_ERROR",
      message: `${path} was replaced or written to after its header was read: load it again when it is complete`,
    });
    expect(() => weights.plain("x")).toThrow(refused);
    const again = Weights.of(cpu, { "": (await openSafetensors(path)).entries });
    expect((await again.plain("x").read())[0]).toBe(change === replace ? 2 : 1);
    again.dispose();
  }
});

test("a mapped file that is written over fails reads", async () => {
  const path = numbers();
  const x = mapped(cpu, path).slice(0, 1);
  await x.read();
  writeFileSync(path, Buffer.alloc(rows * width * 4, 1), { flag: "r+" });
  utimesSync(path, new Date(), new Date(Date.now() + 5000)); // a file system may count time in seconds
  await expect(x.read()).rejects.toThrowError(changedFile(path));
});

test("what is not a regular file is refused at once", () => {
  const fifo = join(folder, "fifo");
  execFileSync("mkfifo", [fifo]);
  for (const path of [fifo, "/dev/zero"])
    expect(() => cpu.mapFile(path)).toThrowError(`${path}: it is not a regular file`);
  expect(() => cpu.mapFile(`${numbers()}\0.safetensors`)).toThrowError(code("INVALID_ARGUMENT"));
});

describe("a bus error that concerns no mapped file", () => {
  /** Maps a file, then sends itself SIGBUS. */
  const run = (before: string, after = "") => {
    const body = `
      import { Device } from "caracal";
      ${before}
      const device = await Device.open({ threads: 1 });
      const file = device.mapFile(${JSON.stringify(numbers())});
      process.kill(process.pid, "SIGBUS");
      await new Promise((done) => setTimeout(done, 200));
      ${after}
      console.log("alive");
    `;
    return spawnSync(process.execPath, ["--input-type=module", "-e", body], { encoding: "utf8", cwd: root });
  };

  test("ends the process, as without the library", () => {
    expect(run("").signal).toBe("SIGBUS");
  });

  test("goes to the handler that was there before", () => {
    const { signal, stdout } = run(`process.on("SIGBUS", () => console.log("handled"));`);
    expect([signal, stdout]).toEqual([null, "handled\nalive\n"]);
  });
});

describe("a handler of bus errors that the program sets after a file is mapped", () => {
  /** Maps a file, runs `body`, cuts the file short, and reads it. */
  const run = (body: string) => {
    const script = `
      import { truncateSync } from "node:fs";
      import { Device } from "caracal";
      const device = await Device.open({ backend: "cpu", threads: 1 });
      const x = device.mapped(device.mapFile(process.argv[1]), 0, [${rows * width}], "f32");
      const listener = () => console.log("listener");
      ${body}
      truncateSync(process.argv[1], 5000);
      console.log(await x.read().catch(({ code }) => code));
      process.kill(process.pid, "SIGBUS");
      setTimeout(() => console.log("alive"), 200);`;
    const args = ["--input-type=module", "-e", script, numbers()];
    return spawnSync(process.execPath, args, { encoding: "utf8", cwd: root, timeout: 30_000 });
  };

  test("does not take the guard away, and gets the signals that others send", () => {
    const { signal, stdout } = run(`process.on("SIGBUS", listener);`);
    expect([signal, stdout]).toEqual([null, "IO_ERROR\nlistener\nalive\n"]);
  });

  test("does not take the guard away when it is removed", () => {
    const { signal, stdout } = run(`process.on("SIGBUS", listener).off("SIGBUS", listener);`);
    expect([signal, stdout]).toEqual(["SIGBUS", "IO_ERROR\n"]);
  });

  test("may call the one that it found: each then gets a signal once", () => {
    const { signal, stdout } = loadCompiled(new URL("./busHandlers.cc", import.meta.url), (handlers) => {
      const script = `
        import koffi from "koffi";
        console.log(koffi.load(process.argv[1]).func("int calls_of_handlers()")());`;
      const args = ["--input-type=module", "-e", script, handlers];
      return spawnSync(process.execPath, args, { encoding: "utf8", cwd: root });
    });
    expect([signal, stdout]).toEqual([null, "22\n"]);
  });
});

test("a weight is written to the file that was open at the call, even if it is closed before its turn", async () => {
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const [target, victim] = [join(folder, "target"), join(folder, "victim")];
  writeFileSync(victim, "precious");
  const scale = device.tensor(new Float32Array(4096).fill(1), [4096]);
  for (let i = 0, y = device.zeros([1024, 4096]); i < 5; i++) y = layerNorm(y, scale); // holds the queue
  const weight = packWeight(device.tensor(new Float32Array(4096).fill(1), [16, 256]));
  const file = openSync(target, "w");
  const moved = movePacked(weight, file, 0);
  closeSync(file);
  const others = Array.from({ length: 8 }, () => openSync(victim, "r+"));
  expect(others).toContain(file); // the number is given out again
  await moved;
  expect(readFileSync(victim, "utf8")).toBe("precious");
  expect(readFileSync(target)).toEqual(Buffer.from(new Float32Array(4096).fill(1).buffer));
  for (const other of others) closeSync(other);

  // The library keeps the file, and so its lock, no longer than that.
  const locked = openSync(target, "r+");
  const again = packWeight(device.zeros([16, 256]));
  expect(addon().lockFile(locked)).toBe("taken");
  await movePacked(again, locked, 0);
  closeSync(locked);
  const next = openSync(target, "r");
  expect(addon().lockFile(next)).toBe("taken");
  closeSync(next);
  await device.dispose();
});

test("the handler of bus errors goes with the last mapped file, here that of a worker thread", () => {
  const script = fileURLToPath(new URL("./mapping.mjs", import.meta.url));
  const { signal, stdout } = spawnSync(process.execPath, [script, numbers()], { encoding: "utf8" });
  expect([signal, stdout]).toEqual(["SIGBUS", '[true,"IO_ERROR",false]\n']);
});

describe("a model whose files change", () => {
  const copyOf = async (name: string) => {
    const directory = join(folder, name);
    cpSync(await tinyDirectory(2), directory, { recursive: true });
    return directory;
  };
  /** The shards in order: the first one holds the text table, the last one the head. */
  const shards = (directory: string) => {
    const names = readdirSync(directory).filter((name) => name.endsWith(".safetensors"));
    return names.sort().map((name) => join(directory, name));
  };
  const reply = async (model: OmniModel) => {
    for await (const _ of model.generate([{ role: "user", content: "Hello" }], { maxTokens: 3 }));
  };

  test("ends its replies with IO_ERROR, and can be loaded again", async () => {
    const directory = await copyOf("replies");
    const file = shards(directory)[0]!;
    const size = statSync(file).size;
    const model = await OmniModel.load(directory, { device: cpu, kvCacheTokens: 256 });
    await reply(model);
    truncateSync(file, Math.floor(size / 2));
    for (let i = 0; i < 2; i++) await expect(reply(model)).rejects.toThrowError(changedFile(file));
    model.dispose();
    cpSync(shards(await copyOf("whole"))[0]!, file);
    const again = await OmniModel.load(directory, { device: cpu, kvCacheTokens: 256 });
    await reply(again);
    again.dispose();
  });

  test("cannot be loaded while they change, and leaves no memory behind", async () => {
    (await OmniModel.load(await copyOf("before"), { device: cpu, kvCacheTokens: 256 })).dispose();
    const before = await settledMemory(cpu);
    for (const when of ["speech heads", "language model"]) {
      const directory = await copyOf(`loading, ${when}`);
      const file = shards(directory).at(-1)!;
      const onProgress = ({ module }: { module: string }) => {
        if (module === when) truncateSync(file, 4096);
      };
      const load = OmniModel.load(directory, { device: cpu, kvCacheTokens: 256, onProgress });
      await expect(load).rejects.toMatchObject({ code: "IO_ERROR", message: expect.stringContaining(file) });
      expect(await settledMemory(cpu)).toBe(before);
    }
  });
});
