// Processes in which the addon gets no memory for its own objects, or libvips no thread.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { loadCompiled } from "../support/compiled.js";
import { library } from "../support/printed.js";

const prelude = `
  import koffi from "koffi";
  import { Device, Graph, ops } from ${JSON.stringify(library)};
  const shim = koffi.load(process.env.LD_PRELOAD);
`;
const failures = `
  const failAt = shim.func("void fail_at(long call, bool and_later)");
  const hasFailed = shim.func("bool has_failed()");
`;

/** What a module prints in a process that a library is loaded into first. */
function run(source: string, body: string): unknown {
  return loadCompiled(new URL(source, import.meta.url), (shim) => {
    const args = ["--expose-gc", "--input-type=module", "-e", prelude + body];
    const cwd = fileURLToPath(new URL("../..", import.meta.url));
    const env = { ...process.env, LD_PRELOAD: shim };
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", cwd, env });
    expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
    return JSON.parse(stdout);
  });
}

test("each allocation of the addon may fail: the call then ends with OUT_OF_MEMORY", () => {
  const { calls, outcomes } = run(
    "./failingNew.cc",
    `${failures}
    async function use() {
      const device = await Device.open({ backend: "cpu", threads: 1 });
      const x = device.tensor([1, 2], [2]);
      const graph = Graph.capture(device, () => ops.add(x, x));
      graph.replay();
      const values = await graph.result.read();
      graph.dispose();
      await device.dispose();
      return "values " + values;
    }
    const outcomes = [await use()];
    let calls = 0;
    for (let failed = true; failed; calls++) {
      failAt(calls + 1, false);
      const outcome = await use().catch((error) => \`\${error.name} \${error.code}\`);
      failed = hasFailed();
      failAt(0, false);
      outcomes.push(outcome);
    }
    console.log(JSON.stringify({ calls, outcomes: [...new Set(outcomes)] }));`,
  ) as Record<string, unknown>;
  expect(calls).toBeGreaterThan(50);
  expect(outcomes).toEqual(["values 2,4", "CaracalError OUT_OF_MEMORY"]);
});

test("what is collected needs no memory to be freed", () => {
  const found = run(
    "./failingNew.cc",
    `${failures}
    const device = await Device.open({ backend: "cpu", threads: 1 });
    const x = device.tensor([1, 2], [2]);
    const weakly = async (make) => new WeakRef(await make());
    const collected = async (make) => {
      const reference = await weakly(make);
      await new Promise((done) => setTimeout(done, 10));
      failAt(1, true);
      for (let i = 0; i < 5; i++) {
        globalThis.gc();
        await new Promise((done) => setTimeout(done, 10));
      }
      failAt(0, false);
      return reference.deref() === undefined;
    };
    const graph = await collected(() => {
      const made = Graph.capture(device, () => ops.add(x, x));
      made.replay();
      return made;
    });
    const other = await collected(() => Device.open({ backend: "cpu", threads: 1 }));
    console.log(JSON.stringify([graph, other, ...await x.read()]));`,
  );
  expect(found).toEqual([true, true, 1, 2]);
});

test("a thread in which the addon gets no memory to load reports that", () => {
  const found = run(
    "./failingNew.cc",
    `${failures}
    import { Worker } from "node:worker_threads";
    (await Device.open({ backend: "cpu", threads: 1 })).dispose(); // what is made once in a process
    const outcomes = [];
    for (const call of [1, 20, 0]) {
      const opening = \`
        import { parentPort } from "node:worker_threads";
        import { Device } from ${JSON.stringify(library)};
        parentPort.once("message", async () => {
          const open = Device.open({ backend: "cpu", threads: 1 });
          parentPort.postMessage(await open.then(() => "open", ({ code }) => code));
        });
        parentPort.postMessage("imported");\`;
      const worker = new Worker(opening, { eval: true });
      await new Promise((done) => worker.once("message", done));
      failAt(call, false);
      worker.postMessage("open");
      outcomes.push(await new Promise((done) => worker.once("message", done)));
      await worker.terminate();
    }
    console.log(JSON.stringify(outcomes));`,
  );
  expect(found).toEqual(["NATIVE_LOAD_FAILED", "NATIVE_LOAD_FAILED", "open"]);
});

test("an image that gets no thread is not said to be damaged", () => {
  const photo = JSON.stringify(fileURLToPath(new URL("../../samples/photo.jpg", import.meta.url)));
  const found = run(
    "./refusingThreads.cc",
    `
    import { readFile } from "node:fs/promises";
    const { loadImage } = await import(${JSON.stringify(new URL("./media/image.js", library).href)});
    const refuseThreads = shim.func("void refuse_threads(bool refuse)");
    await readFile(${photo}); // starts the threads of libuv
    refuseThreads(true);
    const refused = await loadImage(${photo}).catch((error) => error.code);
    refuseThreads(false);
    console.log(JSON.stringify([refused, (await loadImage(${photo})).width]));`,
  );
  expect(found).toEqual(["OUT_OF_MEMORY", 448]);
});
