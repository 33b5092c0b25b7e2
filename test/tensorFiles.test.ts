import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type DType, dtypes, inspectPath, loadTensors, saveTensors, type Tensor, type Values } from "../lib/index.js";
import { safetensors, scratch, writeIn } from "./checkpoint/files.js";
import { backends, devices } from "./support/devices.js";
import { code } from "./support/errors.js";
import { settledMemory } from "./support/garbage.js";

const folder = scratch();
const device = devices.at(-1)!;
const at = (name: string) => join(folder, name);
const bytes = async (tensor: Tensor) => Buffer.from((await tensor.read()).buffer);

/** Every pattern of bits of the small dtypes, and among the f32 those of NaNs with a payload. */
function patterns(dtype: DType): Exclude<Values, readonly number[]> {
  const words = Uint32Array.from({ length: 2 ** 16 }, (_, i) => (i * 0x9e37_79b1) >>> 0);
  words.set([0x7f80_0001, 0xffc0_1234, 0x8000_0000, 1]);
  if (dtype === "f32") return new Float32Array(words.buffer);
  if (dtype === "i32") return new Int32Array(words.buffer);
  if (dtype === "u8" || dtype === "f8e4m3") return Uint8Array.from({ length: 256 }, (_, i) => i);
  return Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
}

describe.each(backends)("on $name", (device) => {
  test.each(dtypes)("every bit of %s survives", async (dtype) => {
    const values = patterns(dtype);
    using tensor = device.tensor(values, [2, values.length / 2], dtype);
    const path = at(`${device.backend}-${dtype}.safetensors`);
    await saveTensors(path, { x: tensor });
    const { tensors } = await loadTensors(path, { device });
    using loaded = tensors.x!;
    expect([loaded.dtype, loaded.shape]).toEqual([dtype, tensor.shape]);
    expect(Buffer.compare(await bytes(loaded), await bytes(tensor))).toBe(0);
    expect(Buffer.compare(await bytes(tensor), Buffer.from(values.buffer))).toBe(0);
  });

  test("scalars, empty and large tensors, views and odd names, with metadata", async () => {
    const count = 2 ** 20 + 3; // two pieces
    const large = device.tensor(Float32Array.from({ length: count }, Math.fround), [count]);
    const given: Record<string, Tensor> = {
      large,
      view: large.slice(count - 3, count),
      scalar: device.tensor([7], [], "u8"),
      empty: device.zeros([0, 5], "bf16"),
      'ü "quoted" \n 🙂': device.tensor([1, 2, 3], [3, 1], "i32"),
      constructor: device.tensor([4], [1], "f16"),
    };
    Object.defineProperty(given, "__proto__", { value: device.tensor([5], [1]), enumerable: true });
    const metadata = { made: "für Elise 🎹", format: "mine" };
    const path = at(`${device.backend}-mixed.safetensors`);
    await saveTensors(path, given, { metadata });
    const loaded = await loadTensors(path, { device });
    expect(loaded.metadata).toEqual(metadata);
    expect(Object.keys(loaded.tensors).sort()).toEqual(Object.keys(given).sort());
    for (const [name, tensor] of Object.entries(given)) {
      const back = Object.entries(loaded.tensors).find(([other]) => other === name)![1];
      expect([name, back.dtype, back.shape]).toEqual([name, tensor.dtype, tensor.shape]);
      expect(Buffer.compare(await bytes(back), await bytes(tensor))).toBe(0);
    }
    loaded.tensors.view!.write([1, 2, 3]); // memory of its own, not the file's
    expect([...(await loaded.tensors.view!.toFloat32Array())]).toEqual([1, 2, 3]);
  });
});

test("tensors are aligned in the file, whatever their names", async () => {
  const path = at("aligned.safetensors");
  await saveTensors(path, { ä: device.zeros([1], "u8"), öö: device.zeros([3]), ü: device.zeros([1], "f16") });
  const inspection = await inspectPath(path);
  if (inspection.kind !== "file") throw new Error("it is a file");
  for (const { dtype, offset } of inspection.tensors)
    expect(offset % { u8: 1, f16: 2, f32: 64 }[dtype as "f32"]).toBe(0);
});

test("only the named tensors are loaded, also out of shards", async () => {
  const directory = at("shards");
  mkdirSync(directory);
  const entry = (begin: number) => ({ dtype: "I32", shape: [1], data_offsets: [begin, begin + 4] });
  const values = Buffer.from(Int32Array.of(1, 2).buffer);
  writeIn(directory, "a.safetensors", safetensors({ one: entry(0), two: entry(4) }, values));
  writeIn(directory, "b.safetensors", safetensors({ three: entry(0), four: entry(4) }, values));
  const weight_map = { one: "a.safetensors", two: "a.safetensors", three: "b.safetensors", four: "b.safetensors" };
  writeIn(directory, "model.safetensors.index.json", JSON.stringify({ weight_map }));
  const { tensors } = await loadTensors(directory, { device, names: ["four", "one", "one"] });
  expect(Object.keys(tensors)).toEqual(["one", "four"]);
  expect([...(await tensors.one!.read()), ...(await tensors.four!.read())]).toEqual([1, 2]);
  await expect(loadTensors(directory, { device, names: ["five"] })).rejects.toThrow(/no tensor "five" among 4/);
});

