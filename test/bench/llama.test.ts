import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findLlamaCpp, loadLlamaCpp } from "../../bench/llama/binding.js";
import { f16, randomContents } from "../../bench/llama/blocks.js";
import type { ComparedMemory, ComparedTime } from "../../bench/llama/compare.js";
import { equalWorkModel, type PeerWeights } from "../../bench/llama/deepseek2.js";
import { ggmlTypes, ggufBytes, writeGguf } from "../../bench/llama/gguf.js";
import { timeResult, timeWarnings, usedPerToken } from "../../bench/llama/report.js";
import { describeWork, type Pair, pairs, select, works } from "../../bench/llama/rows.js";
import { samplesOf } from "../../bench/llama/samples.js";
import { usedByCaracal, usedByLlamaCpp } from "../../bench/llama/work.js";
import { elementCount } from "../../lib/checkpoint/entry.js";
import { preset } from "../../lib/synth/presets.js";
import { Device } from "../../lib/tensor/tensor.js";
import { scratch } from "../checkpoint/files.js";

const folder = scratch();
const peer = findLlamaCpp();

test("both models use the same weights per token, but for what only LongCat's router has", () => {
  for (const { preset: name, theirs } of pairs) {
    const { llm } = preset(name);
    const { n_routed_experts: experts, zero_expert_num: zero, hidden_size: hidden, num_layers: layers } = llm;
    const router = layers * (experts + zero + zero * hidden); // correction biases, rows of zero experts
    const [ours, peers] = [usedByCaracal(llm, 2), usedByLlamaCpp(llm, equalWorkModel(llm, theirs))];
    expect(ours.parameters - peers.parameters, name).toBeCloseTo(router, 3);
    expect(router / ours.parameters).toBeLessThan(0.001);
  }
});

test("a token of the full width uses as many bytes as its format says", () => {
  const gigabytes = (ours: string, theirs: PeerWeights) => {
    const pair = pairs.find((p) => p.preset === "peer-layer" && p.ours.name === ours && p.theirs === theirs)!;
    const used = usedPerToken(pair);
    return [used.ours.bytes / 1e9, used.theirs.bytes / 1e9];
  };
  const [bf16, peerBf16] = gigabytes("bf16", "bf16");
  expect(bf16).toBeCloseTo(1.887, 3); // 936 M weights, and 7 M of the head
  expect(peerBf16).toBeCloseTo(1.887, 3);
  const [fp8, q8] = gigabytes("fp8", "q8_0");
  expect(fp8! / bf16!).toBeCloseTo(0.5, 1);
  expect(q8! / peerBf16!).toBeCloseTo(34 / 64, 2);
});

test("more rows use more experts, up to all", () => {
  const { llm } = preset("peer-layer");
  const used = (rows: number) => usedByCaracal(llm, 2, rows).parameters;
  const expert = 3 * llm.hidden_size * llm.expert_ffn_hidden_size;
  expect(used(2) - used(1)).toBeCloseTo(expert * (24 * (1 - (2 / 3) ** 2) - 8), -1);
  expect(used(1000) - used(1)).toBeCloseTo(expert * 16, -1);
});

/** The numbers that ggml reads: dequantize_row_… in ggml-quants.c. */
const decoders: Readonly<Record<string, (block: Buffer) => number[]>> = {
  q8_0: (b) => Array.from({ length: 32 }, (_, i) => fromF16(b.readUInt16LE(0)) * b.readInt8(2 + i)),
  q4_0(b) {
    const nibble = (i: number) => (i < 16 ? b[2 + i]! & 15 : b[2 + i - 16]! >> 4);
    return Array.from({ length: 32 }, (_, i) => fromF16(b.readUInt16LE(0)) * (nibble(i) - 8));
  },
  q4_k(b) {
    const q = b.subarray(4, 16);
    const scaleAndMin = (j: number) =>
      j < 4
        ? [q[j]! & 63, q[j + 4]! & 63]
        : [(q[j + 4]! & 15) | ((q[j - 4]! >> 6) << 4), (q[j + 4]! >> 4) | ((q[j]! >> 6) << 4)];
    return Array.from({ length: 256 }, (_, i) => {
      const [group, byte] = [Math.floor(i / 32), b[16 + 32 * Math.floor(i / 64) + (i % 32)]!];
      const [scale, min] = scaleAndMin(group) as [number, number];
      const nibble = group % 2 ? byte >> 4 : byte & 15;
      return fromF16(b.readUInt16LE(0)) * scale * nibble - fromF16(b.readUInt16LE(2)) * min;
    });
  },
};

