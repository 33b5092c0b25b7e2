import { expect, test } from "vitest";
import {
  measureOverhead,
  type OverheadResult,
  overheadHeader,
  overheadResults,
  overheadRow,
} from "../../bench/overhead.js";
import { Device } from "../../lib/tensor/tensor.js";
import { tinyDirectory } from "../model/tinyModel.js";

test("calls and decoding steps are measured", async () => {
  const options = { model: await tinyDirectory(), rounds: 2, steps: 3 };
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  const before = device.memory.inUse;
  const results: OverheadResult[] = [];
  for await (const result of measureOverhead(device, options)) results.push(result);
  expect(results).toHaveLength(overheadResults(options));
  expect(new Set(results.map(({ work }) => work)).size).toBe(results.length);
  for (const { queue } of results) {
    expect(queue.best).toBeGreaterThan(0);
    expect(queue.median).toBeGreaterThanOrEqual(queue.best);
    expect(queue.worst).toBeGreaterThanOrEqual(queue.median);
  }
  for (const result of results) expect(overheadRow(result)).toHaveLength(overheadHeader.length);
  await device.synchronize();
  expect(device.memory.inUse).toBe(before);
});
