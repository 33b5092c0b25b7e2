// Runs in a worker thread with the compiled library: opens its own device and performs a task.
import { parentPort, workerData } from "node:worker_threads";
import { Device, OmniModel, ops } from "caracal";

const { task, seed, model } = workerData;
const device = await Device.open({ threads: 2 });

if (task === "sum") {
  // seed, 2·seed, 3·seed, ... by repeated addition, with many temporaries
  const x = device.tensor(new Float32Array(1000).fill(seed), [10, 100]);
  let y = x;
  for (let i = 0; i < 200; i++) y = device.scope(() => ops.add(y, x));
  const values = await y.toFloat32Array();
  device.dispose();
  parentPort.postMessage({ first: values[0], equal: values.every((v) => v === values[0]) });
} else if (task === "reply") {
  // posts a message during a spoken reply, and continues
  const omni = await OmniModel.load(model, { device, kvCacheTokens: 2048 });
  let posted = false;
  for await (const event of omni.generate([{ role: "user", content: "Hello!" }], { maxTokens: 2000 })) {
    if (event.type === "audio" && !posted) parentPort.postMessage("speaking");
    posted ||= event.type === "audio";
  }
} else {
  // "busy": queues more work than the test waits for, with pending reads
  const w = device.tensor(new Float32Array(4096).fill(1), [4096]);
  let y = device.zeros([2048, 4096]);
  for (let i = 0; i < 5000; i++) {
    const next = ops.layerNorm(y, w);
    if (i % 50 === 0) {
      next
        .slice(0, 1)
        .read()
        .catch(() => {});
    }
    y.dispose();
    y = next;
  }
  parentPort.postMessage("busy");
}