function fromF16(bits: number): number {
  const [exponent, fraction] = [bits >> 10, bits & 1023];
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}

test.each(["q8_0", "q4_0", "q4_k"] as const)("%s blocks hold the same normal values as f32", (type) => {
  const std = 0.01;
  const bytes = (type: "f32" | "q8_0" | "q4_0" | "q4_k") => {
    const tensor = { name: "w", shape: [256, 64], type, std };
    const all = Buffer.concat([...randomContents()(tensor)]);
    expect(all).toHaveLength(ggufBytes(tensor));
    return all;
  };
  const exact = new Float32Array(Uint8Array.from(bytes("f32")).buffer);
  const blocks = bytes(type);
  const size = ggmlTypes[type].bytes;
  const decoded = Array.from({ length: blocks.length / size }, (_, i) =>
    decoders[type]!(blocks.subarray(i * size, (i + 1) * size)),
  ).flat();
  // An f16 scale may be off by 2^-11, which is a 20th of a step for the largest i8.
  const step = std * (type === "q8_0" ? 1 / 40 : 0.35);
  const far = decoded.filter((v, i) => Math.abs(v - exact[i]!) > 0.56 * step && Math.abs(exact[i]!) < 2.4 * std);
  expect(decoded).toHaveLength(exact.length);
  expect(far).toEqual([]);
});

test("f16 rounds to the nearest, also below the normal numbers", () => {
  for (const value of [0, 1, 1.5, 65504, 0.1, 2 ** -14, 3 * 2 ** -24, 6.1e-5, 2047.9 / 1024]) {
    const error = Math.abs(fromF16(f16(value)) - value);
    expect(error, String(value)).toBeLessThanOrEqual(Math.max(value * 2 ** -11, 2 ** -25));
  }
});

test.skipIf(!peer).each(["bf16", "q8_0", "q4_0", "q4_k"] as const)("llama.cpp loads %s and computes", async (type) => {
  const { llm } = preset("tiny");
  // Rows must be whole blocks: of 32 values, or of 256 for q4_k, which narrower matrices do not use.
  const { metadata, tensors } = equalWorkModel(
    {
      ...llm,
      hidden_size: 256,
      ffn_hidden_size: 512,
      expert_ffn_hidden_size: 256,
      kv_lora_rank: 32,
      qk_nope_head_dim: 32,
    },
    type,
  );
  const file = join(folder, `${type}.gguf`);
  await writeGguf(file, metadata, tensors, randomContents());
  expect(tensors.map((tensor) => tensor.type)).toContain(type);
  const llama = await loadLlamaCpp();
  const model = new llama.AddonModel(file, { gpuLayers: 0, useMmap: true });
  expect(await model.init()).toBe(true);
  onTestFinished(() => model.dispose());
  expect(model.getTotalParameters()).toBe(tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0));
  const bytes = tensors.reduce((sum, tensor) => sum + ggufBytes(tensor), 0);
  expect(model.getTotalSize()).toBe(bytes);
  expect(statSync(file).size).toBeGreaterThan(bytes);
  const context = new llama.AddonContext(model, {
    contextSize: 256,
    sequences: 1,
    batchSize: 8,
    threads: 1,
    flashAttention: true,
  });
  expect(await context.init()).toBe(true);
  onTestFinished(() => context.dispose());
  context.initBatch(8);
  const rows = Uint32Array.from({ length: 8 }, (_, i) => i);
  expect(
    context.addToBatch(
      0,
      0,
      rows.map((row) => 300 + row),
      rows,
    ),
  ).toEqual(rows); // logits of all rows
  await context.decodeBatch();
});

