// Runs random calls for operations.mjs, which started this process and learns of every finding through a message. The
// number of the current call is written to a file, where it is found if the process dies.
//   node worker.mjs OPTIONS, as JSON: { folder, seed, cuda, first, last, seconds }
import { openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Device } from "caracal";
import { addon } from "../../dist/lib/native/addon.js";
import { drawn } from "./drawn.mjs";
import { once, poisoned, poisonedEverywhere, verdict } from "./execute.mjs";
import { fileBytes } from "./make.mjs";

const { folder, seed, cuda, first, last, seconds } = JSON.parse(process.argv[2]);

function worldOf(device, other, path) {
  addon().beginRecording(device.handle);
  return { device, other, file: device.mapFile(path), graph: addon().endRecording(device.handle) };
}

/** The devices on which calls run: a GPU, or pairs of one and two threads for every instruction set. */
async function openWorlds() {
  const path = join(folder, "values");
  writeFileSync(path, fileBytes);
  const all = ["scalar", "avx2", "avx512"];
  const options = cuda
    ? [[{ backend: "cuda", cacheMemory: false }]]
    : all
        .slice(0, all.indexOf(addon().bestIsa) + 1)
        .map((isa) => [1, 2].map((threads) => ({ backend: "cpu", threads, isa })));
  const other = await Device.open({ backend: "cpu", threads: 1 });
  return Promise.all(
    options.map((pair) => Promise.all(pair.map(async (o) => worldOf(await Device.open(o), other, path)))),
  );
}

/** Runs a call, on the CPU twice with different numbers of threads and different bytes in unused memory. */
async function run(number, pairs) {
  const { r, contract, call } = drawn(seed, number, cuda);
  const pair = r.pick(...pairs);
  const fill = cuda ? () => undefined : r.chance(0.05) ? poisonedEverywhere : poisoned;
  const results = [await once(call, contract, r.pick(...pair), fill(call.outputs, r.pick(0x00, 0x7f)))];
  if (!cuda || r.chance(0.3)) {
    const outputs = results[0].outputs?.map(({ dtype, shape }) => [dtype, shape]);
    results.push(await once(call, contract, r.pick(...pair), fill(outputs, 0xff)));
  }
  return { code: results[0].code, runs: results.length, wrong: verdict(call, ...results), name: call.operation };
}

const worlds = await openWorlds();
const progress = openSync(join(folder, "call"), "w");
const counts = { calls: 0, operations: {} };
const end = performance.now() + 1000 * seconds;
for (let number = first; number <= last && performance.now() < end; number++) {
  writeSync(progress, String(number).padEnd(16), 0);
  const { name, code, runs, wrong } = await run(number, worlds);
  counts.calls += runs;
  counts.operations[name] ??= {};
  counts.operations[name][code] = (counts.operations[name][code] ?? 0) + 1;
  if (wrong.length > 0) process.send({ number, wrong });
  if (code === "DEVICE_FAULT") break; // another process goes on, since this one has lost the GPU
  if (number % 100 === 0) process.send({ counts });
}
process.send({ counts });
for (const world of worlds.flat()) world.device.dispose();
process.disconnect();
