import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../lib/checkpoint/directory.js";
import { OmniModel } from "../../lib/model/omni.js";
import { quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { type SliceOptions, sliceCheckpoint } from "../../lib/synth/slice.js";
import { Device } from "../../lib/tensor/tensor.js";
import { expectInvalid, scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { code } from "../support/errors.js";
import { turnsDuring } from "../support/turns.js";
import { bytesOf, filesOf } from "./quantized.js";

const folder = scratch();
const source = await tinyDirectory(5);
const whole = await openCheckpoint(source); // 2 layers of 8 experts and 4 zero experts, of which the router picks 3

const tensor = ({ llm }: Checkpoint, name: string) => llm.tensors.get(name)!;

test("keeps the first layers, the first experts of both kinds, and all other modules", async () => {
  const target = join(folder, "kept");
  const result = await sliceCheckpoint(source, target, { layers: 1, experts: 2, zeroExperts: 3 });
  const sizes = { layers: 1, experts: 2, zeroExperts: 3, topk: 3 };
  expect(result).toMatchObject({ directory: target, ...sizes, resumed: 0, unused: [] });
  const part = await openCheckpoint(target, { strict: true });
  expect(part.llm.config).toEqual({ ...whole.llm.config, num_layers: 1, n_routed_experts: 2, zero_expert_num: 3 });
  expect(part.vision.config).toEqual(whole.vision.config);
  expect(part.synthetic).toBe(true);
  const router = /\.router\./;
  let bytes = 0;
  for (const [name, entry] of part.llm.tensors) {
    const before = tensor(whole, name);
    expect([entry.dtype, router.test(name) || bytesOf(entry).equals(bytesOf(before))], name).toEqual([
      before.dtype,
      true,
    ]);
    bytes += entry.byteLength;
  }
  expect(result.bytes).toBe(bytes);
  for (const name of ["classifier.weight", "e_score_correction_bias"]) {
    const path = `model.layers.0.mlp.router.${name}`;
    const row = tensor(whole, path).byteLength / 12;
    const before = bytesOf(tensor(whole, path));
    const kept = Buffer.concat([before.subarray(0, 2 * row), before.subarray(8 * row, 11 * row)]);
    expect(bytesOf(tensor(part, path)).equals(kept), name).toBe(true);
    expect(tensor(part, path).shape[0]).toBe(5);
  }
  const [from, to] = [filesOf(source), filesOf(target)];
  const isOther = (name: string) => !/^model|^config/.test(name);
  for (const [name, digest] of from) if (isOther(name)) expect(to.get(name), name).toBe(digest);
  expect([...to.keys()].filter(isOther)).toEqual([...from.keys()].filter(isOther));
});

test.each<[SliceOptions, [experts: number, zeroExperts: number, topk: number]]>([
  [{}, [8, 4, 3]],
  [{ experts: 6 }, [6, 3, 3]],
  [{ experts: 5 }, [5, 3, 3]], // of 2.5
  [{ experts: 1 }, [1, 1, 2]],
  [{ experts: 1, zeroExperts: 0 }, [1, 0, 1]],
  [{ experts: 2, zeroExperts: 4 }, [2, 4, 3]],
])("%o keeps the same share of zero experts if not told otherwise, and picks that there are", async (options, kept) => {
  const target = join(folder, `share-${Object.values(options).join("-")}`);
  const { experts, zeroExperts, topk } = await sliceCheckpoint(source, target, options);
  expect([experts, zeroExperts, topk]).toEqual(kept);
  const { config } = (await openCheckpoint(target, { strict: true })).llm;
  expect([config.n_routed_experts, config.zero_expert_num, config.moe_topk]).toEqual(kept);
});

test("a slice of a slice is the slice", async () => {
  const [first, second, direct] = ["first", "second", "direct"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await sliceCheckpoint(source, first, { experts: 6 });
  await sliceCheckpoint(first, second, { layers: 1, experts: 2, zeroExperts: 2 });
  await sliceCheckpoint(source, direct, { layers: 1, experts: 2, zeroExperts: 2 });
  const shards = (directory: string) => [...filesOf(directory)].filter(([name]) => /^model/.test(name));
  expect(shards(second)).toEqual(shards(direct));
});

test.each<[SliceOptions, object]>([
  [{}, {}],
  [
    { layers: 1, experts: 3 },
    { num_layers: 1, n_routed_experts: 3, zero_expert_num: 2 },
  ],
])("a slice of %o can be asked", async (options, fields) => {
  const target = join(folder, `asked-${options.layers}`);
  await sliceCheckpoint(source, target, options);
  await using device = await Device.open({ backend: "cpu", threads: 2 });
  const ask = async (directory: string) => {
    await using model = await OmniModel.load(directory, { device, kvCacheTokens: 256, strict: true });
    expect(model.llm.config).toEqual({ ...whole.llm.config, ...(directory === target ? fields : {}) });
    let text = "";
    for await (const event of model.generate([{ role: "user", content: "Hi" }], { maxTokens: 8, speech: false }))
      if (event.type === "text") text += event.text;
    return text;
  };
  const same = (await ask(target)) === (await ask(source));
  if (Object.keys(fields).length === 0) expect(same).toBe(true);
});

test("needs only the shards that hold the slice, and names those that are missing", async () => {
  const copy = join(folder, "incomplete");
  cpSync(source, copy, { recursive: true });
  const index = join(copy, "model.safetensors.index.json");
  const { weight_map } = JSON.parse(readFileSync(index, "utf8")) as { weight_map: Record<string, string> };
  const moved = Object.entries(weight_map).map(([name, shard]) => {
    return [name, name.startsWith("model.layers.1.") ? "model-00009-of-00009.safetensors" : shard];
  });
  writeFileSync(index, JSON.stringify({ weight_map: Object.fromEntries(moved) }));
  await sliceCheckpoint(copy, join(folder, "complete"), { layers: 1 });
  await openCheckpoint(join(folder, "complete"), { strict: true });
  await expectInvalid(
    sliceCheckpoint(copy, join(folder, "never"), { layers: 2 }),
    /lacks model-00009-of-00009\.safetensors/,
  );
  rmSync(join(copy, "model-00003-of-00003.safetensors"));
  await expectInvalid(
    sliceCheckpoint(copy, join(folder, "never"), { layers: 1 }),
    /lacks model-00003-of-00003\.safetensors; down/,
  );
  expect(existsSync(join(folder, "never"))).toBe(false);
});

test("refuses what it cannot cut, and to overwrite", async () => {
  const never = join(folder, "never");
  const refused = async (options: object, pattern: RegExp) => {
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(pattern) });
    await expect(sliceCheckpoint(source, never, options), String(pattern)).rejects.toThrowError(invalid);
  };
  await refused({ layers: 3 }, /layers must be at most 2, as many as .*model has, got 3/);
  await refused({ experts: 9 }, /experts must be at most 8, as many as/);
  await refused({ zeroExperts: 5 }, /zeroExperts must be at most 4, as many as/);
  await refused({ layers: 0 }, /layers must be a positive integer, got 0/);
  await refused({ experts: 1.5 }, /experts must be a positive integer/);
  await refused({ zeroExperts: -1 }, /zeroExperts must be a whole number/);
  await refused({ expert: 1 }, /no option "expert": did you mean "experts"/);
  await sliceCheckpoint(source, join(folder, "present"), { layers: 1 });
  await expect(sliceCheckpoint(source, join(folder, "present"), { layers: 1 })).rejects.toThrow(
    /already exists; pass force/,
  );
  const signal = AbortSignal.abort();
  await expect(sliceCheckpoint(source, never, { signal })).rejects.toThrowError(code("ABORTED"));
  await expectInvalid(sliceCheckpoint(join(folder, "none"), never), /config\.json: no such file/);
  await expect(sliceCheckpoint(source, join(folder, "no/never"))).rejects.toThrow(/no does not exist; create it first/);
  expect(readdirSync(folder).filter((name) => name.startsWith("never"))).toEqual([]);
});

test("never replaces, contains or enters its source, whatever path leads there", async () => {
  const home = join(folder, "home");
  const original = join(home, "original");
  cpSync(source, original, { recursive: true });
  symlinkSync(home, join(folder, "link"));
  symlinkSync(original, join(folder, "linked-model"));
  const names = () => readdirSync(home, { recursive: true, encoding: "utf8" }).sort();
  const before = names();
  for (const [target, relation] of [
    [original, /original is the source itself, .*: choose a folder beside it$/],
    [`${original}/../original/`, /is the source itself/],
    [join(folder, "link/original"), /is the source itself/],
    [join(folder, "linked-model"), /is the source itself/],
    [home, /contains the source/],
    [join(folder, "link"), /contains the source/],
    [join(original, "vision"), /lies inside the source/],
    [join(folder, "link/original/new"), /lies inside the source/],
    [join(original, "..new"), /lies inside the source/],
  ] as const)
    for (const from of [original, join(folder, "linked-model")]) {
      const refused = expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(relation) });
      await expect(sliceCheckpoint(from, target, { layers: 1, force: true }), target).rejects.toThrowError(refused);
    }
  expect(names()).toEqual(before);
  await sliceCheckpoint(original, join(home, "original-2"), { layers: 1 });
});