describe("saving", () => {
  const tensor = device.tensor([1, 2], [2]);

  test("replaces a file at once, and leaves the old one when it fails", async () => {
    const path = at("kept.safetensors");
    await saveTensors(path, { tensor });
    const before = readFileSync(path);
    const gone = device.zeros([4]);
    gone.dispose();
    await expect(saveTensors(path, { tensor, gone })).rejects.toThrowError(code("DISPOSED"));
    await expect(saveTensors(path, { tensor }, { signal: AbortSignal.abort() })).rejects.toThrowError(code("ABORTED"));
    expect(Buffer.compare(readFileSync(path), before)).toBe(0);
    await saveTensors(path, {});
    expect((await loadTensors(path, { device })).tensors).toEqual(Object.create(null));
    expect(readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
  });

  test("does not take the place of a FIFO", async () => {
    const path = at("fifo");
    execFileSync("mkfifo", [path]);
    await expect(saveTensors(path, { tensor })).rejects.toThrow(/something else than a regular file/);
    expect(statSync(path).isFIFO()).toBe(true);
  });

  test("stops at an abort in its midst", async () => {
    const abort = new AbortController();
    const large = device.zeros([2 ** 22]);
    const path = at("aborted.safetensors");
    const saving = saveTensors(path, { large }, { signal: abort.signal });
    await large.slice(0, 1).read();
    abort.abort("enough");
    await expect(saving).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    expect(existsSync(path)).toBe(false);
  });

  test.each([
    ["a folder that does not exist", "none/x.safetensors"],
    ["a folder in the file's place", "."],
  ])("to %s is an IO_ERROR", async (_, name) => {
    await expect(saveTensors(at(name), { tensor })).rejects.toThrowError(code("IO_ERROR"));
    expect(readdirSync(folder).filter((other) => other.includes("partial"))).toEqual([]);
  });

  test.each([
    ["no path", "", { tensor }, {}, /path must be a path/],
    ["a name that no file has", "a\0b", { tensor }, {}, /has no NUL/],
    ["a URL", new URL("file:///x"), { tensor }, {}, /path must be a path/],
    ["no tensors", "x", [tensor], {}, /tensors must be an object, got a list of 1/],
    ["an array of values", "x", { x: new Float32Array(2) }, {}, /tensors\["x"\] must be a Tensor, got Float32Array/],
    ["the name of metadata", "x", { __metadata__: tensor }, {}, /other than __metadata__/],
    ["metadata of numbers", "x", { tensor }, { metadata: { step: 5 } }, /metadata\["step"\] must be a string, got 5/],
    ["a misspelt option", "x", { tensor }, { metdata: {} }, /has no option "metdata": did you mean "metadata"/],
    [
      "too much metadata",
      at("x"),
      { tensor },
      { metadata: { x: "y".repeat(2 ** 24) } },
      /at most 16777216 can be read/,
    ],
    [
      "a text that many keys share",
      "x",
      { tensor },
      { metadata: Object.fromEntries(Array.from({ length: 600 }, (_, i) => [i, "y".repeat(2 ** 20)])) },
      /metadata must be text of at most 16 MiB/,
    ],
  ])("refuses %s", async (_, path, tensors, options, message) => {
    const saving = saveTensors(path as string, tensors as never, options as never);
    await expect(saving).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    expect(existsSync(at("x"))).toBe(false);
  });
});

describe("loading", () => {
  test("refuses dtypes that no tensor has, unless others are named", async () => {
    const header = {
      wide: { dtype: "I64", shape: [1], data_offsets: [0, 8] },
      fine: { dtype: "U8", shape: [2], data_offsets: [8, 10] },
    };
    const path = writeIn(folder, "wide.safetensors", safetensors(header, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 3, 4])));
    await expect(loadTensors(path, { device })).rejects.toMatchObject({
      code: "DTYPE_MISMATCH",
      message: expect.stringMatching(/tensor "wide" is i64, which no tensor has/),
    });
    const { tensors } = await loadTensors(path, { device, names: ["fine"] });
    expect([...(await tensors.fine!.read())]).toEqual([3, 4]);
  });

  test("an aborted or failed one keeps no memory", async () => {
    const path = at("memory.safetensors");
    await saveTensors(path, { a: device.zeros([2 ** 20]), b: device.zeros([2 ** 20]) });
    const before = await settledMemory(device);
    const abort = new AbortController();
    const loading = loadTensors(path, { device, signal: abort.signal });
    setImmediate(() => abort.abort());
    await expect(loading).rejects.toThrowError(code("ABORTED"));
    expect(await settledMemory(device)).toBe(before);
  });

  test("refuses files that are missing, damaged or no safetensors, and options by name", async () => {
    await expect(loadTensors(at("none"), { device })).rejects.toThrowError(code("CHECKPOINT_INVALID"));
    writeFileSync(at("noise"), Buffer.alloc(100, 7));
    await expect(loadTensors(at("noise"), { device })).rejects.toThrowError(code("CHECKPOINT_INVALID"));
    await expect(loadTensors(at("x"), {} as never)).rejects.toThrow(/device must be a Device/);
    await expect(loadTensors(at("x"), undefined as never)).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(loadTensors(at("x"), { device, name: ["a"] } as never)).rejects.toThrow(/did you mean "names"/);
    await expect(loadTensors(at("x"), { device, names: "a" } as never)).rejects.toThrow(
      /names must be a list of names/,
    );
  });
});
