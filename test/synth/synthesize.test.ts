import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, onTestFinished, test } from "vitest";
import { openCheckpoint } from "../../lib/checkpoint/directory.js";
import { Weights } from "../../lib/model/weights.js";
import { cast } from "../../lib/ops/rows.js";
import { planTensors } from "../../lib/synth/plan.js";
import { preset } from "../../lib/synth/presets.js";
import { largestQuantile, normals, type RandomTensor, tensorBytes, toBf16, toF8e4m3 } from "../../lib/synth/random.js";
import { totalBytes } from "../../lib/synth/safetensors.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { firstMerge, makeTokenizer } from "../../lib/synth/tokenizer.js";
import { writing } from "../../lib/synth/writer.js";
import { Device } from "../../lib/tensor/tensor.js";
import { scratch } from "../checkpoint/files.js";

const root = scratch();

/** The digest of each file by its path. */
function digests(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort();
  const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
  return Object.fromEntries(paths.map((path) => [path.slice(directory.length + 1), digest(path)]));
}

describe("synthesize", () => {
  test("writes the same bytes for the same seed, and other weights for another", async () => {
    const [a, b, c] = ["a", "b", "c"].map((name) => join(root, name)) as [string, string, string];
    const result = await synthesize(a, { seed: 7 });
    await synthesize(b, { seed: 7 });
    await synthesize(c, { seed: 8 });
    await openCheckpoint(a);
    expect(result.bytes).toBeLessThan(25e6);
    const [first, other] = [digests(a), digests(c)];
    expect(digests(b)).toEqual(first);
    const weights = Object.keys(first).filter((name) => /\.(pt|safetensors)$/.test(name));
    expect(weights.filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(1);
    for (const name of weights) expect(first[name], name).not.toBe(other[name]);
  });

  test("copies the text embedding bit for bit", async () => {
    const directory = join(root, "embedding");
    await synthesize(directory);
    const { llm } = await openCheckpoint(directory);
    const { file, offset, byteLength } = llm.tensors.get("model.embed_tokens.weight")!;
    const table = readFileSync(file).subarray(offset, offset + byteLength);
    expect(readFileSync(join(directory, "language_model_embedding.pt")).indexOf(table)).toBeGreaterThan(0);
  });

  test("writes matrices as f8e4m3 that stand for the same weights as the bf16 ones", async () => {
    const [wide, narrow] = ["wide", "narrow"].map((name) => join(root, name)) as [string, string];
    await synthesize(wide);
    await synthesize(narrow, { matrices: "f8e4m3" });
    const [bf16, f8e4m3] = await Promise.all(
      [wide, narrow].map(async (name) => (await openCheckpoint(name)).llm.tensors),
    );
    const quantised = [...f8e4m3!.values()].filter(({ dtype }) => dtype === "f8e4m3");
    expect(quantised).toHaveLength(2 * (2 * 8 + 3 * 8)); // layers × (attentions and dense networks, experts)
    const device = await Device.open({ backend: "cpu" });
    onTestFinished(() => device.dispose());
    using before = Weights.of(device, { "": bf16!.values() });
    using after = Weights.of(device, { "": f8e4m3!.values() });
    const name = "model.layers.1.self_attn.0.q_b_proj.weight";
    const read = async (weights: Weights, dtype: "bf16" | "f8e4m3") =>
      await cast(weights.plain<typeof dtype>(name), "f32").toFloat32Array();
    const [stored, meant] = [await read(after, "f8e4m3"), await read(before, "bf16")];
    const [scale] = await after.plain<"f32">(`${name}_scale_inv`).toFloat32Array();
    expect(Math.max(...stored.map(Math.abs))).toBe(448);
    const worst = Math.max(...stored.map((v, i) => Math.abs((v * scale!) / meant[i]! - 1)));
    expect(worst).toBeLessThan(0.07); // half of the distance of two f8e4m3, and the rounding of a bf16
    expect(worst).toBeGreaterThan(0.03);
  });

  test("refuses what is no path or seed", async () => {
    for (const path of [null, "", {}, "\0"])
      await expect(synthesize(path as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    for (const seed of [-1, 1.5, "1", null])
      await expect(synthesize(join(root, "seed"), { seed: seed as never })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/^synthesize: seed must be a whole number from 0, got /),
      });
  });

  test("reports progress up to the announced total", async () => {
    const seen: number[] = [];
    const { bytes } = await synthesize(join(root, "progress"), { onProgress: ({ loaded }) => seen.push(loaded) });
    expect(seen.at(-1)).toBe(bytes);
    expect(seen).toEqual([...seen].sort((x, y) => x - y));
  });

  test("leaves nothing behind when aborted", async () => {
    const abort = new AbortController();
    const onProgress = ({ loaded }: { loaded: number }) => loaded > 1e6 && abort.abort("enough");
    const run = synthesize(join(root, "aborted"), { signal: abort.signal, onProgress });
    await expect(run).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    expect(readdirSync(root).filter((name) => name.startsWith("aborted"))).toEqual([]);
  });

  test("replaces a checkpoint only when forced, and never any other files", async () => {
    const directory = join(root, "twice");
    mkdirSync(directory);
    await synthesize(directory, { seed: 1 });
    const before = digests(directory);
    await expect(synthesize(directory)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/--force/),
    });
    expect(digests(directory)).toEqual(before);
    await synthesize(directory, { force: true });
    const shard = "model-00001-of-00003.safetensors";
    expect(digests(directory)[shard]).not.toBe(before[shard]);
    const home = join(root, "home");
    mkdirSync(home);
    writeFileSync(join(home, "letter.txt"), "dear");
    await expect(synthesize(home, { force: true })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(readdirSync(root).filter((name) => name.includes("partial"))).toEqual([]);
  });

  test("takes a config.json that is a FIFO for no mark of its own, and does not wait for it", async () => {
    const directory = join(root, "fifo");
    mkdirSync(directory);
    writeFileSync(join(directory, "model.safetensors.index.json"), "{}");
    execFileSync("mkfifo", [join(directory, "config.json")]);
    await expect(synthesize(directory, { force: true })).rejects.toThrow(/none of synth, slice and quantize wrote/);
  });

  test("never replaces a folder that holds more than a checkpoint, or a checkpoint from elsewhere", async () => {
    const directory = join(root, "ours");
    await synthesize(directory);
    const refused = async (message: RegExp) => {
      const before = digests(directory);
      const run = synthesize(directory, { seed: 2, force: true });
      await expect(run).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
      expect(digests(directory)).toEqual(before);
    };
    for (const name of ["letter.txt", "audio/notes.md", "extra.pt", ".git"]) {
      writeFileSync(join(directory, name), "dear");
      await refused(new RegExp(`it also holds ${name}, .* move that elsewhere$`));
      rmSync(join(directory, name));
    }
    const file = join(directory, "config.json");
    const { _files, ...published } = JSON.parse(readFileSync(file, "utf8"));
    for (const text of [JSON.stringify(published), "{", "null"]) {
      writeFileSync(file, text);
      await refused(/none of synth, slice and quantize wrote/);
    }
  });

  test("creates the last folder only", async () => {
    for (const [directory, message] of [
      [join(root, "missing/model"), /missing\/model cannot be created: .*missing does not exist; create it first$/],
      ["/dev/null/model", /\/dev\/null is not a folder; choose another path$/],
    ] as const)
      await expect(synthesize(directory)).rejects.toMatchObject({
        code: "IO_ERROR",
        message: expect.stringMatching(message),
      });
    expect(existsSync(join(root, "missing"))).toBe(false);
  });

  test.skipIf(!existsSync("/proc/self"))(
    "a folder in which nothing can be created is an IO_ERROR",
    async () => {
      await expect(synthesize("/proc/model")).rejects.toMatchObject({
        code: "IO_ERROR",
        message: expect.stringMatching(/^\/proc\/model: cannot be written: E/),
      });
    },
    20_000,
  );

  test("refuses a fractional seed, an unknown preset, a misspelt option, and a preset that does not fit on the disk", async () => {
    await expect(synthesize(join(root, "x"), { seed: 0.5 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const unknown = synthesize(join(root, "x"), { preset: "huge" as "full" });
    await expect(unknown).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/^synthesize: preset must be "tiny" or "mini" .*, got "huge"$/),
    });
    const misspelt = synthesize(join(root, "x"), { sede: 1 } as object);
    await expect(misspelt).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/did you mean "seed"\?/),
    });
    expect(existsSync(join(root, "x"))).toBe(false);
    const full = synthesize(join(root, "full"), { preset: "full" });
    await expect(full).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/needs 11\d\d\.\d GB, but the disk has/),
    });
    expect(existsSync(join(root, "full"))).toBe(false);
  });
});

