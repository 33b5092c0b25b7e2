import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CaracalError } from "../../lib/errors.js";
import { type OmniLoadOptions, OmniModel } from "../../lib/model/omni.js";
import type { OmniPackedCacheNote } from "../../lib/model/packed/cache.js";
import { type PackedHeader, readHeader } from "../../lib/model/packed/format.js";
import { memoryOf, withAdvice } from "../../lib/model/packed/memory.js";
import type { Part } from "../../lib/model/prompt/messages.js";
import { VisionEncoder } from "../../lib/model/vision/encoder.js";
import { quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { Device } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";
import { library, printed } from "../support/printed.js";
import { flip, packedVision } from "./packedVision.js";
import { resign } from "./resign.js";
import { tinyDirectory } from "./tinyModel.js";

const directory = await tinyDirectory(3);
const beside = join(directory, "caracal-packed");
const sample = (name: string) => fileURLToPath(new URL(`../../samples/${name}`, import.meta.url));
const content: Part[] = [
  { type: "image", image: sample("photo.jpg") },
  { type: "audio", audio: sample("speech.wav") },
  { type: "text", text: "What is this?" },
];

let device: Device;
beforeAll(async () => {
  device = await Device.open({ backend: "cpu", threads: 2 });
});
afterAll(() => device.dispose());

const load = (options: OmniLoadOptions = {}, from = directory) =>
  OmniModel.load(from, { device, kvCacheTokens: 512, ...options });

/** All that a reply consists of. */
async function answer(model: OmniModel) {
  const options = { maxTokens: 6, seed: 1, logProbabilities: 3 };
  const speech: number[] = [];
  for await (const event of model.generate([{ role: "user", content }], options)) {
    if (event.type === "audio") speech.push(...event.samples);
    if (event.type === "end") return { text: event.text, logProbabilities: event.logProbabilities, speech };
  }
  throw new Error("the reply has no end");
}

const outcomes = (notes: readonly OmniPackedCacheNote[]) => [...new Set(notes.map(({ outcome }) => outcome))];

describe("packed weights in files", () => {
  test("are written once, and give the bits of weights that are packed", async () => {
    const packed = await load({ packedCache: false });
    expect(packed.packedCache).toEqual([]);
    const expected = await answer(packed);
    packed.dispose();
    expect(existsSync(beside)).toBe(false);

    const written = await load({ packedCache: true });
    expect(outcomes(written.packedCache)).toEqual(["written"]);
    expect(written.packedCache.map(({ module }) => module)).toContain("language model");
    expect(await answer(written)).toEqual(expected);
    written.dispose();

    await device.synchronize();
    const before = device.memory.inUse;
    const mapped = await load();
    expect(outcomes(mapped.packedCache)).toEqual(["mapped"]);
    expect(mapped.packedCache.filter(({ reason }) => reason)).toEqual([]);
    const { weights: stored, mapped: inFiles, available, warning } = mapped.memory;
    expect([stored > 1e6, inFiles > 1e5, available > stored, warning]).toEqual([true, true, true, undefined]);
    await device.synchronize();
    const kept = device.memory.inUse - before;
    expect(await answer(mapped)).toEqual(expected);
    mapped.dispose();

    const again = await load({ packedCache: false });
    await device.synchronize();
    const weights = readdirSync(beside).filter((name) => name.endsWith(".packed"));
    const bytes = weights.reduce((sum, name) => sum + statSync(join(beside, name)).size, 0);
    expect(device.memory.inUse - before - kept).toBeGreaterThan(bytes / 4);
    again.dispose();
    expect(readdirSync(beside).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  test("of bf16 and of f32 are different files", async () => {
    const packedCache = `${directory}-dtypes`;
    const written: (readonly OmniPackedCacheNote[])[] = [];
    for (const speechDtype of ["stored", "bf16", "stored", "bf16"] as const) {
      const model = await load({ packedCache, speechDtype });
      written.push(model.packedCache.filter(({ outcome }) => outcome === "written"));
      model.dispose();
    }
    expect(written.map((notes) => notes.map(({ module }) => module))).toEqual([
      expect.arrayContaining(["speech decoder", "audio encoder", "language model"]),
      ["speech decoder", "audio encoder"],
      [],
      [],
    ]);
    const [stored, rounded] = written
      .slice(0, 2)
      .map((notes) => notes.find(({ module }) => module === "speech decoder")!.bytes!);
    expect(rounded! / stored!).toBeLessThan(0.6); // the audio encoder is stored as bf16 already
  });

  test.each(["int4", "int8", "fp8"] as const)("hold weights of %s, too", async (format) => {
    const from = `${directory}-${format}`;
    await quantizeCheckpoint(directory, from, { format, device, ...(format !== "fp8" && { group: 32 }) });
    const answers: unknown[] = [];
    const found: unknown[] = [];
    for (const packedCache of [false, true, undefined]) {
      const model = await load({ packedCache }, from);
      found.push(model.packedCache.find(({ module }) => module === "language model")?.outcome);
      answers.push(await answer(model));
      model.dispose();
    }
    expect(found).toEqual([undefined, "written", "mapped"]);
    expect(answers.slice(1)).toEqual([answers[0], answers[0]]);
  });

  test("report progress that only grows", async () => {
    const seen: number[] = [];
    const model = await load({ packedCache: `${directory}-progress`, onProgress: ({ loaded }) => seen.push(loaded) });
    model.dispose();
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.length).toBeGreaterThan(5);
  });
});

test("weights that exceed the memory get a warning that says what to do", () => {
  const limit = { available: 4e9, canMap: true };
  expect(memoryOf(4e9, [], limit)).toEqual({ weights: 4e9, mapped: 0, available: 4e9 });
  const memory = memoryOf(5e9, [], limit);
  expect(memory.warning).toMatch(/5.0 GB, but there are 4.0 GB of memory: pack them into files/);
  const note = { file: "f", outcome: "mapped", bytes: 5e9 } as const;
  expect(memoryOf(3e9, [note], limit).warning).toMatch(/5.0 GB.*as fast as the disk is/);
  expect(memoryOf(5e9, [], { ...limit, canMap: false }).warning).toBeUndefined();

  const noRoom = new CaracalError("OUT_OF_MEMORY", "there is no room", { bytes: 3 });
  const advised = withAdvice(noRoom, memory) as CaracalError;
  expect([advised.code, advised.details, advised.message]).toEqual(["OUT_OF_MEMORY", { bytes: 3 }, expect.anything()]);
  expect(advised.message).toMatch(/^there is no room; .*pack them into files/);
  const other = new CaracalError("IO_ERROR", "no disk");
  expect([withAdvice(other, memory), withAdvice(noRoom, memoryOf(4e9, [], limit))]).toEqual([other, noRoom]);
});

describe("a file of packed weights", () => {
  const folder = join(directory, "..", "vision-packed");
  const source = join(directory, "vision", "vision_model.pt");
  const { open, filled } = packedVision(() => device, directory, folder);

  test.each<[damage: string, (file: string) => void, reason: RegExp]>([
    ["is cut short", (file) => truncateSync(file, statSync(file).size - 4096), /cut short/],
    ["is empty", (file) => truncateSync(file, 0), /cut short/],
    ["grew", (file) => appendFileSync(file, "x"), /cut short/],
    ["is another file", (file) => writeFileSync(file, Buffer.alloc(1 << 16, 1)), /no file of packed weights/],
    ["lost a bit of its header", (file) => flip(file, statSync(file).size - 100), /header is damaged/],
    ["lost a bit of its weights", (file) => flip(file, 5000), /weights are damaged/],
  ])("that %s is ignored, and written again if that is allowed", async (_, damage, reason) => {
    const file = await filled();
    damage(file);
    const { outcome, reason: given } = await open();
    expect(outcome).toBe("written");
    expect(given).toMatch(reason);
    expect(await open()).toMatchObject({ file, outcome: "mapped" });
  });

  test("of a hostile writer is refused where a weight is none, or not in the file", async () => {
    const file = await filled();
    const original = readFileSync(file);
    const hostile: ((weight: Record<string, unknown>, header: PackedHeader) => void)[] = [
      (weight) => (weight.offset = 2 ** 40),
      (weight) => (weight.offset = 1),
      (weight) => (weight.shape = [1 << 20, 1 << 20]),
      (weight) => (weight.shape = [-1, 4]),
      (weight) => (weight.shape = [4]),
      (weight) => (weight.dtype = "u8"),
      (weight) => (weight.dtype = "i32"),
      (weight) => (weight.layout = "rows"),
      (weight) => (weight.layout = "experts"),
      (weight) => (weight.groups = 0),
      (weight) => (weight.scaleGroup = 32),
      (weight) => Object.assign(weight, { dtype: "q4", scaleGroup: 7 }),
      (weight) => Object.assign(weight, { dtype: "q4", scaleGroup: 32, scaleDtype: "u8" }),
      (weight) => delete weight.offset,
      (_, header) => Object.assign(header, { weights: 3 }),
      (_, header) => Object.assign(header, { contents: [1] }),
    ];
    for (const change of hostile) {
      resign(file, original, (header) => change(Object.values(header.weights)[0] as never, header));
      const { outcome, reason } = await open();
      expect([outcome, String(change)]).toEqual(["written", String(change)]);
      expect(reason).toBeDefined();
    }
  });

  test.each(["caracal", "layout", "endianness"])("of another %s is of no use", async (field) => {
    const file = await filled();
    resign(file, readFileSync(file), ({ made }) => Object.assign(made, { [field]: "other" }));
    expect(await open()).toMatchObject({ outcome: "written", reason: expect.stringMatching(/was made by/) });
  });

  test("is never stale: not even for a checkpoint of equal size and time", async () => {
    await filled();
    const { atime, mtime, size } = statSync(source);
    const bytes = readFileSync(source);
    copyFileSync(source, `${source}.old`);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(source, bytes);
    utimesSync(source, atime, mtime);
    expect(statSync(source)).toMatchObject({ size, mtime });
    expect(await open()).toMatchObject({ outcome: "written", reason: expect.stringMatching(/changed since/) });

    // Another file in its place, of its size and time.
    utimesSync(`${source}.old`, atime, mtime);
    renameSync(`${source}.old`, source);
    expect(await open()).toMatchObject({ outcome: "written", reason: expect.stringMatching(/changed since/) });
  });

  test("is used for a checkpoint that was touched or copied, but has the same contents", async () => {
    const file = await filled();
    utimesSync(source, 1, 1);
    expect(await open()).toMatchObject({ file, outcome: "mapped" });
    await open(true);
    const copy = join(directory, "..", "copy");
    cpSync(directory, copy, { recursive: true });
    expect(await open(true, copy)).toMatchObject({ outcome: "mapped" });
  });

  test("is not written unasked, nor to a folder that refuses it", async () => {
    const other = join(directory, "..", "other");
    cpSync(directory, other, { recursive: true });
    rmSync(join(other, "vision", "caracal-packed"), { recursive: true, force: true });
    expect(await open(null, other)).toBeUndefined();
    expect(existsSync(join(other, "vision", "caracal-packed"))).toBe(false);
    writeFileSync(join(other, "file"), "");
    expect(await open(join(other, "file"))).toMatchObject({
      outcome: "packed",
      reason: expect.stringMatching(/EEXIST|ENOTDIR/),
    });
    if (process.getuid?.() === 0) return; // root may write anywhere
    mkdirSync(join(other, "closed"));
    chmodSync(join(other, "closed"), 0o500);
    expect(await open(join(other, "closed"))).toMatchObject({
      outcome: "packed",
      reason: expect.stringMatching(/EACCES/),
    });
  });

  test("is taken from the folder that the environment names", async () => {
    const file = await filled();
    process.env.CARACAL_PACKED_CACHE = folder;
    try {
      expect(await open(null)).toMatchObject({ file, outcome: "mapped" });
    } finally {
      delete process.env.CARACAL_PACKED_CACHE;
    }
  });

  test.each<[change: string, (file: string) => void]>([
    ["cut short", (file) => truncateSync(file, 4096)],
    ["written to", (file) => flip(file, 5000)],
  ])("that is %s while it is used gives IO_ERROR instead of numbers", async (_, change) => {
    const file = await filled();
    const encoder = await VisionEncoder.open(directory, { device, packedCache: folder });
    change(file);
    using patches = device.zeros([8, 1176]);
    const encode = async () => {
      using result = encoder.encode(patches, [[1, 2, 4]]);
      return await result.read();
    };
    await expect(encode()).rejects.toThrowError(code("IO_ERROR"));
    encoder[Symbol.dispose]();
  });

  test("is not left behind by a load that is aborted while it writes", async () => {
    const aborted = join(directory, "..", "aborted");
    const abort = new AbortController();
    const options = { signal: abort.signal, onProgress: () => abort.abort(), packedCache: aborted };
    await expect(load(options)).rejects.toThrowError(code("ABORTED"));
    expect(readdirSync(aborted)).toEqual([]);
  });

  test("is written by one process at a time, while the others pack", async () => {
    const shared = join(directory, "..", "shared");
    const script = `
      import { OmniModel } from ${JSON.stringify(library)};
      const model = await OmniModel.load(${JSON.stringify(directory)}, { packedCache: ${JSON.stringify(shared)}, kvCacheTokens: 512 });
      console.log(JSON.stringify(model.packedCache));
      model.dispose();`;
    const runs = Array.from({ length: 3 }, async () => JSON.parse(await printed(script)) as OmniPackedCacheNote[]);
    const notes = (await Promise.all(runs)).flat();
    for (const module of new Set(notes.map((n) => n.module)))
      expect(notes.filter((n) => n.module === module && n.outcome === "written").length).toBeGreaterThan(0);
    for (const { outcome, reason } of notes) if (outcome === "packed") expect(reason).toMatch(/another process/);
    const names = readdirSync(shared);
    expect(names.filter((name) => !/\.packed(\.seen)?$/.test(name))).toEqual([]);
    for (const name of names.filter((name) => name.endsWith(".packed")))
      expect((await readHeader(join(shared, name))).header.weights).toBeTypeOf("object");
  });
});
