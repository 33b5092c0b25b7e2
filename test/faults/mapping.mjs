// node mapping.mjs FILE: a worker thread maps FILE, which is cut short, and is terminated. Prints whether this process
// catches SIGBUS at each step, then sends itself one.
import { readFileSync, truncateSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

/** Whether SIGBUS, number 7 on Linux, has a handler. */
const caught = () => /SigCgt:\s+\w*([4567c-f])\w\n/.test(readFileSync("/proc/self/status", "utf8"));

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] });
  const seen = [];
  await new Promise((done) => worker.on("message", (outcome) => seen.push(outcome) === 2 && done()));
  await worker.terminate();
  seen.push(caught());
  process.stdout.write(`${JSON.stringify(seen)}\n`);
  process.kill(process.pid, "SIGBUS");
  setTimeout(() => process.stdout.write("alive\n"), 200);
} else {
  const { Device } = await import("caracal");
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const x = device.mapped(device.mapFile(workerData), 0, [65_536], "f32");
  parentPort.postMessage(caught());
  truncateSync(workerData, 5000);
  parentPort.postMessage(await x.read().catch(({ code }) => code));
  setInterval(() => {}, 1000); // until it is terminated
}