describe("a full disk", () => {
  test("is an IO_ERROR", async () => {
    const write = writing("/dev/full", writeFile("/dev/full", new Uint8Array(100)));
    await expect(write).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/disk is full/),
      details: { errno: "ENOSPC" },
    });
  });

  test("leaves nothing behind", async ({ skip }) => {
    const disk = join(root, "disk");
    mkdirSync(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], { stdio: "ignore" });
    } catch {
      skip("mounting a tmpfs is not permitted");
    }
    onTestFinished(() => void execFileSync("umount", [disk]));
    const hog = join(disk, "hog");
    // Another process fills the disk after synthesize has checked the free space.
    const onProgress = () => existsSync(hog) || writeFileSync(hog, Buffer.alloc(6 << 20));
    const run = synthesize(join(disk, "model"), { onProgress });
    await expect(run).rejects.toMatchObject({ code: "IO_ERROR", message: expect.stringMatching(/disk is full/) });
    expect(readdirSync(disk)).toEqual(["hog"]);
  });
});

describe("presets", () => {
  const parameters = (tensors: readonly RandomTensor[]) => {
    return tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  };
  const planned = (name: Parameters<typeof preset>[0]) => planTensors(preset(name), 1000);

  test("have the published parameter counts at full size", () => {
    const { llm, archives } = planned("full");
    expect(parameters(llm) / 1e9).toBeCloseTo(560.7, 0);
    expect(parameters(archives.get("vision/vision_model.pt")!) / 1e6).toBeCloseTo(636.55, 1);
    const audio = [archives.get("audio/audio_encoder.pt")!, archives.get("audio/audio_projector.pt")!];
    expect(parameters(audio.flat()) / 1e6).toBeCloseTo(587.7, 0);
    const codec = archives.get("audio_codec/LongCatAudioCodec_decoder_24k_4codebooks.pt")!;
    expect(parameters(codec) / 1e6).toBeCloseTo(150.9, 0);
  });

  test("are small otherwise", () => {
    const bytes = (name: Parameters<typeof preset>[0]) => {
      const { llm, archives } = planned(name);
      return totalBytes([...llm, ...[...archives.values()].flat()]);
    };
    expect(bytes("mini")).toBeGreaterThan(200e6);
    expect(bytes("mini")).toBeLessThan(400e6);
    expect(bytes("codec-full")).toBeLessThan(0.7e9);
    expect(bytes("audio-full")).toBeLessThan(1.4e9);
    expect(bytes("vision-full")).toBeLessThan(1.8e9);
    expect(bytes("peer-layer")).toBeLessThan(3.3e9);
  });
});

