import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadImage } from "../../lib/media/image.js";
import { ffmpeg, hasFfmpeg } from "./inputs.js";
import { type Samples, type TiffFields, tiffFile } from "./tiffFile.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-tiff-"));
});
afterAll(() => rm(directory, { recursive: true }));

const rgb = [255, 0, 0, 0, 255, 0, 10, 20, 200];
const wide = (values: readonly number[]) => Uint16Array.from(values, (value) => value * 257);
const opacity = (values: readonly number[]) => [
  ...rgb.slice(0, 3),
  values[0]!,
  ...rgb.slice(3, 6),
  values[1]!,
  ...rgb.slice(6),
  values[2]!,
];
const greys = (...values: number[]) => values.flatMap((value) => [value, value, value]);
const layouts: [string, Pick<TiffFields, "isBig" | "isBigEndian">][] = [
  ["little-endian", {}],
  ["big-endian", { isBigEndian: true }],
  ["BigTIFF", { isBig: true }],
  ["big-endian BigTIFF", { isBig: true, isBigEndian: true }],
];

describe.each(layouts)("a TIFF file, %s", (_, layout) => {
  it.each<[string, TiffFields, Samples, number[]]>([
    ["RGB", { colours: 2, samples: 3 }, Uint8Array.from(rgb), rgb],
    ["RGB of 16 bits", { colours: 2, samples: 3 }, wide(rgb), rgb],
    [
      "RGB in planes",
      { colours: 2, samples: 3, isPlanar: true },
      Uint8Array.of(255, 0, 10, 0, 255, 20, 0, 0, 200),
      rgb,
    ],
    ["grey", { colours: 1, samples: 1 }, Uint8Array.of(0, 100, 255), greys(0, 100, 255)],
    ["grey whose zero is white", { colours: 0, samples: 1 }, wide([0, 100, 255]), greys(255, 155, 0)],
    [
      "CMYK in planes",
      { colours: 5, samples: 4, isPlanar: true },
      Uint8Array.of(0, 255, 10, 255, 0, 20, 255, 255, 200, 0, 0, 0),
      [255, 0, 0, 0, 255, 0, 245, 235, 55],
    ],
    [
      "RGB with opacity",
      { colours: 2, samples: 4, extra: [2] },
      Uint8Array.from(opacity([255, 0, 255])),
      [255, 0, 0, 255, 255, 255, 10, 20, 200],
    ],
    [
      "RGB with a sample of no meaning",
      { colours: 2, samples: 4, extra: [0] },
      Uint8Array.from(opacity([0, 0, 0])),
      rgb,
    ],
    ["RGB of 16 bits with such a sample", { colours: 2, samples: 4, extra: [0] }, wide(opacity([0, 7, 0])), rgb],
    [
      "grey with such a sample",
      { colours: 1, samples: 2, extra: [0] },
      Uint8Array.of(0, 0, 100, 0, 255, 0),
      greys(0, 100, 255),
    ],
  ])("of %s is decoded", async (_, fields, data, expected) => {
    expect([...(await loadImage(tiffFile([3, 1], { ...fields, ...layout }, data))).data]).toEqual(expected);
  });

  const ycbcr = [81, 90, 240, 145, 54, 34, 41, 240, 110];
  it.each<[string, TiffFields, Samples, RegExp]>([
    ["two more samples", { colours: 2, samples: 5, extra: [0, 0] }, new Uint8Array(15), /it has 5 samples per pixel/],
    ["three more samples", { colours: 2, samples: 6, extra: [0, 0, 2] }, new Uint8Array(18), /exceeds/],
    ["CMYK with two more", { colours: 5, samples: 6, extra: [0, 0] }, new Uint8Array(18), /exceeds/],
    [
      "YCbCr",
      { colours: 6, samples: 3, subsampling: [1, 1] },
      Uint8Array.from(ycbcr),
      /it is YCbCr without subsampling: convert it to RGB/,
    ],
    [
      "YCbCr of 16 bits",
      { colours: 6, samples: 3, subsampling: [1, 1] },
      wide(ycbcr),
      /it is YCbCr without subsampling/,
    ],
    [
      "floats",
      { colours: 2, samples: 3 },
      Float32Array.from(rgb, (value) => value / 255),
      /its samples are of type float, taken are 8 or 16 bits/,
    ],
    ["grey floats", { colours: 1, samples: 1 }, Float32Array.of(0, 0.5, 1), /of type float/],
    ["32 bits", { colours: 2, samples: 3 }, Uint32Array.from(rgb), /of type uint/],
    ["8 bits with a sign", { colours: 2, samples: 3 }, Int8Array.from(rgb), /of type char/],
    ["16 bits with a sign", { colours: 1, samples: 1 }, Int16Array.of(0, 100, 32767), /of type short/],
    [
      "unknown colours",
      { colours: 7, samples: 3 },
      Uint8Array.from(rgb),
      /its colour space is not known: convert it to RGB/,
    ],
    ["CMY", { colours: 5, samples: 3 }, Uint8Array.from(rgb), /its colour space is not known/],
  ])("of %s is refused", async (_, fields, data, message) => {
    const file = tiffFile([3, 1], { ...fields, ...layout }, data);
    await expect(loadImage(file)).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(message),
    });
  });
});

describe.skipIf(!hasFfmpeg)("a TIFF file of ffmpeg", () => {
  const [width, height] = [128, 64];
  const colours = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 255],
    [200, 100, 50],
    [20, 180, 90],
    [128, 128, 128],
    [10, 20, 200],
  ];
  const patches = Buffer.from(
    Array.from(
      { length: width * height },
      (_, i) => colours[((i % width) >> 5) + (Math.floor(i / width) >> 5) * 4]!,
    ).flat(),
  );
  const make = async (format: string): Promise<string> => {
    const [source, path] = [join(directory, "patches.rgb"), join(directory, `${format}.tiff`)];
    await writeFile(source, patches);
    const input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", `${width}x${height}`, "-i", source];
    ffmpeg(...input, "-pix_fmt", format, "-compression_algo", "raw", path);
    return path;
  };

  it.each(["yuv420p", "yuv422p", "yuv440p", "yuv410p", "yuv411p", "rgb48le"])(
    "of %s has its colours",
    async (format) => {
      const path = await make(format);
      const { data } = await loadImage(path);
      const output = ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"];
      const decoded = execFileSync("ffmpeg", ["-v", "error", "-i", path, ...output]);
      for (let patch = 0; patch < 8; patch++) {
        const at = (((patch >> 2) * 32 + 16) * width + (patch & 3) * 32 + 16) * 3;
        for (let c = at; c < at + 3; c++) {
          expect(Math.abs(data[c]! - patches[c]!), `patch ${patch}`).toBeLessThanOrEqual(4);
          expect(Math.abs(data[c]! - decoded[c]!), `patch ${patch}`).toBeLessThanOrEqual(4);
        }
      }
    },
  );

  it("of yuv444p is refused", async () => {
    await expect(loadImage(await make("yuv444p"))).rejects.toThrow(/yuv444p\.tiff: it is YCbCr without subsampling/);
  });
});
