import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadImage } from "../../lib/media/image.js";
import { itWith } from "./inputs.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-image-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** A 4×2 image in which all pixels differ. */
const pixels = Uint8Array.from({ length: 4 * 2 * 3 }, (_, i) => i * 10);
const raw = { width: 4, height: 2, channels: 3 as const };
const png = () => sharp(pixels, { raw }).png().toBuffer();

describe("loadImage", () => {
  it("reads PNG exactly, by path and as bytes, and returns pixels unchanged", async () => {
    const path = join(directory, "small.png");
    await writeFile(path, await png());
    for (const input of [path, await png(), { width: 4, height: 2, data: pixels }]) {
      const image = await loadImage(input);
      expect([image.width, image.height]).toEqual([4, 2]);
      expect([...image.data]).toEqual([...pixels]);
    }
  });

  it("decodes JPEG and WebP to RGB", async () => {
    const grey = sharp({ create: { width: 20, height: 10, channels: 3, background: "#808080" } });
    for (const file of [await grey.clone().jpeg().toBuffer(), await grey.clone().webp().toBuffer()]) {
      const image = await loadImage(file);
      expect([image.width, image.height, image.data.length]).toEqual([20, 10, 600]);
      for (const value of image.data) expect(Math.abs(value - 128)).toBeLessThan(3);
    }
  });

  it("converts grey, 16-bit and palette images to 8-bit RGB", async () => {
    const grey = await sharp(Uint8Array.of(0, 100, 255, 7), { raw: { width: 2, height: 2, channels: 1 } })
      .png()
      .toBuffer();
    expect([...(await loadImage(grey)).data]).toEqual([0, 0, 0, 100, 100, 100, 255, 255, 255, 7, 7, 7]);
    const deep = await sharp(Uint16Array.of(0, 0x8080, 0xffff), { raw: { width: 1, height: 1, channels: 3 } })
      .toColourspace("rgb16")
      .png()
      .toBuffer();
    expect([...(await loadImage(deep)).data]).toEqual([0, 128, 255]);
    const palette = await sharp(pixels, { raw }).png({ palette: true, colours: 16, dither: 0 }).toBuffer();
    expect((await loadImage(palette)).data.length).toBe(24);
  });

  it("blends transparency over white", async () => {
    const rgba = Uint8Array.of(255, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 128);
    const file = await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    const { data } = await loadImage(file);
    expect([...data.subarray(0, 6)]).toEqual([255, 0, 0, 255, 255, 255]);
    expect(Math.abs(data[6]! - 127)).toBeLessThanOrEqual(1);
  });

  it("applies the EXIF orientation", async () => {
    const turned = await sharp(pixels, { raw }).withMetadata({ orientation: 6 }).png().toBuffer();
    const image = await loadImage(turned);
    expect([image.width, image.height]).toEqual([2, 4]);
    // turned 90 degrees clockwise, so the lower left pixel comes first
    expect([...image.data.subarray(0, 3)]).toEqual([...pixels.subarray(12, 15)]);
  });

  itWith("image_case.png", "reads a real photo", async (path) => {
    const image = await loadImage(path);
    expect([image.width, image.height, image.data.length]).toEqual([2133, 2133, 2133 * 2133 * 3]);
  });
});

describe("loadImage refuses", () => {
  it("corrupt, truncated, empty and random bytes, naming the file and the reason", async () => {
    const whole = await sharp({ create: { width: 64, height: 64, channels: 3, background: "#123456" } })
      .png()
      .toBuffer();
    const damaged = Buffer.from(whole);
    damaged.fill(0x55, 45, 60);
    const random = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7919) & 255);
    const cases: [string, Uint8Array][] = [
      ["damaged.png", damaged],
      ["truncated.png", whole.subarray(0, whole.length - 40)],
      ["empty.png", new Uint8Array(0)],
      ["random.png", random],
    ];
    for (const [name, bytes] of cases) {
      const path = join(directory, name);
      await writeFile(path, bytes);
      await expect(loadImage(path), name).rejects.toMatchObject({
        code: "MEDIA_INVALID",
        message: expect.stringMatching(new RegExp(`${name}: .+`)),
      });
    }
  });

  it("more pixels than allowed, before decoding", async () => {
    await expect(loadImage(await png(), { maxPixels: 7 })).rejects.toThrow(/image: .*pixel limit/);
  });

  it("pixels that do not match their size", async () => {
    await expect(loadImage({ width: 4, height: 3, data: pixels })).rejects.toThrow(/expected 36 bytes of RGB.* got 24/);
    await expect(loadImage({ width: 0, height: 3, data: pixels })).rejects.toThrow(/its size is 0x3/);
  });

  it("inputs of another kind, and unknown options", async () => {
    await expect(loadImage({ width: 1, height: 1, pixels } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "image must be a path, bytes, or { width, height, data }, got an object with width, height, pixels",
    });
    await expect(loadImage(await png(), { maxPixel: 7 } as never)).rejects.toThrow(/did you mean "maxPixels"/);
  });

  it("a missing file, and an aborted call", async () => {
    await expect(loadImage(join(directory, "nowhere.png"))).rejects.toMatchObject({ code: "IO_ERROR" });
    await expect(loadImage(await png(), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
