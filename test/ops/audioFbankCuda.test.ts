// Tests of fbank that concern only the CUDA backend: blocks that process several frames in turn, sizes that leave lanes
// idle, unaligned samples, tables in graphs.
import { describe, expect, test, vi } from "vitest";
import { type FbankOptions, fbank } from "../../lib/ops/audio.js";
import { Graph } from "../../lib/tensor/graph.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

// So few multiprocessors that there are more frames than blocks.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "1";
});

describe.skipIf(!cuda)("fbank on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  test.each<[string, number, FbankOptions]>([
    ["20 frames, 8 blocks", 400 + 160 * 19, { removeDc: true }],
    ["the smallest transform", 40, { frameLength: 3, frameShift: 2, fftSize: 4, melBins: 1, lowHz: 0, highHz: 0 }],
    ["half a warp of butterflies", 200, { frameLength: 31, frameShift: 40, fftSize: 32, melBins: 5, lowHz: 0 }],
    ["a warp of butterflies", 300, { frameLength: 100, frameShift: 70, fftSize: 128, melBins: 40, lowHz: 0 }],
    ["more filters than bins", 600, { frameLength: 256, frameShift: 100, fftSize: 256, melBins: 300, lowHz: 0 }],
    ["the longest transform", 9000, { frameLength: 8191, frameShift: 500, fftSize: 8192, melBins: 80 }],
    ["tables that do not fit into shared memory", 8600, { frameLength: 8192, fftSize: 16384, melBins: 1024, lowHz: 0 }],
  ])("%s", async (_, samples, options) => {
    const wave = randomArray(samples, 3, 8000);
    const run = (on: Device) => fbank(on.tensor(wave, [samples]), options).toFloat32Array();
    const got = await run(device);
    expect(relativeError(got, await run(cpu))).toBeLessThan(2e-6);
    expect(await run(device)).toEqual(got);
  });

  test("samples need no alignment", async () => {
    const wave = randomArray(1001, 3, 8000);
    const shifted = device.tensor(wave, [1001]).slice(1) as Tensor<"f32">;
    expect(await fbank(shifted).toFloat32Array()).toEqual(
      await fbank(device.tensor(wave.subarray(1), [1000])).toFloat32Array(),
    );
  });

  test("a graph copies its tables at every replay", async () => {
    const [first, second] = [randomArray(1000, 4, 8000), randomArray(1000, 5, 8000)];
    const options = { melBins: 23 }; // tables that no earlier call has needed
    using wave = device.tensor(first, [1000]);
    using graph = Graph.capture(device, () => fbank(wave, options));
    for (const values of [first, second]) {
      wave.write(values);
      graph.replay();
      expect(await graph.result.toFloat32Array()).toEqual(
        await fbank(device.tensor(values, [1000]), options).toFloat32Array(),
      );
    }
  });

  test("a transform that does not fit into shared memory is rejected", async () => {
    using y = fbank(device.zeros([70000]), { fftSize: 65536 });
    await expect(y.read()).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });
});