describe("random tensors", () => {
  const tensor: RandomTensor = {
    name: "w",
    key: "w",
    shape: [3, 1 << 19],
    dtype: "f32",
    values: { mean: 0.5, std: 2, rows: [{ from: 1, to: 2, std: 0 }] },
  };
  const floats = (t: RandomTensor) => {
    const bytes = Buffer.concat([...tensorBytes(t, 3)].map((chunk) => Buffer.from(chunk)));
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };

  test("are normally distributed across chunks, with another deviation in some rows", () => {
    const values = floats(tensor);
    const row = (i: number) => values.subarray(i << 19, (i + 1) << 19);
    expect(row(1).every((value) => value === 0.5)).toBe(true);
    for (const part of [row(0), row(2)]) {
      const mean = part.reduce((sum, v) => sum + v, 0) / part.length;
      const moment = (k: number) => part.reduce((sum, v) => sum + ((v - mean) / 2) ** k, 0) / part.length;
      expect(mean).toBeCloseTo(0.5, 1);
      expect(moment(2)).toBeCloseTo(1, 1);
      expect(moment(3)).toBeCloseTo(0, 1);
      expect(Math.abs(moment(4) - 3)).toBeLessThan(0.1);
    }
    const lagged = row(0).reduce((sum, v, i) => sum + (v - 0.5) * ((row(0)[i + 1] ?? 0.5) - 0.5), 0) / (4 << 19);
    expect(Math.abs(lagged)).toBeLessThan(0.01);
  });

  test("round to f8e4m3 as the library does", async () => {
    const device = await Device.open({ backend: "cpu" });
    onTestFinished(() => device.dispose());
    // Every number with 6 bits of mantissa from 2^-12 to above 448, which includes all ties, of both signs, and 0.
    const positive = Array.from({ length: 22 * 64 }, (_, i) => (1 + (i % 64) / 64) * 2 ** (Math.floor(i / 64) - 12));
    const values = Float32Array.from([0, ...positive, ...positive.map((v) => -v)]);
    const rounded = await cast(device.tensor(values, [values.length]), "f8e4m3").read();
    const same = (a: number, b: number) => a === b || (a | b) === 0x80; // zeros may have either sign
    const wrong = [...values].filter((value, i) => !same(toF8e4m3(value), rounded[i]!));
    expect(wrong).toEqual([]);
  });

  test("repeat for the same seed", () => {
    expect(normals(1000, 5)).toEqual(normals(1000, 5));
    expect(normals(1000, 5)).not.toEqual(normals(1000, 6));
    expect(normals(1 << 17, 1).reduce((a, b) => Math.max(a, b))).toBeCloseTo(largestQuantile, 5);
  });

  test("round to bfloat16, ties to even", () => {
    const bits = (...words: number[]) => new Float32Array(Uint32Array.from(words).buffer);
    expect([...toBf16(bits(0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf80c000))]).toEqual([
      0x3f80, 0x3f82, 0x3f81, 0x3f80, 0xbf81,
    ]);
  });
});

