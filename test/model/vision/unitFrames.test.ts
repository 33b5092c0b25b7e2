import { expect, it } from "vitest";
import type { RgbImage } from "../../../lib/media/image.js";
import { openVideo } from "../../../lib/media/video.js";
import type { VisionUnit } from "../../../lib/model/vision/plan.js";
import { mapUnitFrames, unitFrames } from "../../../lib/model/vision/unitFrames.js";

const image = (level: number): RgbImage => ({ width: 1, height: 1, data: new Uint8Array(3).fill(level) });
const size = { height: 1, width: 1 };
const unit = (source: VisionUnit["source"], frames: [number, number] | null): VisionUnit => ({
  source,
  frames,
  seconds: 0,
  inputSize: size,
  patches: size,
  tokenGrid: size,
  tokens: 1,
});

it("yields the pairs of images and videos in order, reading a video once per ascending run", async () => {
  const clip = { frames: Array.from({ length: 10 }, (_, level) => image(level)), fps: 2 };
  const opened = await openVideo(clip);
  const reads: (readonly number[])[] = [];
  const video = {
    ...opened,
    frames(indices: readonly number[]) {
      reads.push(indices);
      return opened.frames(indices);
    },
  };
  const units = [
    unit(image(100), null),
    unit(video, [0, 2]),
    unit(video, [4, 4]),
    unit(video, [4, 9]),
    unit(video, [1, 3]), // the same video a second time
    unit(image(101), null),
    unit(await openVideo(clip), [5, 6]),
  ];
  const levels: number[][] = [];
  for await (const pair of unitFrames(units)) levels.push(pair.map((frame) => frame.data[0]!));
  expect(levels).toEqual([
    [100, 100],
    [0, 2],
    [4, 4],
    [4, 9],
    [1, 3],
    [101, 101],
    [5, 6],
  ]);
  expect(reads).toEqual([
    [0, 2, 4, 4, 4, 9],
    [1, 3],
  ]);
});

it("maps every frame before the next one is decoded, an image once", async () => {
  const events: string[] = [];
  const opened = await openVideo({ frames: [0, 1, 2, 3].map(image), fps: 2 });
  const video = {
    ...opened,
    async *frames(indices: readonly number[]) {
      for await (const frame of opened.frames(indices)) {
        events.push(`decode ${frame.data[0]}`);
        yield frame;
      }
    },
  };
  const units = [unit(image(9), null), unit(video, [0, 2]), unit(video, [3, 3])];
  const map = async ({ data }: RgbImage, from: VisionUnit) => {
    expect(units).toContain(from);
    events.push(`map ${data[0]}`);
    return data[0]!;
  };
  const pairs: (readonly number[])[] = [];
  for await (const pair of mapUnitFrames(units, map)) pairs.push(pair);
  expect(pairs).toEqual([
    [9, 9],
    [0, 2],
    [3, 3],
  ]);
  expect(events).toEqual(["map 9", ...[0, 2, 3, 3].flatMap((n) => [`decode ${n}`, `map ${n}`])]);
});
