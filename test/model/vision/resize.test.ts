import { describe, expect, it } from "vitest";
import {
  gridTokens,
  postSqueeze,
  roundHalfEven,
  smartResize,
  squeezeRatio,
  visionInputSize,
} from "../../../lib/model/vision/resize.js";
import { preprocess } from "../preprocess.js";
import { limitsOf } from "./limits.js";

describe("smartResize", () => {
  it("equals the published function in every golden case", () => {
    expect(preprocess.smart_resize.length).toBeGreaterThan(100);
    for (const c of preprocess.smart_resize) {
      const limits = { factor: c.factor, minPixels: c.min_pixels, maxPixels: c.max_pixels };
      const size = smartResize(c.height, c.width, limits);
      expect([size.height, size.width], JSON.stringify(c)).toEqual(c.expected);
    }
  });

  it("rounds halves to even", () => {
    expect([0.5, 1.5, 2.5, 2.4999, 2.5001].map(roundHalfEven)).toEqual([0, 2, 2, 2, 3]);
    // 42 / 28 = 1.5 -> 2, 70 / 28 = 2.5 -> 2
    const limits = { factor: 28, minPixels: 1, maxPixels: 1e9 };
    expect(smartResize(42, 70, limits)).toEqual({ height: 56, width: 56 });
  });

  it("keeps its bounds for any size", () => {
    const limits = { factor: 112, minPixels: 576 * 196, maxPixels: 5832 * 196 };
    for (let height = 1; height < 5000; height = Math.ceil(height * 1.7)) {
      for (let width = 1; width < 5000; width = Math.ceil(width * 1.9)) {
        const size = smartResize(height, width, limits);
        expect(size.height % 14).toBe(0);
        expect(size.width % 28).toBe(0);
        expect(size.height * size.width).toBeGreaterThan(0);
        expect(size.height * size.width).toBeLessThanOrEqual(limits.maxPixels);
      }
    }
  });

  it("refuses an empty image", () => {
    expect(() => smartResize(0, 10, { factor: 28, minPixels: 1, maxPixels: 100 })).toThrow(/at least 1 pixel/);
  });
});

describe("postSqueeze", () => {
  it("equals the published function in every golden case", () => {
    expect(preprocess.post_squeeze.length).toBe(30);
    for (const c of preprocess.post_squeeze) {
      const grids = c.grid_shapes.map(([, height, width]) => ({ height, width }));
      expect(grids.map(gridTokens)).toEqual(c.token_counts);
      const squeezed = postSqueeze(grids, {
        ratio: c.ratio,
        minTokensVideo: c.min_tokens_video,
        maxTokens: c.max_tokens,
      });
      expect(squeezed.map(({ grid }) => [grid.height, grid.width])).toEqual(c.expected_grids);
      expect(squeezed.map(({ tokens }) => tokens)).toEqual(c.expected_tokens);
    }
  });

  it("derives the ratio from both limits", () => {
    expect(squeezeRatio(1000, 16384, 28672)).toBe(1);
    expect(squeezeRatio(32768, 16384, 28672)).toBe(2);
    // 60000 / 1.2 = 50000 is still too long: ceil(10 * 60000 / 28672) / 10
    expect(squeezeRatio(60000, 50000, 28672)).toBe(2.1);
  });
});

describe("visionInputSize", () => {
  it("shares a video's budget among its units and bounds a single image", () => {
    const limits = limitsOf({ max_tokens: 5832 });
    expect(visionInputSize({ height: 2133, width: 2133 }, limits)).toEqual({ height: 1008, width: 1008 });
    const one = visionInputSize({ height: 720, width: 1280 }, limits, { units: 1 });
    const many = visionInputSize({ height: 720, width: 1280 }, limits, { units: 64 });
    expect(one.height * one.width).toBeGreaterThan(many.height * many.width);
  });

  it("names a bad limit", () => {
    expect(() => limitsOf({ max_tokens: "many" })).toThrow(/max_tokens is "many"; expected a whole number/);
  });
});
