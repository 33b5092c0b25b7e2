import { describe, expect, it } from "vitest";
import {
  durationConditionedFrames,
  sampleInterleavedVideo,
  sampleVideo,
  timestampText,
} from "../../../lib/model/vision/frames.js";
import { preprocess } from "../preprocess.js";

describe("durationConditionedFrames", () => {
  it("equals the published function in every golden case, including its failure", () => {
    expect(preprocess.frame_sampling.length).toBe(40);
    for (const c of preprocess.frame_sampling) {
      const options = {
        fps: c.video_fps,
        frameCount: c.frame_count,
        sampleFps: c.sample_fps,
        maxFrames: c.max_frames,
        maxFps: c.max_fps,
        minFrames: c.min_frames,
      };
      if (c.error !== undefined) {
        expect(() => durationConditionedFrames(options), JSON.stringify(c)).toThrow(/lower maxFps/);
        continue;
      }
      const units = durationConditionedFrames(options);
      expect(units.flatMap((unit) => unit.frames)).toEqual(c.expected_indices);
      expect(units.map((unit) => timestampText(unit.seconds))).toEqual(c.expected_timestamps);
    }
  });

  it("refuses a video without frames or rate", () => {
    expect(() => durationConditionedFrames({ fps: 0, frameCount: 10, sampleFps: 1 })).toThrow(/at 0 fps/);
    expect(() => durationConditionedFrames({ fps: 25, frameCount: 0, sampleFps: 1 })).toThrow(/got 0 at 25/);
  });
});

describe("sampleVideo", () => {
  it("takes about 16 frames of a short clip and avoids the file's end", () => {
    const units = sampleVideo({ fps: 25, frameCount: 201 });
    expect(units.length).toBe(8);
    expect(Math.max(...units.flatMap((unit) => unit.frames))).toBeLessThanOrEqual(195);
  });

  it("takes at most 256 frames of a long video", () => {
    expect(sampleVideo({ fps: 30, frameCount: 30 * 3600 }).length).toBe(128);
  });

  it("takes some frames of a tiny or slow video", () => {
    expect(sampleVideo({ fps: 25, frameCount: 1 })).toEqual([{ frames: [0, 0], seconds: 0 }]);
    for (const fps of [0.1, 0.5, 1, 1.5, 25, 60]) {
      for (let frameCount = 1; frameCount < 12; frameCount++) {
        const units = sampleVideo({ fps, frameCount });
        expect(units.length, `${frameCount} at ${fps}`).toBeGreaterThan(0);
        for (const index of units.flatMap((unit) => unit.frames)) {
          expect(index).toBeGreaterThanOrEqual(0);
          expect(index).toBeLessThan(frameCount);
        }
      }
    }
  });
});

describe("sampleInterleavedVideo", () => {
  it("spreads two frames per second evenly over the whole seconds", () => {
    const { units, strategy } = sampleInterleavedVideo({ fps: 25, frameCount: 75 });
    expect(strategy).toBe("sequential");
    expect(units).toEqual([
      { frames: [0, 15], seconds: 0 },
      { frames: [30, 45], seconds: 1.2 },
      { frames: [60, 74], seconds: 2.4 },
    ]);
    expect(units.map((unit) => timestampText(unit.seconds))).toEqual(["second{0.0}:", "second{1.2}:", "second{2.4}:"]);
  });

  it("rounds a tied time stamp to even and adds the offset", () => {
    // 2.25 s -> 2.2; rounding halves up would give 2.3
    const { units } = sampleInterleavedVideo({ fps: 24, frameCount: 72, timeOffset: 2.25 });
    expect(units[0]!.seconds).toBe(2.2);
  });

  it("spreads the frames evenly when the cap is reached", () => {
    const { units, strategy } = sampleInterleavedVideo({ fps: 25, frameCount: 2500, maxUnits: 8 });
    expect(strategy).toBe("average");
    expect(units.length).toBe(8);
    expect(units[7]!.frames[1]).toBe(2499);
  });
});
