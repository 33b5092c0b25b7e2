import { beforeAll, describe, expect, it } from "vitest";
import { parseVisionConfig } from "../../../lib/checkpoint/config.js";
import type { RgbImage } from "../../../lib/media/image.js";
import { type Grid, VisionEncoder } from "../../../lib/model/vision/encoder.js";
import { readGolden } from "../../support/golden.js";
import { backends } from "../../support/modelDevices.js";
import { randomArray, relativeError } from "../../support/numbers.js";
import { goldenWeights } from "../goldenWeights.js";

const small = { min_tokens: 8, max_tokens: 64, resize_factor: 2, min_tokens_video: 2, max_tokens_video: 16 };

describe.each(backends)("on $name", (device) => {
  async function load(name: string, config: object = {}, options = {}): Promise<VisionEncoder> {
    const source = { ...readGolden(name).config, ...config };
    return VisionEncoder.load(await goldenWeights(device, name), parseVisionConfig(source, name), options);
  }

  function image(height: number, width: number, seed: number): RgbImage {
    const data = Uint8Array.from(randomArray(height * width * 3, seed), (value) => Math.floor((value + 1) * 128));
    return { height, width, data };
  }

  describe.each(["vision_merge1", "vision_merge2"])("VisionEncoder of %s", (name) => {
    let encoder: VisionEncoder;
    beforeAll(async () => {
      encoder = await load(name, small);
    });

    it("gives a unit the same tokens alone and packed with others", async () => {
      const grids: Grid[] = [
        [1, 4, 6],
        [1, 2, 2],
        [1, 6, 4],
      ];
      const counts = grids.map(([, h, w]) => h * w);
      const total = counts.reduce((a, b) => a + b);
      using patches = device.tensor(randomArray(total * 1176, 3), [total, 1176]);
      using packed = encoder.encode(patches, grids);
      expect(packed.shape).toEqual([total / 2, 80]);
      let start = 0;
      for (const [i, grid] of grids.entries()) {
        using alone = encoder.encode(patches.slice(start, start + counts[i]!) as never, [grid]);
        using rows = packed.slice(start / 2, (start + counts[i]!) / 2);
        expect(relativeError(await rows.toFloat32Array(), await alone.toFloat32Array())).toBeLessThan(1e-6);
        start += counts[i]!;
      }
    });

    it("encodes images and frame pairs of any size", async () => {
      const [a, b] = [image(90, 130, 1), image(40, 30, 2)];
      const [first, second] = await encoder.encodeImages([a, b]);
      for (const { tokens, grid } of [first!, second!]) {
        expect(tokens.shape).toEqual([(grid.height * grid.width) / 2, 80]);
        expect((await tokens.toFloat32Array()).every(Number.isFinite)).toBe(true);
      }
      const size = { height: 56, width: 56 };
      const [still, pair, twice] = await encoder.encodeUnits([
        { frames: [b], size },
        { frames: [b, image(40, 30, 3)], size },
        { frames: [b, b], size },
      ]);
      const [x, y, z] = await Promise.all([still, pair, twice].map((unit) => unit!.tokens.toFloat32Array()));
      expect(x).toEqual(z); // an image equals two identical frames
      using resized = await encoder.resize(b, size);
      const [early] = await encoder.encodeUnits([{ frames: [resized], size }]);
      expect(await early!.tokens.toFloat32Array()).toEqual(x);
      expect(relativeError(y!, x!)).toBeGreaterThan(1e-3);
    });

    it("refuses grids that do not match the patches, and unknown options", async () => {
      using patches = device.zeros([24, 1176]);
      const encode = (grid: Grid) => () => encoder.encode(patches, [grid]);
      expect(encode([1, 4, 4])).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
      expect(encode([1, 8, 3])).toThrow(/even number of columns/);
      expect(encode([0, 4, 6])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
      expect(() => encoder.encode(patches, [[1, 4, 6]], { taps: () => {} } as never)).toThrow(/did you mean "tap"/);
      await expect(encoder.encodeImages([], { sginal: undefined } as never)).rejects.toThrow(/did you mean "signal"/);
    });
  });

  describe("VisionEncoder", () => {
    it("interpolates tokens to the requested grid", async () => {
      const encoder = await load("vision_merge1", small);
      const unit = { frames: [image(100, 100, 1)], size: { height: 112, width: 112 } } as const;
      const [full, same, squeezed] = await encoder.encodeUnits([
        unit,
        { ...unit, tokenGrid: { height: 8, width: 4 } },
        { ...unit, tokenGrid: { height: 4, width: 2 } },
      ]);
      expect(same!.tokens.shape).toEqual([32, 80]);
      expect(squeezed!.grid).toEqual({ height: 4, width: 4 });
      const [whole, quarter] = await Promise.all([full, squeezed].map((unit) => unit!.tokens.toFloat32Array()));
      // Halving without antialiasing averages 2x2 tokens.
      const token = (row: number, column: number) =>
        whole!.subarray(80 * (4 * row + column), 80 * (4 * row + column + 1));
      const first = token(0, 0).map((x, i) => (x + token(0, 1)[i]! + token(1, 0)[i]! + token(1, 1)[i]!) / 4);
      expect(relativeError(quarter!.subarray(0, 80), first)).toBeLessThan(1e-6);
    });

    it("refuses to interpolate tokens that are not in raster order", async () => {
      const encoder = await load("vision_merge2", small);
      const unit = { frames: [image(100, 100, 1)], size: { height: 112, width: 112 } } as const;
      const squeezed = encoder.encodeUnits([{ ...unit, tokenGrid: { height: 4, width: 2 } }]);
      await expect(squeezed).rejects.toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    });

    it("stops between groups of units when aborted", async () => {
      const encoder = await load("vision_merge1", small);
      const signal = AbortSignal.abort();
      await expect(
        encoder.encodeUnits([{ frames: [image(60, 60, 1)], size: { height: 56, width: 56 } }], { signal }),
      ).rejects.toThrow(expect.objectContaining({ code: "ABORTED" }));
    });

    it("needs QK-norm", async () => {
      await expect(load("vision_merge1", { qk_normalization: false })).rejects.toThrow(/qk_normalization/);
    });
  });
});