describe("the tokenizer", () => {
  const { model, config, size } = makeTokenizer(1152, 4096);
  const tokenizer = new Tokenizer(model, config);

  test("has the published special ids", () => {
    const ids = { "<longcat_unk>": 0, "<longcat_s>": 1, "</longcat_s>": 2, "<longcat_pad>": 3, "<mask_0>": 24 };
    for (const [token, id] of Object.entries({ ...ids, "<mask_113>": 137, "<mask_119>": 143 })) {
      expect(tokenizer.encode(token).ids).toEqual([id]);
    }
  });

  test.each([
    "Hello, the caracal is listening.",
    "Grüße, 你好, 🎉🏳️‍🌈\n\n \t tabs  and   spaces ",
    "\u0000\u0001\u007f\u00a0\u00ad control",
    "USER:<mask_110><mask_112><mask_111>\nASSISTANT:",
  ])("decodes %j as it was", (text) => {
    expect(tokenizer.decode(tokenizer.encode(text).ids, { clean_up_tokenization_spaces: false })).toBe(text);
  });

  test("has ids for common words, and uses every id", () => {
    expect(tokenizer.encode(" the caracal").ids).toHaveLength(2);
    expect(size).toBeGreaterThan(firstMerge + 500);
    expect(size).toBeLessThanOrEqual(1152);
    const vocab = (model as { model: { vocab: Record<string, number> } }).model.vocab;
    expect(Object.values(vocab).sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, id) => id));
  });

  test("has a chat template", () => {
    const { chat_template, eos_token } = config as { chat_template: string; eos_token: string };
    const messages = [
      { role: "system", content: "be" },
      { role: "user", content: "hi" },
      { role: "assistant", content: "yo" },
    ];
    const text = new Template(chat_template).render({ messages, eos_token, add_generation_prompt: true });
    expect(text).toBe("SYSTEM:be</longcat_s>\nUSER:hi\nASSISTANT:yo</longcat_s>\nASSISTANT:");
  });
});
