// Slices of models in every format that is read: what they hold, what they compute, and what of the source is read.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import type { Checkpoint } from "../../lib/checkpoint/directory.js";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import { BoundedFile } from "../../lib/checkpoint/formats/file.js";
import { Llm } from "../../lib/model/language/llm.js";
import { OmniModel } from "../../lib/model/omni.js";
import { type QuantizeOptions, quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { writeSafetensors, writeShards } from "../../lib/synth/safetensors.js";
import { type SliceOptions, sliceCheckpoint } from "../../lib/synth/slice.js";
import { Progress } from "../../lib/synth/writer.js";
import { Device } from "../../lib/tensor/tensor.js";
import { expectInvalid, scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { bf16, relativeError } from "../support/numbers.js";
import { bytesOf, logitsOf, openLlmOf, weightsOf } from "./quantized.js";

const folder = scratch();
const tiny = await tinyDirectory(7); // 2 layers of 8 experts and 4 zero experts, of which the router picks 3
const device = await Device.open({ backend: "cpu", threads: 2 });
afterAll(() => device.dispose());

const ids = [1, 300, 512, 77, 801, 450, 9, 600, 601, 333];

const formats: readonly [name: string, options?: QuantizeOptions][] = [
  ["bf16"],
  ["fp8", { format: "fp8" }],
  ["int8 with published names", { format: "int8", group: 32 }],
  ["int4 as of mlx-lm", { format: "int4", group: 32, layout: "mlx" }],
];
/** What sums in f32 may differ by from those in double precision, of the same weights. */
const tolerance = 1e-5;

interface Routed {
  /** Of each token: the layer's input, the ids of its experts, their weights, and the output of all of them together. */
  readonly input: Float32Array;
  readonly picks: Int32Array;
  readonly weights: Float32Array;
  readonly output: Float32Array;
}

/** What the experts' branch of a layer does in a model. */
async function routedOf(directory: string, layer: number): Promise<Routed> {
  using llm = await Llm.open(directory, { device, kvCacheTokens: 256 });
  using sequence = llm.cache.sequence();
  using embeddings = llm.embed(ids);
  const seen = new Map<string, Promise<ArrayLike<number>>>();
  const tap = (name: string, tensor: { read(): Promise<ArrayLike<number>> }) => void seen.set(name, tensor.read());
  using _ = await llm.prefill([{ sequence, embeddings }], { rows: "all", tap: tap as never });
  const read = async <T>(name: string) => (await seen.get(`layer${layer}.${name}`)) as T;
  return {
    input: await read("moe.input"),
    picks: await read("router.ids"),
    weights: await read("router.weights"),
    output: await read("moe.output"),
  };
}

/** The weights of the source that a layer's experts and router have. */
function matrixOf(llm: Checkpoint["llm"], name: string, expert?: number): Float32Array {
  const stack = name.replace("experts", "switch_mlp");
  if (expert !== undefined && llm.tensors.has(stack)) {
    const { shape, values } = weightsOf(llm, stack);
    const size = values.length / shape[0]!;
    return values.slice(expert * size, (expert + 1) * size);
  }
  const found = expert === undefined ? name : name.replace("experts", `experts.${expert}`);
  return weightsOf(llm, found).values;
}

const product = (matrix: Float32Array, x: ArrayLike<number>): number[] => {
  const columns = x.length;
  return Array.from({ length: matrix.length / columns }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += matrix[row * columns + i]! * x[i]!;
    return sum;
  });
};

/**
 * The experts' branch of a layer of the whole model in double precision, in which the router's logits of all experts but
 * the kept ones are masked. Ids are those of the whole model.
 */
function maskedReference(
  llm: Checkpoint["llm"],
  layer: number,
  x: Float32Array,
  { experts, zeroExperts }: { experts: number; zeroExperts: number },
) {
  const { config, tensors } = llm;
  const mlp = `model.layers.${layer}.mlp`;
  const isQuantized = tensors.has(`${mlp}.router.classifier.scales`); // then it is computed with as bf16
  const classifier = matrixOf(llm, `${mlp}.router.classifier.weight`).map(isQuantized ? bf16 : Number);
  const bias = matrixOf(llm, `${mlp}.router.e_score_correction_bias`);
  const { n_routed_experts: routed, moe_topk: topk, routed_scaling_factor: scale } = config;
  const isKept = (e: number) => e < experts || (e >= routed && e < routed + zeroExperts);
  const logits = product(classifier, x).map((logit, e) => (isKept(e) ? logit : Number.NEGATIVE_INFINITY));
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  const scores = exponentials.map((e) => e / sum);
  const biased = scores.map((score, e) => (isKept(e) ? score + bias[e]! : Number.NEGATIVE_INFINITY));
  const picks = [...biased.keys()].sort((a, b) => biased[b]! - biased[a]! || a - b).slice(0, topk);
  const output = new Float64Array(x.length);
  for (const e of picks) {
    const weight = scale * scores[e]!;
    const matrix = (projection: string) => matrixOf(llm, `${mlp}.experts.${projection}.weight`, e);
    const silu = (v: number) => v / (1 + Math.exp(-v));
    const expert = () => {
      const up = product(matrix("up_proj"), x);
      return product(
        matrix("down_proj"),
        product(matrix("gate_proj"), x).map((gate, i) => silu(gate) * up[i]!),
      );
    };
    const y = e < routed ? expert() : x;
    for (let i = 0; i < output.length; i++) output[i]! += weight * y[i]!;
  }
  return { picks, weights: picks.map((e) => scale * scores[e]!), output };
}

describe.each(formats)("%s", (name, options) => {
  const made = options ? join(folder, name) : tiny;
  const whole = (async () => {
    if (options) await quantizeCheckpoint(tiny, made, { ...options, device });
    return openLlmOf(made);
  })();

  const sliceOf = async (options: SliceOptions, suffix: string) => {
    await whole;
    const target = join(folder, `${name}-${suffix}`);
    return { target, result: await sliceCheckpoint(made, target, options) };
  };

  test("all layers and experts give the same tensors and outputs to the bit", async () => {
    const { target } = await sliceOf({}, "all");
    const { tensors, config } = await openLlmOf(target);
    const before = await whole;
    expect(config).toEqual(before.config);
    expect([...tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort());
    for (const [name, entry] of tensors) {
      const other = before.tensors.get(name)!;
      expect([entry.dtype, entry.shape, bytesOf(entry).equals(bytesOf(other))]).toEqual([
        other.dtype,
        other.shape,
        true,
      ]);
    }
    expect(await logitsOf(target, device, ids)).toEqual(await logitsOf(made, device, ids));
  });

  test.each<[SliceOptions & { experts: number; zeroExperts: number }]>([
    [{ layers: 1, experts: 3, zeroExperts: 2 }],
    [{ experts: 5, zeroExperts: 0 }],
    [{ experts: 8, zeroExperts: 1 }],
    [{ layers: 2, experts: 2, zeroExperts: 4 }],
  ])("%o: experts compute what those of the whole layer do whose others are masked", async (sizes) => {
    const { target } = await sliceOf(sizes, Object.values(sizes).join("-"));
    const before = await whole;
    const { experts } = sizes;
    const width = before.config.hidden_size;
    for (let layer = 0; layer < (sizes.layers ?? 2); layer++) {
      const { input, picks, weights, output } = await routedOf(target, layer);
      const used = new Set<number>();
      for (let t = 0; t < ids.length; t++) {
        const want = maskedReference(before, layer, input.slice(t * width, (t + 1) * width), sizes);
        const topk = want.picks.length;
        // A zero expert of the slice follows its own routed experts.
        const found = [...picks.slice(t * topk, (t + 1) * topk)].map((e) => (e < experts ? e : e - experts + 8));
        expect(found).toEqual(want.picks);
        expect(relativeError(weights.slice(t * topk, (t + 1) * topk), want.weights)).toBeLessThan(tolerance);
        expect(relativeError(output.slice(t * width, (t + 1) * width), want.output)).toBeLessThan(tolerance);
        for (const e of found) used.add(e);
      }
      expect(Math.min(...used)).toBeLessThan(8);
      expect(used.size).toBeGreaterThan(3);
    }
  });

  test("the whole model loads and answers", async () => {
    const { target } = await sliceOf({ layers: 1, experts: 2 }, "answers");
    await using model = await OmniModel.load(target, { device, kvCacheTokens: 256, strict: true });
    const events: string[] = [];
    for await (const { type } of model.generate([{ role: "user", content: "Hi" }], { maxTokens: 6 })) events.push(type);
    expect(events).toContain("text");
  });

  test("of the source's tensors, only the kept bytes are read, and once", async () => {
    const before = await whole;
    const read = vi.spyOn(BoundedFile.prototype, "read");
    const { target, result } = await sliceOf({ layers: 1, experts: 2, zeroExperts: 1 }, "read");
    const calls = read.mock.calls.map(([, bytes, what]) => ({ bytes, what }));
    read.mockRestore();
    const kept = await openLlmOf(target);
    const bytes = new Map<string, number>();
    for (const { bytes: n, what } of calls) if (before.tensors.has(what)) bytes.set(what, (bytes.get(what) ?? 0) + n);
    const expected = [...kept.tensors].map(([name, { byteLength }]) => [name, byteLength] as const);
    expect(bytes).toEqual(new Map(expected));
    expect(result.bytes).toBe(expected.reduce((sum, [, n]) => sum + n, 0));
    // All else are headers, the index and configurations.
    const others = calls.filter(({ what }) => !before.tensors.has(what));
    expect(new Set(others.map(({ what }) => what))).toEqual(new Set(["the header length", "the header", "the text"]));
  });
});

test("stacked experts and codes of the router are cut along their first dimension", async () => {
  const source = join(folder, "mlx");
  await quantizeCheckpoint(tiny, source, { format: "int4", group: 32, layout: "mlx", device });
  const target = join(folder, "mlx-cut");
  await sliceCheckpoint(source, target, { layers: 1, experts: 3, zeroExperts: 2 });
  const [before, after] = [await openLlmOf(source), await openLlmOf(target)];
  const rows = (entry: TensorEntry, from: number, to: number) => {
    const row = entry.byteLength / entry.shape[0]!;
    return bytesOf(entry).subarray(from * row, to * row);
  };
  for (const part of ["weight", "scales", "biases"]) {
    const stack = `model.layers.0.mlp.switch_mlp.up_proj.${part}`;
    const [all, kept] = [before.tensors.get(stack)!, after.tensors.get(stack)!];
    expect([all.shape[0], ...kept.shape]).toEqual([8, 3, ...all.shape.slice(1)]);
    expect(bytesOf(kept)).toEqual(rows(all, 0, 3));
    const router = `model.layers.0.mlp.router.classifier.${part}`;
    const [codes, left] = [before.tensors.get(router)!, after.tensors.get(router)!];
    expect([codes.dtype === "u32", codes.shape[0], ...left.shape]).toEqual([
      part === "weight",
      12,
      5,
      ...codes.shape.slice(1),
    ]);
    expect(bytesOf(left)).toEqual(Buffer.concat([rows(codes, 0, 3), rows(codes, 8, 10)]));
  }
  const raw = JSON.parse(readFileSync(join(target, "config.json"), "utf8"));
  const exceptions = (section: object) => Object.keys(section).filter((key) => key.includes("."));
  expect(exceptions(raw.quantization)).toEqual(["model.layers.0.mlp.router.classifier"]);
  expect(raw.quantization_config).toEqual(raw.quantization);
});

test("a model in one file is cut too, and a stack of experts of which shards are absent", async () => {
  const source = join(folder, "one-file");
  mkdirSync(source);
  cpSync(join(tiny, "config.json"), join(source, "config.json"));
  const entries = [...(await openLlmOf(tiny)).tensors.values()];
  const read = (entry: TensorEntry) => [bytesOf(entry)];
  await writeSafetensors(join(source, "model.safetensors"), entries, { format: "pt" }, read, () => {});
  const [cut, sharded] = [join(folder, "one-file-cut"), join(folder, "sharded-cut")];
  await sliceCheckpoint(source, cut, { layers: 1, experts: 2 });
  await sliceCheckpoint(tiny, sharded, { layers: 1, experts: 2 });
  expect(await logitsOf(cut, device, ids)).toEqual(await logitsOf(sharded, device, ids));

  const mlx = join(folder, "mlx-incomplete");
  await quantizeCheckpoint(tiny, mlx, { format: "int4", group: 32, layout: "mlx", device });
  const index = join(mlx, "model.safetensors.index.json");
  const { weight_map } = JSON.parse(readFileSync(index, "utf8")) as { weight_map: Record<string, string> };
  const absent = Object.entries(weight_map).map(([name, shard]) => [
    name,
    /layers\.1\./.test(name) ? "z.safetensors" : shard,
  ]);
  writeFileSync(index, JSON.stringify({ weight_map: Object.fromEntries(absent) }));
  const target = join(folder, "mlx-incomplete-cut");
  await sliceCheckpoint(mlx, target, { layers: 1 });
  await openLlmOf(target);
  await expectInvalid(sliceCheckpoint(mlx, join(folder, "never")), /lacks z\.safetensors; download/);
});

test("no field of the configuration or index speaks of what was cut off, and unused tensors are named", async () => {
  const source = join(folder, "fields");
  mkdirSync(source);
  const { tensors } = await openLlmOf(tiny);
  const unused = ["model.mtp.norm.weight", "model.mtp.layers.0.eh_proj.weight", "model.ngram_embeddings.0.weight"];
  const norm = tensors.get("model.norm.weight")!;
  const entries = [...tensors.values(), ...unused.map((name) => ({ ...norm, name }))];
  await writeShards(source, entries, (entry) => [bytesOf(entry)], new Progress(0));
  const raw = JSON.parse(readFileSync(join(tiny, "config.json"), "utf8"));
  const modules = ["lm_head", "model.layers.0.self_attn.0", "model.layers.1.self_attn.0", "model.mtp.layers.0.eh_proj"];
  const expert = "model.layers.0.mlp.experts";
  const quantization_config = {
    quant_method: "fp8",
    modules_to_not_convert: [...modules, `${expert}.1.up_proj`, `${expert}.2.up_proj`],
  };
  const ngram = { ngram_vocab_size_ratio: 78, emb_neighbor_num: 4, emb_split_num: 4 };
  const fields = { ...raw, num_hidden_layers: 4, num_nextn_predict_layers: 1, ...ngram, quantization_config };
  writeFileSync(join(source, "config.json"), JSON.stringify(fields));
  cpSync(join(tiny, "tokenizer.json"), join(source, "tokenizer.json"));

  const target = join(folder, "fields-cut");
  const result = await sliceCheckpoint(source, target, { layers: 1, experts: 2 });
  expect([...result.unused].sort()).toEqual([...unused].sort());
  const { _files, _slice, ...config } = JSON.parse(readFileSync(join(target, "config.json"), "utf8"));
  const { _files: files, ...kept } = raw;
  expect(config).toEqual({
    ...kept,
    num_layers: 1,
    num_hidden_layers: 2,
    num_nextn_predict_layers: 0,
    n_routed_experts: 2,
    zero_expert_num: 1,
    quantization_config: {
      quant_method: "fp8",
      modules_to_not_convert: ["lm_head", "model.layers.0.self_attn.0", `${expert}.1.up_proj`],
    },
  });
  expect(_slice).toBe("1 of 2 layers, 2 of 8 experts, 1 of 4 zero experts");
  expect(files).toContain("config.json");
  const index = JSON.parse(readFileSync(join(target, "model.safetensors.index.json"), "utf8"));
  const after = (await openLlmOf(target)).tensors;
  expect(Object.keys(index.weight_map).sort()).toEqual([...after.keys()].sort());
  expect(index.metadata).toEqual({ total_size: result.bytes });
});
