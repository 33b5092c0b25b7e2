import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadImage } from "../../lib/media/image.js";
import { itWith } from "./inputs.js";
import { tiffFile } from "./tiffFile.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-image-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** A 4×2 image in which all pixels differ. */
const pixels = Uint8Array.from({ length: 4 * 2 * 3 }, (_, i) => i * 10);
const raw = { width: 4, height: 2, channels: 3 as const };
const png = () => sharp(pixels, { raw }).png().toBuffer();

const inks = [
  [255, 0, 0, 0],
  [0, 255, 0, 0],
  [0, 0, 255, 0],
  [0, 0, 0, 255],
  [128, 64, 0, 32],
  [255, 255, 0, 0],
  [10, 200, 90, 60],
  [0, 0, 0, 0],
];
/** What Pillow makes of the inks. */
const colours = [
  [0, 255, 255],
  [255, 0, 255],
  [255, 255, 0],
  [0, 0, 0],
  [111, 167, 223],
  [0, 0, 255],
  [187, 42, 126],
  [255, 255, 255],
];

const nearest = { kernel: "nearest", fit: "fill" } as const;

/** A TIFF of one row of CMYK pixels. */
function cmykTiff(inks: number[][], bits: 8 | 16 = 8): Buffer {
  const Samples = bits === 8 ? Uint8Array : Uint16Array;
  return tiffFile([inks.length, 1], { colours: 5, samples: 4 }, Samples.from(inks.flat()));
}

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

  it("leaves the EXIF orientation aside when asked to", async () => {
    const turned = await sharp(pixels, { raw }).withMetadata({ orientation: 6 }).png().toBuffer();
    const image = await loadImage(turned, { autoOrient: false });
    expect([image.width, image.height]).toEqual([4, 2]);
    expect([...image.data]).toEqual([...pixels]);
  });

  it("reads the first frame of an animated GIF, TIFF and AVIF", async () => {
    const frames = Buffer.concat([Buffer.alloc(8 * 8 * 3, 200), Buffer.alloc(8 * 8 * 3, 10)]);
    const both = sharp(frames, { raw: { width: 8, height: 16, channels: 3, pageHeight: 8 } });
    const grey = sharp(Buffer.alloc(8 * 8 * 3, 200), { raw: { width: 8, height: 8, channels: 3 } });
    for (const file of [both.gif(), grey.clone().tiff(), grey.clone().avif()]) {
      const image = await loadImage(await file.toBuffer());
      expect([image.width, image.height]).toEqual([8, 8]);
      for (const value of image.data) expect(Math.abs(value - 200)).toBeLessThan(3);
    }
  });

  it("reads a JPEG whose scan header is wrong, as some phones write it, if it is whole", async () => {
    const whole = await sharp({ create: { width: 96, height: 96, channels: 3, background: "#99aa33" } })
      .jpeg()
      .toBuffer();
    const odd = Buffer.from(whole);
    const scan = odd.indexOf(Buffer.from([0xff, 0xda]));
    const end = scan + 2 + odd.readUInt16BE(scan + 2);
    expect([...odd.subarray(end - 3, end)]).toEqual([0, 63, 0]);
    odd[end - 2] = 0;
    expect(await loadImage(odd)).toEqual(await loadImage(whole));
    for (const file of [whole, odd])
      await expect(loadImage(file.subarray(0, end + 10))).rejects.toThrow(/premature end of JPEG image/);
  });

  it("converts CMYK by its definition", async () => {
    const image = await loadImage(cmykTiff(inks));
    expect([image.width, image.height]).toEqual([8, 1]);
    expect([...image.data]).toEqual(colours.flat());
    const jpeg = await sharp(cmykTiff(inks)).pipelineColourspace("cmyk").toColourspace("cmyk").resize(128, 16, nearest);
    const stripes = await loadImage(await jpeg.jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toBuffer());
    colours.flat().forEach((value, i) => {
      const at = 8 * 128 * 3 + (16 * Math.floor(i / 3) + 8) * 3 + (i % 3);
      expect(Math.abs(stripes.data[at]! - value), `stripe ${Math.floor(i / 3)}`).toBeLessThan(6);
    });
  });

  itWith("../cases/image/cmyk.jpg", "converts the stripes of a CMYK JPEG", async (path) => {
    const { width, height, data } = await loadImage(path);
    const middle = Array.from({ length: 8 }, (_, i) => (width * (height >> 1) + ((2 * i + 1) * width) / 16) * 3);
    const got = middle.flatMap((at) => [...data.subarray(at, at + 3)]);
    colours.flat().forEach((value, i) => void expect(Math.abs(got[i]! - value), `value ${i}`).toBeLessThan(6));
  });

  itWith("../cases/image/sos-se-0.jpg", "reads what a phone wrote", async (path) => {
    expect(await loadImage(path)).toEqual(await loadImage(path.replace("sos-se-0", "plain")));
  });

  itWith("image_case.png", "reads a real photo", async (path) => {
    const image = await loadImage(path);
    expect([image.width, image.height, image.data.length]).toEqual([2133, 2133, 2133 * 2133 * 3]);
  });
});

