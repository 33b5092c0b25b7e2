// Processes in which the system refuses threads or memory. Each lowers its own limit of address space, which needs no
// privilege: the stack of a thread takes 8 MiB of it, an ArrayBuffer its size.
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { OmniModel } from "../../lib/model/omni.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { cuda } from "../support/devices.js";
import { code } from "../support/errors.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0;
if (!hasPrlimit) console.warn("prlimit is not installed: processes without memory are not tested");

/** Runs a module that can call `limit(bytes)`, after which only so many more bytes of address space can be taken. */
function runLimited(body: string): unknown {
  const prelude = `
    import { execFileSync } from "node:child_process";
    import { readFileSync } from "node:fs";
    import { Device, ops } from "caracal";
    function limit(bytes) {
      const taken = 1024 * Number(/VmSize:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
      execFileSync("prlimit", ["--pid", String(process.pid), "--as=" + (taken + bytes)]);
    }
    const failure = (promise) => promise.then(() => "no error", ({ name, code, details }) => ({ name, code, details }));
    const threads = () => Number(/Threads:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
    const print = (value) => console.log(JSON.stringify(value));
  `;
  const args = ["--input-type=module", "-e", prelude + body];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: root });
  expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(stdout);
}
const outOfMemory = (details: object) => ({
  name: "CaracalError",
  code: "OUT_OF_MEMORY",
  details: expect.objectContaining(details),
});

describe.skipIf(!hasPrlimit)("when the system refuses", () => {
  test("threads of a pool, those already started are joined", () => {
    const { error, left, later } = runLimited(`
      const before = threads();
      limit(400 << 20);
      const error = await failure(Device.open({ backend: "cpu", threads: 1000 }));
      const left = threads() - before;
      const device = await Device.open({ backend: "cpu", threads: 2 });
      print({ error, left, later: [...await device.tensor([1, 2], [2]).read()] });
    `) as { error: { details: { actual: string } }; left: number; later: number[] };
    expect(error).toEqual(outOfMemory({ argument: "threads", expected: "1000" }));
    expect(Number(error.details.actual)).toBeGreaterThan(1);
    expect(Number(error.details.actual)).toBeLessThan(1000);
    expect([left, later]).toEqual([0, [1, 2]]);
  });

  test("file descriptors, media fail with a code", () => {
    const errors = runLimited(`
      const { closeSync, openSync, readdirSync, writeFileSync, mkdtempSync, rmSync } = await import("node:fs");
      const { loadAudio } = await import("./dist/lib/media/audio.js");
      const directory = mkdtempSync("${join(tmpdir(), "caracal-descriptors-")}");
      const path = directory + "/sound.mp3";
      writeFileSync(path, "no sound");
      await failure(loadAudio(path)); // loads everything that is loaded on demand
      const open = Math.max(...readdirSync("/proc/self/fd").map(Number)) + 30;
      execFileSync("prlimit", ["--pid", String(process.pid), "--nofile=" + open]);
      const taken = [];
      try { for (;;) taken.push(openSync("/dev/null")); } catch {}
      const errors = [];
      for (let free = 0; free < 8; free++) {
        errors.push(await failure(loadAudio(path)));
        closeSync(taken.pop());
      }
      for (const file of taken) closeSync(file);
      rmSync(directory, { recursive: true });
      print(errors);
    `) as { name: string; code: string }[];
    expect(errors.map(({ name }) => name)).toEqual(Array(8).fill("CaracalError"));
    expect(errors.slice(0, 3).map(({ code }) => code)).toEqual(Array(3).fill("IO_ERROR"));
  });

  test("the thread of a queue, the other devices go on", () => {
    const result = runLimited(`
      limit(300 << 20);
      const devices = [];
      let error;
      while (!error && devices.length < 500)
        error = await Device.open({ backend: "cpu", threads: 1 }).then((d) => void devices.push(d), (e) => e);
      const some = devices.length > 1;
      const sum = [...await ops.add(devices[0].tensor([1], [1]), devices[0].tensor([2], [1])).read()];
      for (const device of devices) device.dispose();
      const again = await Device.open({ backend: "cpu", threads: 1 });
      print({ code: error?.code, some, sum, later: [...await again.tensor([4], [1]).read()] });
    `);
    expect(result).toEqual({ code: "OUT_OF_MEMORY", some: true, sum: [3], later: [4] });
  });

  test("the memory of a read, it is rejected", () => {
    const bytes = 200 << 20;
    const result = runLimited(`
      const device = await Device.open({ backend: "cpu", threads: 1 });
      const x = device.zeros([${bytes}], "u8");
      await x.ready();
      limit(100 << 20);
      const errors = [await failure(x.read()), await failure(x.toFloat32Array())];
      print({ errors, later: (await x.slice(0, 1000).read()).length });
    `);
    expect(result).toEqual({ errors: [outOfMemory({ bytes }), outOfMemory({ bytes: 4 * bytes })], later: 1000 });
  });

  test("the address space of a mapped file, it is not mapped", () => {
    const bytes = 300 << 20;
    const result = runLimited(`
      const { rmSync, truncateSync, writeFileSync } = await import("node:fs");
      const path = "${join(tmpdir(), "caracal-sparse-")}" + process.pid;
      writeFileSync(path, "x");
      truncateSync(path, ${bytes}); // a hole, which takes no space
      const device = await Device.open({ backend: "cpu", threads: 1 });
      limit(100 << 20);
      const error = await failure((async () => device.mapFile(path))());
      rmSync(path);
      print({ error, later: (await device.zeros([1000]).read()).length });
    `);
    expect(result).toEqual({ error: outOfMemory({ bytes }), later: 1000 });
  });

  test("the memory of a tensor, what is computed from it fails", () => {
    const result = runLimited(`
      const device = await Device.open({ backend: "cpu", threads: 1 });
      limit(100 << 20);
      const x = device.zeros([200 << 18]);
      const errors = [];
      for (const t of [x, ops.add(x, x), ops.concatRows([x.slice(0, 4)])]) errors.push((await failure(t.ready())).code);
      print({ errors, later: (await device.zeros([1000]).read()).length });
    `);
    expect(result).toEqual({ errors: Array(3).fill("OUT_OF_MEMORY"), later: 1000 });
  });
});

test("more than 1024 threads are refused before any is started", async () => {
  for (const threads of [1025, 100_000])
    await expect(Device.open({ backend: "cpu", threads })).rejects.toThrowError(/threads must be in \[1, 1024\]/);
});

describe.skipIf(!cuda)("a model that does not fit", () => {
  test("is not loaded, and leaves no memory behind", async () => {
    const directory = await tinyDirectory(3);
    const load = (device: Device) => OmniModel.load(directory, { device, kvCacheTokens: 1024 });
    await using roomy = await Device.open({ backend: "cuda" });
    (await load(roomy)).dispose();
    await roomy.synchronize();
    const { peak } = roomy.memory;
    for (let part = 1; part <= 8; part++) {
      await using device = await Device.open({ backend: "cuda", memoryLimit: Math.floor((peak * part) / 9) });
      await expect(load(device), `${part}/9 of the memory`).rejects.toThrowError(code("OUT_OF_MEMORY"));
      await device.synchronize();
      expect(device.memory.inUse).toBe(0);
    }
  });
});
