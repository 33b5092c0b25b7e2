// Worker threads, exits with pending work, and the event loop, tested with the compiled library as users run it.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { layerNorm } from "../../lib/ops/index.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";

const model = await tinyDirectory(2);
const root = fileURLToPath(new URL("../..", import.meta.url));

const worker = (task: "sum" | "busy" | "reply", data: { seed?: number; model?: string } = {}) =>
  new Worker(new URL("./worker.mjs", import.meta.url), { workerData: { task, ...data } });

/** Runs an ES module in its own process. The module can use `Device`, `ops`, an open `device`, and `busy(device)`. */
function runScript(body: string, flags: string[] = []) {
  const prelude = `
    import { Device, ops } from "caracal";
    function busy(device) {
      const w = device.tensor(new Float32Array(4096).fill(1), [4096]);
      let y = device.zeros([2048, 4096]);
      for (let i = 0; i < 5000; i++) {
        const next = ops.layerNorm(y, w);
        y.dispose();
        y = next;
      }
      return y;
    }
    const device = await Device.open({ threads: 2 });
  `;
  const args = [...flags, "--input-type=module", "-e", prelude + body];
  return spawnSync(process.execPath, args, { encoding: "utf8", timeout: 50_000, cwd: root });
}

describe("worker threads", () => {
  test("four run at the same time, each with its own device", async () => {
    const workers = [1, 2, 3, 4].map((seed) => worker("sum", { seed }));
    const [results, codes] = await Promise.all([
      Promise.all(workers.map(async (w) => (await once(w, "message"))[0])),
      Promise.all(workers.map(async (w) => (await once(w, "exit"))[0])),
    ]);
    expect(results).toEqual([1, 2, 3, 4].map((seed) => ({ first: 201 * seed, equal: true })));
    expect(codes).toEqual([0, 0, 0, 0]);
  });

  test("one is terminated with a full queue and pending reads", async () => {
    for (let round = 0; round < 3; round++) {
      const w = worker("busy");
      expect((await once(w, "message"))[0]).toBe("busy");
      const start = performance.now();
      expect(await w.terminate()).toBe(1);
      expect(performance.now() - start).toBeLessThan(15_000); // the queue would take a minute
    }
    await using device = await Device.open({ threads: 2 });
    expect((await device.zeros([3]).read()).length).toBe(3);
  });

  test("one is terminated during a spoken reply", async () => {
    for (let round = 0; round < 2; round++) {
      const w = worker("reply", { model });
      expect((await once(w, "message"))[0]).toBe("speaking");
      expect(await w.terminate()).toBe(1);
    }
    await using device = await Device.open({ threads: 2 });
    expect((await device.zeros([3]).read()).length).toBe(3);
  });

  test("disposing a device in one does not affect devices of others", async () => {
    await using device = await Device.open({ threads: 2 });
    const x = device.tensor([1, 2, 3], [1, 3]);
    const w = worker("sum", { seed: 5 });
    const y = layerNorm(x, device.tensor([1, 1, 1], [3]));
    await once(w, "exit");
    expect((await y.toFloat32Array())[1]).toBe(0);
  });
});

describe("the process exits", () => {
  test("by process.exit() with pending work", () => {
    const result = runScript(`busy(device).read(); setTimeout(() => process.exit(7), 50);`);
    expect([result.status, result.signal, result.stderr]).toEqual([7, null, ""]);
  });

  test("by an uncaught exception with pending work", () => {
    const result = runScript(`busy(device).read(); setTimeout(() => { throw new Error("on purpose"); }, 50);`);
    expect([result.status, result.signal]).toEqual([1, null]);
    expect(result.stderr).toContain("on purpose");
  });

  test("by itself when nothing waits for the queue", () => {
    const result = runScript(`busy(device); console.log("end");`);
    expect([result.status, result.signal, result.stdout]).toEqual([0, null, "end\n"]);
  });

  test("only after a pending read is answered", () => {
    const result = runScript(`device.tensor([1, 2], [2]).toFloat32Array().then((v) => console.log(v.join()));`);
    expect([result.status, result.stdout]).toEqual([0, "1,2\n"]);
  });

  test("normally after a device is disposed with pending reads", () => {
    const result = runScript(`
      const y = busy(device);
      const reads = Array.from({ length: 50 }, () => y.read());
      device.dispose();
      const codes = (await Promise.allSettled(reads)).map((r) => r.reason?.code);
      console.log(new Set(codes));
      const other = await Device.open();
      await other.zeros([1]).read();
    `);
    expect([result.status, result.signal, result.stdout]).toEqual([0, null, "Set(1) { 'DISPOSED' }\n"]);
  });
});

test("operations do not block the event loop", async () => {
  await using device = await Device.open({ threads: 1 });
  const w = device.tensor(new Float32Array(4096).fill(1), [4096]);
  let y = device.zeros([2048, 4096]);
  for (let i = 0; i < 100; i++) y = layerNorm(y, w);
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const start = performance.now();
  await y.slice(0, 1).read();
  const elapsed = performance.now() - start;
  delay.disable();
  clearInterval(timer);
  expect(elapsed).toBeGreaterThan(200); // otherwise the test shows nothing
  expect(turns).toBeGreaterThan(elapsed / 5 / 4); // a quarter of the timer's ticks, for a loaded machine
  expect(delay.percentile(90) / 1e6).toBeLessThan(elapsed / 4);
});

describe("memory that is not disposed", () => {
  test("is freed by the garbage collector", () => {
    const result = runScript(
      `
      const before = device.memory.inUse;
      let tensors = Array.from({ length: 200 }, () => device.zeros([1024, 64]));
      await device.synchronize();
      const held = device.memory.inUse - before;
      tensors = undefined;
      for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise((done) => setTimeout(done, 10)); }
      console.log(held >= 200 * 1024 * 64 * 4, device.memory.inUse - before);
      `,
      ["--expose-gc"],
    );
    expect([result.status, result.stdout]).toEqual([0, "true 0\n"]);
  });

  test("is known to V8, which collects garbage before it grows without bound", () => {
    const result = runScript(`
      const mega = 2 ** 20;
      for (let i = 0; i < 2000; i++) {
        device.zeros([mega], "u8");
        if (i % 50 === 0) await new Promise((done) => setTimeout(done, 1));
      }
      await device.synchronize();
      console.log(device.memory.peak < 1000 * mega);
    `);
    expect([result.status, result.stdout]).toEqual([0, "true\n"]);
  });

  test("is kept for a read that outlives its tensor and device", () => {
    const result = runScript(
      `
      async function start() {
        const inner = await Device.open({ threads: 1 });
        const w = inner.tensor(new Float32Array(4096).fill(1), [4096]);
        let y = inner.tensor(new Float32Array(4096 * 64), [64, 4096]);
        for (let i = 0; i < 300; i++) y = ops.layerNorm(y, w, w);
        return y.slice(0, 1).toFloat32Array();
      }
      const pending = start();
      for (let i = 0; i < 10; i++) { globalThis.gc(); await new Promise((done) => setTimeout(done, 5)); }
      console.log((await pending).every((v) => v === 1));
      `,
      ["--expose-gc"],
    );
    expect([result.status, result.stdout]).toEqual([0, "true\n"]);
  });
});
