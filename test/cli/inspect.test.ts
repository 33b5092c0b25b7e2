import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { inspectCommand } from "../../lib/cli/inspect.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { safetensors, scratch } from "../checkpoint/files.js";
import { outputOf } from "./output.js";

const folder = scratch();
const model = join(folder, "model");
const inspect = (...args: string[]) => outputOf(inspectCommand(), ...args);

beforeAll(() => synthesize(model));
afterEach(() => {
  process.exitCode = undefined;
});

test("a model directory is shown part by part", async () => {
  const text = await inspect(model);
  expect(text).toMatch(/^language model +3 shards +\d+ +\d+ k +bf16 f32/m);
  expect(text).toMatch(/^speech decoder +audio_codec\/LongCatAudioCodec_decoder_24k_4codebooks\.pt +174 /m);
  expect(text).toMatch(/^total .* 1\.\d+ M /m);
  expect(text).toMatch(/^language model +2 layers, width 64, top 3 of 8 experts and 4 zero experts, vocabulary 1024$/m);
  expect(text).toContain("The weights are random");
  expect(text).toContain("No problems found: the model can be loaded.");
  expect(process.exitCode).toBeUndefined();
});

test("--json prints the same as one document", async () => {
  const found = JSON.parse(await inspect(model, "--json"));
  expect(found).toMatchObject({
    kind: "directory",
    synthetic: true,
    problems: [],
    configs: { llm: { num_layers: 2 } },
  });
  expect(found.parts).toHaveLength(9);
  const file = JSON.parse(await inspect(join(model, "audio/audio_projector.pt"), "--json"));
  expect(file).toMatchObject({ kind: "file", total: { tensors: 4, dtypes: ["bf16"] } });
  expect(file.tensors[0]).toMatchObject({ name: "0.weight", shape: [64, 96], file: "audio_projector.pt" });
});

test("the tensors of a file are listed", async () => {
  const text = await inspect(join(model, "audio/audio_projector.pt"));
  expect(text).toMatch(/^4 tensors, 10\.4 k parameters, 20\.3 KiB$/m);
  expect(text).toMatch(/^0\.weight +bf16 +\[64, 96\] +12\.0 KiB$/m);
});

test("problems are listed, and the exit code is 1", async () => {
  const faulty = join(folder, "faulty");
  await synthesize(faulty);
  writeFileSync(join(faulty, "vision/config.json"), '{"hidden_size": 72}');
  const text = await inspect(faulty);
  expect(text).toMatch(/1 problem:\n {2}- vision\/config\.json: hidden_size 72 is not a multiple of 4 × 16 heads/);
  expect(process.exitCode).toBe(1);
});

test("tensors that the library does not know are warnings, or problems with --strict", async () => {
  const odd = join(folder, "odd");
  await synthesize(odd);
  const header = { mystery: { dtype: "U32", shape: [1], data_offsets: [0, 4] } };
  writeFileSync(join(odd, "more.safetensors"), safetensors(header, Buffer.alloc(4)));
  const index = join(odd, "model.safetensors.index.json");
  const { weight_map } = JSON.parse(readFileSync(index, "utf8"));
  writeFileSync(index, JSON.stringify({ weight_map: { ...weight_map, mystery: "more.safetensors" } }));
  const text = await inspect(odd);
  expect(text).toMatch(/1 warning:\n {2}- model-\*\.safetensors: 1 tensor unexpected: "mystery"\nNo problems found/);
  expect(text).toMatch(/^language model +4 shards .* 1 unused$/m);
  expect(process.exitCode).toBeUndefined();
  expect(await inspect(odd, "--strict")).toMatch(/1 problem:\n {2}- model-\*\.safetensors: 1 tensor unexpected/);
  expect(process.exitCode).toBe(1);
  expect(await inspect(join(odd, "more.safetensors"))).toMatch(/^mystery +u32 +\[1\]/m);
});

test("control characters of a hostile file are not printed", async () => {
  const header = { "\u001b[31mred\u009b0m\u202eder": { dtype: "U8", shape: [1], data_offsets: [0, 1] } };
  const file = join(folder, "hostile.safetensors");
  writeFileSync(file, safetensors(header, Buffer.alloc(1)));
  const text = await inspect(file);
  expect(text).toContain("\uFFFD[31mred");
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
});

test("a missing path is refused", async () => {
  await expect(inspect(join(folder, "missing"))).rejects.toMatchObject({ code: "CHECKPOINT_INVALID" });
});