test.each([".git", "notes", "audio/recordings"])(
  "never replaces a slice with %s, which it never wrote",
  async (name) => {
    const target = join(folder, `with-${name.length}`);
    await sliceCheckpoint(source, target, { layers: 1 });
    mkdirSync(join(target, name));
    await expect(sliceCheckpoint(source, target, { force: true })).rejects.toThrow(
      `it also holds ${name}, which is not of the`,
    );
    expect(existsSync(join(target, name))).toBe(true);
    rmSync(join(target, name), { recursive: true });
    await sliceCheckpoint(source, target, { layers: 1, force: true });
  },
);

describe("an interrupted call", () => {
  const options: SliceOptions = { layers: 1, experts: 5 };
  const uninterrupted = sliceCheckpoint(source, join(folder, "uninterrupted"), options);
  let made = 0;

  /** Copies the directory while the second shard is written: what a process leaves that is killed then. */
  async function killed(): Promise<string> {
    const [target, snapshot] = [join(folder, `killed-${made++}`), join(folder, `snapshot-${made++}`)];
    const onProgress = ({ file }: { file: string }) => {
      if (file.startsWith("model-00002") && !existsSync(snapshot)) cpSync(target, snapshot, { recursive: true });
    };
    await sliceCheckpoint(source, target, { ...options, onProgress });
    expect(existsSync(join(snapshot, "model-00002-of-00003.safetensors"))).toBe(false);
    return snapshot;
  }

  test("leaves no directory that loads, and the next one goes on to the same bytes", async () => {
    const snapshot = await killed();
    await expectInvalid(openCheckpoint(snapshot), /config\.json: no such file/);
    const written = statSync(join(snapshot, "model-00001-of-00003.safetensors")).mtimeMs;
    const { directory, ...rest } = await uninterrupted;
    expect(await sliceCheckpoint(source, snapshot, options)).toEqual({ ...rest, directory: snapshot, resumed: 1 });
    expect(statSync(join(snapshot, "model-00001-of-00003.safetensors")).mtimeMs).toBe(written);
    expect(filesOf(snapshot)).toEqual(filesOf(directory));
  });

  test("can be aborted at any time, and goes on", async () => {
    const target = join(folder, "aborted");
    let resumed = 0;
    let calls = 0;
    for (let done = false; !done; calls++) {
      const controller = new AbortController();
      let left = 1 + 9 * calls;
      const onProgress = () => {
        if (--left === 0) controller.abort();
      };
      const { signal } = controller;
      try {
        resumed = (await sliceCheckpoint(source, target, { ...options, signal, onProgress })).resumed;
        done = true;
      } catch (error) {
        expect(error).toEqual(code("ABORTED"));
        expect(readdirSync(target).filter((name) => /\.partial$|^config\.json$/.test(name))).toEqual([]);
      }
    }
    expect(calls).toBeGreaterThan(2);
    expect(resumed).toBeGreaterThan(0);
    expect(filesOf(target)).toEqual(filesOf((await uninterrupted).directory));
  });

  test("is not continued by another, unless that may begin again", async () => {
    const snapshot = await killed();
    await expect(sliceCheckpoint(source, snapshot, { ...options, experts: 4 })).rejects.toThrow(
      /was begun with experts 5, now 4; zero experts 3, now 2: .*--force/,
    );
    await expect(quantizeCheckpoint(source, snapshot, { format: "fp8" })).rejects.toThrow(
      /was begun with command slice, now quantize/,
    );
    const { resumed, experts } = await sliceCheckpoint(source, snapshot, { ...options, experts: 4, force: true });
    expect([resumed, experts]).toEqual([0, 4]);
  });
});