it("bytes are copied, so that their buffer may be shrunk while they are decoded", async () => {
  const bytes = await png();
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(bytes.length, { maxByteLength: bytes.length });
  const view = new Uint8Array(buffer);
  view.set(bytes);
  const decoding = loadImage(view);
  buffer.resize(0);
  expect([...(await decoding).data]).toEqual([...pixels]);
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

  it("more pixels than allowed, before decoding, naming the limit and its option", async () => {
    await expect(loadImage(await png(), { maxPixels: 7 })).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: "image: it has 4x2 = 8 pixels, the limit is 7: scale it down, or raise maxPixels",
    });
    expect((await loadImage(await png(), { maxPixels: 8 })).width).toBe(4);
    const large = await sharp({ create: { width: 9000, height: 8000, channels: 3, background: "#000" } })
      .png()
      .toBuffer();
    await expect(loadImage(large)).rejects.toThrow(/9000x8000 = 72000000 pixels, the limit is 67108864/);
    await expect(loadImage(await png(), { maxPixels: Number.NaN })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("more pixels than a buffer could hold, whatever the limit is", async () => {
    const stated = await png();
    stated.writeUInt32BE(30000, 16); // the width and height of the header
    stated.writeUInt32BE(20000, 20);
    stated.writeUInt32BE(crc32(stated.subarray(12, 29)), 29);
    await expect(loadImage(stated, { maxPixels: Number.POSITIVE_INFINITY })).rejects.toThrow(
      /it has 30000x20000 = 600000000 pixels, and at most 536870912 can be decoded: scale it down/,
    );
  });

  const box = (brand: string) => `\0\0\0\x18ftyp${brand}\0\0\0\0mif1`;
  const svg = '--><svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>';
  it.each([
    ["SVG or XML", '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'],
    ["SVG or XML", '\n<?xml version="1.0"?><svg/>'],
    ["SVG or XML", `<!--    WEBP${svg}`], // with the mark of another format in its place
    ["SVG or XML", `<!--ftypavif${svg}`],
    ["SVG or XML", `<!-- ftypmif1avif${svg}`],
    [undefined, `RIFX\0\0\0\0WEBP${svg}`],
    ["PDF", "%PDF-1.7"],
    ["HEIC", box("heic")],
    ["MP4/MOV (a video)", box("isom").slice(0, 16)],
    ["BMP", "BM\x46\0\0\0"],
    ["JPEG 2000", "\0\0\0\x0cjP  \r\n\x87\n"],
    ["JPEG XL", "\xff\x0a"],
    [undefined, "P3 1 1 255 0 0 0"], // libvips reads text files of numbers
    [undefined, "\u00ab\u00cd"],
  ])("the format %s, naming it and those that it takes", async (format, text) => {
    const reason = `it is ${format ? `of the format ${format}` : "no image of a known format"}`;
    await expect(loadImage(Buffer.from(text, "latin1"))).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: `image: ${reason}, taken are PNG, JPEG, WebP, GIF, TIFF, AVIF: convert it`,
    });
  });

  it("CMYK of 16 bits", async () => {
    await expect(loadImage(cmykTiff([[0, 0, 0, 0]], 16))).rejects.toThrow(/CMYK of type ushort, only 8 bits/);
  });

  it("pixels that do not match their size", async () => {
    await expect(loadImage({ width: 4, height: 3, data: pixels })).rejects.toThrow(/expected 36 bytes of RGB.* got 24/);
  });

  it.each<[object, string]>([
    [{ width: 0 }, "image: width must be a positive integer, got 0"],
    [{ height: "2" }, 'image: height must be a positive integer, got "2"'],
    [{ data: new Float32Array(24) }, "image: data must be a Uint8Array of RGB bytes, got Float32Array of 96 bytes"],
    [{ data: null }, "image: data must be a Uint8Array of RGB bytes, got null"],
    [{ channels: 3 }, 'image has no field "channels": it takes width, height, data'],
  ])("pixels whose fields are %j", async (fields, message) => {
    const image = { width: 4, height: 2, data: pixels, ...fields } as never;
    await expect(loadImage(image)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message });
  });

  it("an animated AVIF, saying what is taken", async () => {
    const still = await sharp(pixels, { raw }).avif().toBuffer();
    const animated = Buffer.from(still);
    animated.write("avis", 8, "latin1");
    animated.fill(0, animated.indexOf("pitm"), animated.indexOf("pitm") + 4); // animations may lack a still image
    await expect(loadImage(animated)).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(/^image: this AVIF cannot be decoded: .* convert it to a still AVIF, PNG or WebP/),
    });
  });

  it("values that its options do not take", async () => {
    for (const [options, message] of [
      [{ autoOrient: "no" }, 'loadImage: autoOrient must be true or false, got "no"'],
      [{ maxPixels: "99" }, 'loadImage: maxPixels must be a positive number, got "99"'],
    ] as const)
      await expect(loadImage(await png(), options as never)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message,
      });
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
    const controller = new AbortController();
    let isDecoded = false;
    const large = sharp({ create: { width: 3000, height: 3000, channels: 3, background: "#000" } });
    const decoding = loadImage(await large.png().toBuffer(), { signal: controller.signal });
    decoding.then(
      () => {
        isDecoded = true;
      },
      () => {},
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(isDecoded).toBe(false);
    controller.abort();
    await expect(decoding).rejects.toMatchObject({ code: "ABORTED" });
  });
});
