import { afterAll, expect, test } from "vitest";
import { MediaCache } from "../../../lib/model/prompt/mediaCache.js";
import { audioDigest, frameDigest } from "../../../lib/model/prompt/mediaDigest.js";
import type { VisionUnit } from "../../../lib/model/vision/plan.js";
import { embedding } from "../../../lib/ops/embedding.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { atOnce, type Steps } from "../../../lib/turns.js";
import { settledMemory } from "../../support/garbage.js";

const device = await Device.open({ threads: 1 });
afterAll(() => device.dispose());

/** Rows of 400 bytes in all, which hold a value. */
const rows = (value: number) => device.tensor(new Float32Array(100).fill(value), [10, 10]);

test("a media cache keeps what was used last, in a bounded memory, until it is disposed", async () => {
  const before = await settledMemory(device);
  const cache = new MediaCache(1000);
  const keep = async (digest: string, value: number) => {
    using given = rows(value);
    await cache.keep(digest, [given.slice(0, 4), given.slice(4)]);
  };
  const found = async (digest: string) => {
    using kept = cache.find(digest);
    return kept && [kept.shape[0], (await kept.toFloat32Array())[99]];
  };
  await keep("a", 1);
  await keep("b", 2);
  expect(await found("a")).toEqual([10, 1]);
  const kept = await settledMemory(device);
  await keep("c", 3);
  expect([await found("a"), await found("b"), await found("c")]).toEqual([[10, 1], undefined, [10, 3]]);
  expect(await settledMemory(device)).toBe(kept);
  await keep("a", 9); // known already
  expect(await found("a")).toEqual([10, 1]);
  using large = device.zeros([30, 10]);
  await cache.keep("large", [large]);
  expect([await found("large"), await found("a")]).toEqual([undefined, [10, 1]]);
  large.dispose();
  using table = device.zeros([2, 10]);
  using ids = device.tensor([7], [1], "i32");
  using faulty = embedding(table, ids);
  await cache.keep("faulty", [faulty]);
  expect([await found("faulty"), await found("a")]).toEqual([undefined, [10, 1]]);
  for (const tensor of [table, ids, faulty]) tensor.dispose();
  cache.dispose();
  await keep("late", 1);
  expect(await found("late")).toBeUndefined();
  expect(await settledMemory(device)).toBe(before);
});

test("media are hashed in slices of a megabyte", () => {
  const pauses = (steps: Steps<string>) => {
    let count = 0;
    while (!steps.next().done) count++;
    return count;
  };
  const frame = { width: 1024, height: 1024, data: new Uint8Array(3 * 2 ** 20) };
  const size = { height: 28, width: 28 };
  const unit = { inputSize: size, tokenGrid: size } as VisionUnit;
  expect([pauses(audioDigest(new Float32Array(2 ** 19))), pauses(frameDigest(frame, unit))]).toEqual([2, 3]);
  const digest = (width: number, height: number) => atOnce(frameDigest({ ...frame, width, height }, unit));
  expect(digest(2048, 512)).not.toBe(digest(512, 2048));
});
