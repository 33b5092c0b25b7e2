import { expect, test } from "vitest";
import { add, copyRows, embedding, rmsNorm } from "../../lib/ops/index.js";
import { Graph } from "../../lib/tensor/graph.js";
import { Device } from "../../lib/tensor/tensor.js";

const megabytes = 2 ** 20;

test("memory does not grow in ten thousand cycles of creating and disposing tensors", async () => {
  await using device = await Device.open({ threads: 2 });
  const w = device.tensor(new Float32Array(256).fill(1), [256]);
  const table = device.zeros([4, 256]);
  const bad = device.tensor([9], [1], "i32");
  const values = new Float32Array(16 * 256);
  const state = device.zeros([32, 256]);
  const cycle = async (i: number) => {
    device.scope(() => {
      const x = device.tensor(values, [16, 256]);
      const y = rmsNorm(add(x, x), w);
      copyRows(state, y.slice(0, 8), i % 24);
      embedding(table, bad); // an error takes memory too
    });
    if (i % 100 === 99) expect((await state.slice(0, 1).read())[0]).toBe(0);
  };
  const run = async (cycles: number) => {
    for (let i = 0; i < cycles; i++) await cycle(i);
    await device.synchronize();
    return { inUse: device.memory.inUse, rss: process.memoryUsage.rss() };
  };
  const warm = await run(3000);
  const after = await run(10_000);
  expect(after.inUse).toBe(warm.inUse);
  // 10⁴ cycles create 0.8 GB of tensors; the JavaScript heap alone varies by some megabytes
  expect(after.rss - warm.rss).toBeLessThan(48 * megabytes);
});

test("memory does not grow when devices are opened and disposed", async () => {
  const cycle = async () => {
    const device = await Device.open({ threads: 3 });
    using x = device.zeros([1024, 256]);
    using row = x.slice(0, 1);
    await row.read();
    device.dispose();
  };
  for (let i = 0; i < 50; i++) await cycle();
  const warm = process.memoryUsage.rss();
  for (let i = 0; i < 300; i++) await cycle();
  expect(process.memoryUsage.rss() - warm).toBeLessThan(48 * megabytes); // their tensors had 300 MB
});

test("memory does not grow when devices are disposed amid a capture", async () => {
  const cycle = async () => {
    const device = await Device.open({ threads: 1 });
    const x = device.zeros([2 ** 22]);
    await x.ready();
    let disposal: Promise<void> | undefined;
    const capture = () =>
      Graph.capture(device, () => {
        add(x, x);
        disposal = device.dispose();
      });
    expect(capture).toThrow(expect.objectContaining({ code: "DISPOSED" }));
    x.dispose();
    await disposal;
  };
  for (let i = 0; i < 5; i++) await cycle();
  const warm = process.memoryUsage.rss();
  for (let i = 0; i < 20; i++) await cycle();
  expect(process.memoryUsage.rss() - warm).toBeLessThan(48 * megabytes); // their tensors had 320 MB
});