test("the event loop has its turns while the tensors of a source are looked through", async () => {
  const names = whole.llm.tensors.size;
  const turns = await turnsDuring(() => sliceCheckpoint(source, join(folder, "turns"), { layers: 1 }));
  expect(turns).toBeGreaterThan(4 * names); // the index, the names twice, and the tensors of the slice
});

test("a source that is written to meanwhile is noticed", async () => {
  const copy = join(folder, "written-to");
  cpSync(source, copy, { recursive: true });
  const shards = readdirSync(copy).filter((name) => name.endsWith(".safetensors"));
  const onProgress = () => {
    for (const shard of shards) utimesSync(join(copy, shard), new Date(2020, 1), new Date(2020, 1));
  };
  const call = sliceCheckpoint(copy, join(folder, "of-written-to"), { onProgress });
  await expect(call).rejects.toThrow(/was replaced or written to after its header was read/);
});

describe("a disk", () => {
  /** A disk of some bytes, which is gone after the test. */
  function disk(bytes: number, skip: (note: string) => never): string {
    const path = join(folder, `disk-${bytes}`);
    mkdirSync(path);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path], { stdio: "ignore" });
    } catch {
      skip("mounting a tmpfs is not permitted");
    }
    onTestFinished(() => void execFileSync("umount", [path]));
    return path;
  }

  test("without room for all files is noticed before they are copied", async ({ skip }) => {
    // A MiB is kept free. The slice would fit into the other, but for the files beside the language model.
    const target = join(disk(2 << 20, skip), "model");
    const call = sliceCheckpoint(source, target, { layers: 1, experts: 1 });
    const problem =
      /model: needs 0\.\d GB, but the disk has 0\.0 GB free; free some, or choose a folder on another disk/;
    const full = expect.objectContaining({ code: "IO_ERROR", message: expect.stringMatching(problem) });
    await expect(call).rejects.toThrowError(full);
    expect(readdirSync(target)).toEqual(["caracal-unfinished.json"]);
  });

  test("that becomes full leaves a directory to go on with", async ({ skip }) => {
    const target = join(disk(16 << 20, skip), "model");
    const hog = join(target, "../hog");
    const onProgress = ({ file }: { file: string }) => {
      if (!file.startsWith("model-00002") || existsSync(hog)) return;
      try {
        writeFileSync(hog, Buffer.alloc(16 << 20));
      } catch {} // it took all there was
    };
    const call = sliceCheckpoint(source, target, { onProgress });
    await expect(call).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/disk is full; free some/),
    });
    expect(existsSync(join(target, "config.json"))).toBe(false);
    rmSync(hog);
    expect((await sliceCheckpoint(source, target)).resumed).toBe(1);
    await openCheckpoint(target, { strict: true });
  });
});
