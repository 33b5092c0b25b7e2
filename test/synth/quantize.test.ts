import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { inspectPath } from "../../lib/checkpoint/inspect.js";
import { OmniModel } from "../../lib/model/omni.js";
import { OmniEmbedding } from "../../lib/model/prompt/embedding.js";
import { type QuantizeOptions, type QuantizeResult, quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { writeShards } from "../../lib/synth/safetensors.js";
import { Progress } from "../../lib/synth/writer.js";
import { Device } from "../../lib/tensor/tensor.js";
import { expectInvalid, scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { code } from "../support/errors.js";
import { relativeError } from "../support/numbers.js";
import {
  bytesOf,
  filesOf,
  logitsOf,
  openLlmOf,
  valuesOf,
  weightsOf,
  writeReference,
  writeWideModel,
} from "./quantized.js";

const folder = scratch();
const tiny = await tinyDirectory(3); // rows of 16 to 128 weights
const device = await Device.open({ backend: "cpu", threads: 2 });
afterAll(() => device.dispose());

const wide = join(folder, "wide");
await writeWideModel(wide);

let made = 0;
async function quantized(source: string, options: Omit<QuantizeOptions, "device">): Promise<QuantizeResult> {
  return quantizeCheckpoint(source, join(folder, `made-${made++}`), { ...options, device });
}

/** The formats, with what a weight of them may lose (RMS), and what logits may differ from those of the same weights. */
const formats: readonly [QuantizeOptions, error: number][] = [
  [{ format: "fp8" }, 0.03],
  [{ format: "int8", group: 32 }, 0.01],
  [{ format: "int4", group: 32 }, 0.1],
  [{ format: "int8", layout: "mlx" }, 0.01],
  [{ format: "int4", layout: "mlx" }, 0.11],
];
const logitTolerance = 1e-4;

describe.each(formats)("%o", (options, limit) => {
  test.each([
    ["tiny", tiny],
    ["wide", wide],
  ])("a %s model is what its weights say", async (name, source) => {
    const result = await quantized(source, options);
    const [before, after] = [await openLlmOf(source), await openLlmOf(result.directory)];
    expect(after.config).toMatchObject(before.config);
    expect(result.bytes).toBeLessThan(result.sourceBytes);
    for (const { error } of result.errors) expect(error).toBeLessThan(limit);
    const isMlx = options.layout === "mlx";
    for (const projection of ["self_attn.0.o_proj", "mlps.1.down_proj", ...(isMlx ? [] : ["mlp.experts.3.up_proj"])]) {
      const tensor = `model.layers.0.${projection}.weight`;
      const [want, got] = [valuesOf(before.tensors.get(tensor)!), weightsOf(after, tensor).values];
      const found = result.errors.find((error) => error.name === tensor);
      expect(found?.error, tensor).toBeCloseTo(relativeError(got, want), 6);
    }
    expect([...after.tensors.keys()].some((tensor) => tensor.includes("switch_mlp"))).toBe(isMlx);
    if (isMlx) {
      const group = options.group ?? 64;
      const isHeadQuantized = after.tensors.has("model.layers.0.self_attn.0.embed_q.scales");
      expect(isHeadQuantized).toBe(before.config.qk_nope_head_dim % group === 0);
      expect(isHeadQuantized).toBe(name === "wide");
    }

    const reference = join(folder, `reference-${made}`);
    mkdirSync(reference);
    const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
    writeFileSync(join(reference, "config.json"), JSON.stringify(config));
    await writeReference(result.directory, reference);
    const ids = [1, 300, 512, 77, 801, 450, 9, 600, 601, 333];
    const [got, want] = [await logitsOf(result.directory, device, ids), await logitsOf(reference, device, ids)];
    expect(relativeError(got, want)).toBeLessThan(logitTolerance);
    rmSync(reference, { recursive: true });
  });

  test("all other files are those of the source, and the whole model answers", async () => {
    const { directory } = await quantized(tiny, options);
    const [from, to] = [filesOf(tiny), filesOf(directory)];
    for (const [name, bytes] of from)
      if (!/safetensors|^config\.json/.test(name)) expect(to.get(name), name).toBe(bytes);
    const names = (files: Map<string, string>) => [...files.keys()].filter((name) => !/^model-/.test(name));
    expect(names(to)).toEqual(names(from));
    await using model = await OmniModel.load(directory, { device, kvCacheTokens: 256, strict: true });
    const events = [];
    for await (const event of model.generate([{ role: "user", content: "Hi" }], { maxTokens: 6 }))
      events.push(event.type);
    expect(events).toContain("text");
  });
});

test("FP8 is converted to integers", async () => {
  const fp8 = await quantized(wide, { format: "fp8" });
  const int8 = await quantized(fp8.directory, { format: "int8", layout: "mlx" });
  const [before, after] = [await openLlmOf(fp8.directory), await openLlmOf(int8.directory)];
  const name = "model.layers.0.mlps.0.up_proj.weight";
  const error = relativeError(weightsOf(after, name).values, weightsOf(before, name).values);
  expect(error).toBeLessThan(0.01);
  expect(after.tensors.get("model.layers.0.mlps.0.up_proj.scales")?.dtype).toBe("bf16");
  const ids = [5, 300, 512];
  expect((await logitsOf(int8.directory, device, ids)).every(Number.isFinite)).toBe(true);
});

test("mlx-lm's names, shapes and configuration", async () => {
  const { directory } = await quantized(wide, { format: "int4", layout: "mlx" });
  const { tensors, config } = await openLlmOf(directory);
  const shapes = (module: string) =>
    ["weight", "scales", "biases"].map((part) => {
      const { dtype, shape } = tensors.get(`${module}.${part}`)!;
      return `${dtype} [${shape}]`;
    });
  expect(shapes("model.embed_tokens")).toEqual(["u32 [1024,16]", "bf16 [1024,2]", "bf16 [1024,2]"]);
  const layer = "model.layers.0";
  expect(shapes(`${layer}.mlp.switch_mlp.down_proj`)).toEqual(["u32 [4,128,24]", "bf16 [4,128,3]", "bf16 [4,128,3]"]);
  expect(shapes(`${layer}.self_attn.1.embed_q`)).toEqual(["u32 [4,64,8]", "bf16 [4,64,1]", "bf16 [4,64,1]"]);
  expect(shapes(`${layer}.self_attn.1.unembed_out`)).toEqual(["u32 [4,64,8]", "bf16 [4,64,1]", "bf16 [4,64,1]"]);
  expect(shapes(`${layer}.mlp.router.classifier`)).toEqual(["u32 [8,32]", "f32 [8,2]", "f32 [8,2]"]);
  const raw = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  expect(raw.quantization).toEqual({
    group_size: 64,
    bits: 4,
    mode: "affine",
    "model.layers.0.mlp.router.classifier": { group_size: 64, bits: 8 },
  });
  expect(raw.quantization_config).toEqual(raw.quantization);
  expect(config.quantization).toMatchObject({ group_size: 64, bits: 4 });
  const found = await inspectPath(directory);
  const plain = await inspectPath(wide);
  expect(found.total.parameters).toBe(plain.total.parameters);
});

test("modules may have formats of their own, also two that are multiplied together", async () => {
  const [int4, int8] = [
    await quantized(wide, { format: "int4", layout: "mlx" }),
    await quantized(wide, { format: "int8", layout: "mlx" }),
  ];
  const [a, b] = [await openLlmOf(int4.directory), await openLlmOf(int8.directory)];
  const isOther = (name: string) => /\.(mlps\.0|switch_mlp)\.gate_proj\./.test(name);
  const mixed = join(folder, "mixed");
  mkdirSync(mixed);
  const entries = [...a.tensors.values()].map((entry) => (isOther(entry.name) ? b.tensors.get(entry.name)! : entry));
  await writeShards(mixed, entries, (entry) => [bytesOf(entry)], new Progress(0));
  const config = JSON.parse(readFileSync(join(int4.directory, "config.json"), "utf8"));
  for (const module of ["mlps.0", "mlp.switch_mlp"])
    config.quantization[`model.layers.0.${module}.gate_proj`] = { group_size: 64, bits: 8 };
  writeFileSync(join(mixed, "config.json"), JSON.stringify(config));
  const reference = join(folder, "mixed-reference");
  mkdirSync(reference);
  cpSync(join(wide, "config.json"), join(reference, "config.json"));
  await writeReference(mixed, reference);
  const ids = [5, 300, 512, 700];
  const [got, want] = [await logitsOf(mixed, device, ids), await logitsOf(reference, device, ids)];
  expect(relativeError(got, want)).toBeLessThan(1e-2); // gate and up are bf16
  expect(relativeError(await logitsOf(int4.directory, device, ids), want)).toBeGreaterThan(2e-2);
});

test("the embeddings open alone, whether the text table is quantised or copied", async () => {
  const { directory } = await quantized(tiny, { format: "int8", group: 32 });
  const tables = async () => {
    using embedding = await OmniEmbedding.open(directory, { device });
    return await embedding.prompt({ textIds: [400, 300] }).toFloat32Array();
  };
  const copied = await tables();
  rmSync(join(directory, "language_model_embedding.pt"));
  const read = await tables();
  expect(read).not.toEqual(copied);
  expect(relativeError(read, copied)).toBeLessThan(0.02);
});

describe("an interrupted call", () => {
  const options: QuantizeOptions = { format: "int4", group: 32, layout: "mlx" };
  const whole = quantized(tiny, options);

  /** Copies the directory when the second shard is written: what a process leaves that is killed then. */
  async function killed(): Promise<string> {
    const [target, snapshot] = [join(folder, `killed-${made++}`), join(folder, `snapshot-${made++}`)];
    const onProgress = ({ file, loaded, total }: { file: string; loaded: number; total: number }) => {
      if (!file.startsWith("model-00002") || existsSync(snapshot) || loaded > total - 1000) return;
      cpSync(target, snapshot, { recursive: true });
    };
    await quantizeCheckpoint(tiny, target, { ...options, onProgress });
    expect(readdirSync(snapshot).sort()).toEqual(
      expect.arrayContaining([
        "caracal-unfinished.json",
        expect.stringMatching(/^model-00002-of-00003\.safetensors\.[0-9a-f]{8}\.partial$/),
      ]),
    );
    expect(existsSync(join(snapshot, "config.json"))).toBe(false);
    return snapshot;
  }

  test("goes on, and the directory gets the bytes of an uninterrupted one", async () => {
    const snapshot = await killed();
    const written = statSync(join(snapshot, "model-00001-of-00003.safetensors")).mtimeMs;
    const result = await quantizeCheckpoint(tiny, snapshot, options);
    const { directory, ...rest } = await whole;
    expect(result).toEqual({ ...rest, directory: snapshot, resumed: 1 });
    expect(statSync(join(snapshot, "model-00001-of-00003.safetensors")).mtimeMs).toBe(written);
    expect(filesOf(snapshot)).toEqual(filesOf(directory));
    await expect(quantizeCheckpoint(tiny, snapshot, options)).rejects.toThrow(/already exists; pass force/);
  });

  test("writes a shard again that is not as it was", async () => {
    const snapshot = await killed();
    writeFileSync(join(snapshot, "model-00001-of-00003.safetensors"), "cut short");
    const { resumed } = await quantizeCheckpoint(tiny, snapshot, options);
    expect(resumed).toBe(0);
    expect(filesOf(snapshot)).toEqual(filesOf((await whole).directory));
  });

  test("an abort leaves a directory to go on with, which no reader takes for a model", async () => {
    const target = join(folder, "aborted");
    const controller = new AbortController();
    const onProgress = ({ file }: { file: string }) => file.startsWith("model-00002") && controller.abort();
    const { signal } = controller;
    const call = quantizeCheckpoint(tiny, target, { ...options, signal, onProgress: (p) => void onProgress(p) });
    await expect(call).rejects.toThrowError(code("ABORTED"));
    expect(readdirSync(target).filter((name) => name.endsWith(".partial"))).toEqual([]);
    expect((await inspectPath(target)).kind).toBe("directory");
    await expectInvalid(OmniModel.load(target, { device }), /config\.json: no such file/);
    expect((await quantizeCheckpoint(tiny, target, options)).resumed).toBe(1);
    expect(filesOf(target)).toEqual(filesOf((await whole).directory));
  });

  test("refuses another source or other options, unless it may begin again", async () => {
    const snapshot = await killed();
    const other = { ...options, group: 64 } as const;
    await expect(quantizeCheckpoint(tiny, snapshot, other)).rejects.toThrow(
      /was begun with group 32, now 64: .*--force/,
    );
    await expect(quantizeCheckpoint(tiny, snapshot, { format: "fp8" })).rejects.toThrow(/format int4, now fp8; layout/);
    const copy = join(folder, "touched");
    cpSync(tiny, copy, { recursive: true });
    const shard = readdirSync(copy).find((name) => name.endsWith(".safetensors"))!;
    utimesSync(join(copy, shard), new Date(2020, 1), new Date(2020, 1));
    await expect(quantizeCheckpoint(copy, snapshot, options)).rejects.toThrow(/was begun with another source/);
    expect((await quantizeCheckpoint(tiny, snapshot, { ...options, force: true })).resumed).toBe(0);
    writeFileSync(join(snapshot, "caracal-unfinished.json"), "{");
    await expect(quantizeCheckpoint(tiny, snapshot, options)).rejects.toThrowError(code("INVALID_ARGUMENT"));
  });
});

test("a source that is written to meanwhile is noticed", async () => {
  const copy = join(folder, "written-to");
  cpSync(tiny, copy, { recursive: true });
  const shards = readdirSync(copy).filter((name) => name.endsWith(".safetensors"));
  const onProgress = () => {
    for (const shard of shards) utimesSync(join(copy, shard), new Date(2020, 1), new Date(2020, 1));
  };
  const call = quantized(copy, { format: "int8", group: 32, onProgress });
  await expect(call).rejects.toThrow(/was replaced or written to after its header was read/);
});

test("replaces only what this library wrote, and only if asked", async () => {
  const { directory } = await quantized(tiny, { format: "fp8" });
  await expect(quantizeCheckpoint(tiny, directory, { format: "fp8" })).rejects.toThrow(/already exists; pass force/);
  await quantizeCheckpoint(tiny, directory, { format: "int4", group: 32, force: true });
  expect((await openLlmOf(directory)).config.quantization).toBeDefined();
  writeFileSync(join(directory, "notes.txt"), "mine");
  const again = quantizeCheckpoint(tiny, directory, { format: "fp8", force: true });
  await expect(again).rejects.toThrow(/also holds notes\.txt/);
  await expect(quantizeCheckpoint(tiny, tiny, { format: "fp8" })).rejects.toThrow(/is the source itself/);
});

test("refuses what it cannot do", async () => {
  const never = join(folder, "never");
  const refused = (options: object, pattern: RegExp) =>
    expect(quantizeCheckpoint(tiny, never, options as QuantizeOptions)).rejects.toThrow(pattern);
  await refused({}, /format must be "fp8" or "int8" or "int4", got undefined/);
  await refused({ format: "int2" }, /format must be/);
  await refused({ format: "fp8", group: 64 }, /group must be left out for fp8/);
  await refused({ format: "fp8", layout: "mlx" }, /layout must be "published" for fp8/);
  await refused({ format: "int4", group: 16 }, /group must be 32 or 64 or 128/);
  await refused({ format: "int4", gruop: 64 }, /no option "gruop"/);
  const { directory: int4 } = await quantized(tiny, { format: "int4", group: 32 });
  await expectInvalid(quantizeCheckpoint(int4, never, { format: "int8" }), /already quantised in the format of MLX/);
  const { directory: fp8 } = await quantized(tiny, { format: "fp8" });
  await expectInvalid(quantizeCheckpoint(fp8, never, { format: "fp8" }), /is already FP8/);
  expect(existsSync(never)).toBe(false);

  const damaged = join(folder, "damaged");
  cpSync(tiny, damaged, { recursive: true });
  const entry = (await openLlmOf(damaged)).tensors.get("model.layers.0.mlps.0.up_proj.weight")!;
  const bytes = readFileSync(entry.file);
  bytes.writeUInt16LE(0x7fc0, entry.offset + 2 * 70);
  writeFileSync(entry.file, bytes);
  const call = quantizeCheckpoint(damaged, join(folder, "nan"), { format: "int4", group: 32 });
  await expect(call).rejects.toThrow(/model\.layers\.0\.mlps\.0\.up_proj\.weight.*row 1, column 6 is NaN/);
});

describe("a directory of MLX that is not what it says", () => {
  async function changed(change: (directory: string, config: Record<string, never>) => void): Promise<string> {
    const { directory } = await quantized(tiny, { format: "int4", group: 32, layout: "mlx" });
    const file = join(directory, "config.json");
    const config = JSON.parse(readFileSync(file, "utf8"));
    change(directory, config);
    writeFileSync(file, JSON.stringify(config));
    return directory;
  }
  const open = async (change: Parameters<typeof changed>[0]) => openLlmOf(await changed(change));
  const quantization = (fields: object) => (_: string, config: Record<string, unknown>) => {
    config.quantization = { ...(config.quantization as object), ...fields };
  };

  test("names what is wrong", async () => {
    await expectInvalid(
      open(quantization({ group_size: 64 })),
      /"model\.embed_tokens\.biases" \[1024,2\], expected \[1024,1\]/,
    );
    await expectInvalid(
      open(quantization({ bits: 8 })),
      /misshapen: "model\.embed_tokens\.weight" \[1024,8\], expected/,
    );
    await expectInvalid(
      open(quantization({ bits: 7 })),
      /quantization\.bits is 7; expected 2 or 3 or 4 or 5 or 6 or 8/,
    );
    await expectInvalid(
      open(quantization({ mode: "mxfp4" })),
      /quantization\.mode is "mxfp4"; expected "affine", the only/,
    );
    const exception = { "model.layers.1.mlps.0.up_proj": { group_size: 32, bits: 8 } };
    await expectInvalid(
      open(quantization(exception)),
      /1 tensor misshapen: "model\.layers\.1\.mlps\.0\.up_proj\.weight"/,
    );
    const none = { "model.layers.1.mlps.0.up_proj": false };
    await expectInvalid(open(quantization(none)), /up_proj\.weight" u32, expected bf16 or f16 or f32/);
    const wrong = { lm_head: { mode: "nvfp4" }, "model.embed_tokens": 3 };
    await expectInvalid(
      open(quantization(wrong)),
      /lm_head\.mode is "nvfp4"/,
      /model\.embed_tokens is 3; expected true or/,
    );
  });

  test("a tensor is missing", async () => {
    const rename = (from: string, to: string) => (directory: string) => {
      for (const name of readdirSync(directory).filter((file) => /safetensors/.test(file))) {
        const path = join(directory, name);
        const bytes = readFileSync(path, "latin1");
        writeFileSync(path, bytes.replaceAll(`"${from}"`, `"${to}"`), "latin1");
      }
    };
    const gone = rename("lm_head.biases", "lm_head.biasez");
    await expectInvalid(open(gone), /1 tensor missing: "lm_head\.biases" \[1024,2\]/, /unexpected: "lm_head\.biasez"/);
    const stack = "model.layers.0.mlp.switch_mlp.up_proj.scales";
    await expectInvalid(open(rename(stack, stack.replace("scales", "scalez"))), /switch_mlp\.up_proj\.weight" u32/);
  });
});

test("bytes of shards do not depend on the threads", async () => {
  await using one = await Device.open({ backend: "cpu", threads: 1 });
  const target = join(folder, "one-thread");
  await quantizeCheckpoint(tiny, target, { format: "fp8", device: one });
  const { directory } = await quantized(tiny, { format: "fp8" });
  const entries = (await openLlmOf(directory)).tensors;
  for (const [name, entry] of (await openLlmOf(target)).tensors)
    expect(bytesOf(entry).equals(bytesOf(entries.get(name)!)), name).toBe(true);
});
