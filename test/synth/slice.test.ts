import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../lib/checkpoint/directory.js";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import { sliceCommand } from "../../lib/cli/slice.js";
import { OmniModel } from "../../lib/model/omni.js";
import { type SliceOptions, slice } from "../../lib/synth/slice.js";
import { Device } from "../../lib/tensor/tensor.js";
import { expectInvalid, scratch } from "../checkpoint/files.js";
import { outputOf } from "../cli/output.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { code } from "../support/errors.js";

const folder = scratch();
const source = await tinyDirectory(5);
const whole = await openCheckpoint(source); // 2 layers of 8 experts and 4 zero experts, of which the router picks 3

function bytesOf({ file, offset, byteLength }: TensorEntry): Buffer {
  return readFileSync(file).subarray(offset, offset + byteLength);
}
const tensor = ({ llm }: Checkpoint, name: string) => llm.tensors.get(name)!;

test("keeps the first layers and experts, the zero experts, and all other modules", async () => {
  const target = join(folder, "kept");
  const result = await slice(source, target, { layers: 1, experts: 2 });
  expect(result).toMatchObject({ directory: target, layers: 1, experts: 2 });
  const part = await openCheckpoint(target, { strict: true });
  expect(part.llm.config).toEqual({ ...whole.llm.config, num_layers: 1, n_routed_experts: 2 });
  expect(part.vision.config).toEqual(whole.vision.config);
  const router = /\.router\./;
  for (const [name, entry] of part.llm.tensors) {
    const before = tensor(whole, name);
    expect([entry.dtype, router.test(name) || bytesOf(entry).equals(bytesOf(before))], name).toEqual([
      before.dtype,
      true,
    ]);
  }
  for (const name of ["classifier.weight", "e_score_correction_bias"]) {
    const path = `model.layers.0.mlp.router.${name}`;
    const row = tensor(whole, path).byteLength / 12;
    const before = bytesOf(tensor(whole, path));
    const kept = Buffer.concat([before.subarray(0, 2 * row), before.subarray(8 * row)]);
    expect(bytesOf(tensor(part, path)).equals(kept), name).toBe(true);
    expect(tensor(part, path).shape[0]).toBe(6);
  }
  const files = (directory: string) => readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  const others = (directory: string) => files(directory).filter((name) => !/^model|^config/.test(name));
  expect(others(target)).toEqual(others(source));
});

test.each<[SliceOptions, object]>([
  [{}, {}],
  [
    { layers: 1, experts: 3 },
    { num_layers: 1, n_routed_experts: 3 },
  ],
])("a slice of %o can be asked", async (options, fields) => {
  const target = join(folder, `asked-${options.layers}`);
  await slice(source, target, options);
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
  await slice(copy, join(folder, "complete"), { layers: 1 });
  await openCheckpoint(join(folder, "complete"), { strict: true });
  await expectInvalid(slice(copy, join(folder, "never"), { layers: 2 }), /lacks model-00009-of-00009\.safetensors/);
  rmSync(join(copy, "model-00003-of-00003.safetensors"));
  await expectInvalid(
    slice(copy, join(folder, "never"), { layers: 1 }),
    /lacks model-00003-of-00003\.safetensors; down/,
  );
  expect(existsSync(join(folder, "never"))).toBe(false);
});

test("refuses what it cannot cut, and to overwrite", async () => {
  for (const options of [{ layers: 3 }, { layers: 0 }, { experts: 9 }, { experts: 1.5 }, { expert: 1 } as object])
    await expect(slice(source, join(folder, "never"), options)).rejects.toThrowError(code("INVALID_ARGUMENT"));
  await slice(source, join(folder, "present"), { layers: 1 });
  await expect(slice(source, join(folder, "present"), { layers: 1 })).rejects.toThrow(/already exists; pass force/);
  const signal = AbortSignal.abort();
  await expect(slice(source, join(folder, "never"), { signal })).rejects.toThrowError(code("ABORTED"));
  await expectInvalid(slice(join(folder, "none"), join(folder, "never")), /config\.json: no such file/);
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
      await expect(slice(from, target, { layers: 1, force: true }), target).rejects.toThrowError(refused);
    }
  expect(names()).toEqual(before);
  await slice(original, join(home, "original-2"), { layers: 1 });
});

test.each([".git", "notes", "audio/recordings"])(
  "never replaces a slice with %s, which it never wrote",
  async (name) => {
    const target = join(folder, `with-${name.length}`);
    await slice(source, target, { layers: 1 });
    mkdirSync(join(target, name));
    await expect(slice(source, target, { force: true })).rejects.toThrow(`it also holds ${name}, which is not of the`);
    expect(existsSync(join(target, name))).toBe(true);
    rmSync(join(target, name), { recursive: true });
    await slice(source, target, { layers: 1, force: true });
  },
);

test("caracal slice says what it wrote", async () => {
  const target = join(folder, "command");
  const text = await outputOf(sliceCommand(), source, target, "--layers", "1", "--experts", "4");
  expect(text).toMatch(/command: 1 layers, 4 experts, 0\.\d MB of language model/);
  const json = JSON.parse(await outputOf(sliceCommand(), source, target, "--force", "--json"));
  expect(json).toMatchObject({ directory: target, layers: 2, experts: 8 });
});