test.skipIf(!peer)("both engines run every work, in turns", async () => {
  // The engines' processes run the compiled files.
  const dist = (name: string) => import(new URL(`../../dist/bench/llama/${name}.js`, import.meta.url).href);
  const { compare, comparedCount } = (await dist("compare")) as typeof import("../../bench/llama/compare.js");
  const { ModelFolder } = (await dist("models")) as typeof import("../../bench/llama/models.js");
  const pair: Pair = { ...pairs[0]!, preset: "tiny" };
  const short = works.filter((work) => describeWork(work) !== "prefill 512");
  const selection = [{ pair, works: short, loads: true }];
  const device = await Device.open({ backend: "cpu", threads: 1 });
  onTestFinished(() => device.dispose());
  const meter = { measure: async () => {} } as never;
  const models = await ModelFolder.open(folder);
  const signal = new AbortController().signal;
  const results = [];
  for await (const result of compare(selection, { threads: 1, rounds: 2, models, meter, signal })) results.push(result);
  expect(results).toHaveLength(comparedCount(selection));
  const names = ["load", "load and pack", "load, again", ...short.map(describeWork), "memory"];
  expect(results.map(({ name }) => name)).toEqual(names);
  for (const { name, ours, theirs } of results.slice(0, -1) as ComparedTime[])
    for (const { wall, cpu } of [ours, theirs]) {
      expect(wall.all.length, name).toBeGreaterThanOrEqual(name === "load and pack" ? 1 : 2);
      expect(wall.all).toHaveLength(cpu.all.length);
      expect(wall.median).toBeGreaterThanOrEqual(wall.best);
      expect(wall.best).toBeGreaterThan(0);
    }
  const { ours, theirs } = results.at(-1) as ComparedMemory;
  for (const { loaded, end } of [ours, theirs]) {
    expect(loaded.anonymous).toBeGreaterThan(1e6);
    expect(loaded.now).toBeGreaterThan(loaded.anonymous);
    expect(end.peak).toBeGreaterThanOrEqual(loaded.now);
  }
});

test("a filter selects models and work", () => {
  const all = select(undefined);
  expect(all.map(({ pair }) => pair)).toEqual(pairs);
  expect(all.every(({ loads }) => loads)).toBe(true);
  expect(select(/fp8:q8_0 decode batch 1/)).toEqual([
    {
      pair: pairs.find(({ theirs }) => theirs === "q8_0"),
      loads: false,
      works: works.filter((w) => /batch 1/.test(describeWork(w))),
    },
  ]);
  expect(() => select(/nothing/)).toThrow(/^--filter nothing matches nothing\. There are peer-layer bf16:bf16, /);
});

test("contexts only grow from work to work, since llama.cpp computes them", () => {
  const contexts = works.map((work) => (work.kind === "decode" ? work.context : 0));
  expect(contexts).toEqual([...contexts].sort((a, b) => a - b));
});

test("a result beside its limit, and what a reader must know", () => {
  const peak = (best: number) => ({ best, lowest: best });
  const peaks = { measurements: 1, fmaGflops: peak(200), matrixGflops: peak(200), readGBps: peak(30) };
  const time = (best: number) => ({ wall: samplesOf([best, 2 * best]), cpu: samplesOf([best]) });
  const result = (name: string, best: number, others: number) => {
    const work = works.find((work) => describeWork(work) === name)!;
    return timeResult({ pair: pairs[0]!, work, name, ours: time(best), theirs: time(3 * best), others }, peaks);
  };
  const decode = result("decode batch 1 context 16", 100, 0.2);
  expect(decode).toMatchObject({ limit: "read", ratio: { best: 3, median: 3 } });
  expect(decode.ofLimit).toBeCloseTo(1.887 / 30 / 0.1, 3);
  const prefill = result("prefill 512", 9000, 0);
  expect(prefill.limit).toBe("FMA");
  expect(prefill.ofLimit).toBeCloseTo((2 * 0.9435 * 512) / 200 / 9, 3);
  expect(timeWarnings([prefill], peaks, 2)).toEqual([]);
  expect(timeWarnings([prefill, decode], peaks, 2)).toEqual([
    expect.stringMatching(
      /more than 5 % of the cores during 1 of 2 results, at most 20 %: llama\.cpp's threads .* --threads 1/,
    ),
  ]);
  expect(timeWarnings([decode], peaks, 1)).toEqual([expect.stringMatching(/at most 20 %: compare the CPU times/)]);
  expect(timeWarnings([result("prefill 64", 1, 0)], peaks, 2)).toEqual([expect.stringMatching(/exceed 100 %/)]);
});

test("samples", () => {
  expect(samplesOf([3, 1, 2])).toEqual({ best: 1, median: 2, all: [3, 1, 2] });
  expect(samplesOf([4, 1, 2, 3]).median).toBe(2.5);
});
