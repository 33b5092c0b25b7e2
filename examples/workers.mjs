// @ts-check
// Worker threads: each opens a device of its own. Here they compute mel filter banks of four recordings at once.
//   node examples/workers.mjs
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Device, ops } from "caracal";

if (isMainThread) {
  const recordings = [220, 440, 880, 1760];
  const threads = Math.max(1, Math.floor(availableParallelism() / recordings.length));
  await Promise.all(
    recordings.map(async (hertz) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { hertz, threads } });
      const { frames, loudest } = await new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
      console.log(`${hertz} Hz: ${frames} frames, mel band ${loudest} is the loudest`);
    }),
  );
} else {
  const { hertz, threads } = workerData;
  const device = await Device.open({ backend: "cpu", threads });
  const second = Float32Array.from({ length: 16000 }, (_, i) => 20000 * Math.sin((2 * Math.PI * hertz * i) / 16000));
  const bands = device.scope(() => ops.fbank(device.tensor(second, [second.length])));
  const [frames = 0, melBins = 0] = bands.shape;
  const values = await bands.toFloat32Array();
  const middle = values.subarray(50 * melBins, 51 * melBins);
  const loudest = middle.reduce((best, value, band) => (value > (middle[best] ?? -Infinity) ? band : best), 0);
  device.dispose();
  parentPort?.postMessage({ frames, loudest });
}
