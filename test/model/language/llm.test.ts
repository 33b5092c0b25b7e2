import { closeSync, cpSync, openSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseLlmConfig } from "../../../lib/checkpoint/config.js";
import { openCheckpoint } from "../../../lib/checkpoint/directory.js";
import type { KvSequence } from "../../../lib/model/language/kvCache.js";
import type { ForwardOptions, Llm, LlmOptions, PrefillOptions } from "../../../lib/model/language/llm.js";
import { Weights } from "../../../lib/model/weights.js";
import { Device, type Tensor } from "../../../lib/tensor/tensor.js";
import { code } from "../../support/errors.js";
import { settledMemory } from "../../support/garbage.js";
import { allDevices, cuda, devices } from "../../support/modelDevices.js";
import { relativeError } from "../../support/numbers.js";
import { tinyDirectory, tinyLlm } from "../tinyModel.js";

const directory = await tinyDirectory();

/** Ids of the tiny vocabulary, determined by the seed. */
const ids = (count: number, seed = 1) => Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104729) % 1000);

async function read(tensor: Tensor): Promise<Float32Array> {
  const values = await tensor.toFloat32Array();
  tensor.dispose();
  return values;
}

/** Prefills prompts together and returns the hidden states of all rows. */
async function prefill(llm: Llm, prompts: readonly number[][], sequences: KvSequence[], chunk = 512) {
  const extensions = prompts.map((prompt, i) => ({ sequence: sequences[i]!, embeddings: llm.embed(prompt) }));
  const hidden = await read(await llm.prefill(extensions, { rows: "all", chunk }));
  for (const { embeddings } of extensions) embeddings.dispose();
  return hidden;
}

async function decode(llm: Llm, sequences: KvSequence[], tokens: readonly number[]): Promise<Float32Array> {
  using x = llm.embed(tokens);
  return read(llm.decode(sequences, x));
}

/** Runs one sequence alone; returns the hidden states of its prompt, then of each decoded token. */
async function alone(llm: Llm, prompt: number[], decoded: number[]): Promise<Float32Array[]> {
  using sequence = llm.cache.sequence();
  const results = [await prefill(llm, [prompt], [sequence])];
  for (const id of decoded) results.push(await decode(llm, [sequence], [id]));
  return results;
}

describe.each(allDevices)("Llm on $name", (device) => {
  let llm: Llm;
  beforeAll(async () => {
    llm = await tinyLlm(device, directory);
  });
  afterAll(() => llm.dispose());
  const width = () => llm.config.hidden_size;

  test("a prompt in chunks gives the bits of the whole prompt", async () => {
    const prompt = ids(200);
    const whole = await prefill(llm, [prompt], [llm.cache.sequence()]);
    for (const chunk of device.virtual ? [7, 199] : [1, 7, 64, 199]) {
      using sequence = llm.cache.sequence();
      expect(await prefill(llm, [prompt], [sequence], chunk)).toEqual(whole);
    }
  });

  test("decoding token by token equals prefilling all tokens at once", async () => {
    const prompt = ids(90);
    const [first, ...rest] = await alone(llm, prompt.slice(0, 60), prompt.slice(60));
    using sequence = llm.cache.sequence();
    const whole = await prefill(llm, [prompt], [sequence]);
    expect(first).toEqual(whole.slice(0, 60 * width()));
    const decoded = Float32Array.from(rest.flatMap((row) => [...row]));
    expect(relativeError(decoded, whole.slice(60 * width()))).toBeLessThan(1e-5);
  });

  test("a sequence has the same bits alone and in a batch", async () => {
    const prompts = [ids(70, 1), ids(1, 2), ids(130, 3), ids(20, 4)];
    const next = [5, 6, 7];
    const expected = await Promise.all(prompts.map((prompt) => alone(llm, prompt, next)));
    const sequences = prompts.map(() => llm.cache.sequence());
    const hidden = await prefill(llm, prompts, sequences, 50);
    expect(hidden).toEqual(Float32Array.from(expected.flatMap(([prompt]) => [...prompt!])));
    for (const [step, id] of next.entries()) {
      const rows = await decode(
        llm,
        sequences,
        prompts.map(() => id),
      );
      for (const [i, results] of expected.entries())
        expect(rows.slice(i * width(), (i + 1) * width())).toEqual(results[step + 1]);
    }
    for (const sequence of sequences) sequence.dispose();
  });

  test("gives the event loop a turn after each matrix of experts while it loads", async () => {
    const settle = vi.spyOn(Weights.prototype, "settle");
    using model = await tinyLlm(device, directory);
    expect(settle.mock.calls.length).toBeGreaterThanOrEqual(4 * model.config.num_layers);
    settle.mockRestore();
  });

  test("the last rows are the last of all rows", async () => {
    const prompts = [ids(70, 1), ids(30, 2)];
    const sequences = [0, 1, 2, 3].map(() => llm.cache.sequence());
    const all = await prefill(llm, prompts, sequences.slice(0, 2));
    const extensions = prompts.map((prompt, i) => ({ sequence: sequences[2 + i]!, embeddings: llm.embed(prompt) }));
    const last = await read(await llm.prefill(extensions, { chunk: 64 }));
    const row = (i: number) => [...all.slice(i * width(), (i + 1) * width())];
    expect([...last]).toEqual([...row(69), ...row(99)]);
    for (const sequence of sequences) sequence.dispose();
  });

  test("steps replayed from graphs have the bits of direct calls", async () => {
    const [called, replayed] = await Promise.all(
      [false, true].map((decodeGraphs) => tinyLlm(device, directory, { decodeGraphs, kvCacheTokens: 2048 })),
    );
    // Batches of one to three sequences in turn; the block tables grow.
    const run = async (model: Llm) => {
      const sequences = [60, 120, 1, 30].map(() => model.cache.sequence());
      await prefill(model, [ids(60), ids(120, 2), ids(1, 3), ids(30, 4)], sequences);
      const hidden: number[] = [];
      for (let step = 0; step < 12; step++) {
        const batch = sequences.slice(step % 3, (step % 3) + 1 + (step % 2));
        const tokens = batch.map((_, i) => 10 * step + i);
        const unread = () => model.decode(batch, model.embed(tokens)); // captures the graphs, on a second stream
        model.device.scope(() => model.device.fork(unread));
        hidden.push(...(await decode(model, batch, tokens)));
      }
      return hidden;
    };
    expect(await run(replayed!)).toEqual(await run(called!));
    for (const model of [called!, replayed!]) model.dispose();
  });

  test.each(["f32", "bf16"] as const)(
    "rows of %s computed again in mode decode have the bits of steps",
    async (activations) => {
      const model = await tinyLlm(device, directory, { activations });
      const prompts = [ids(60), ids(5, 2)];
      const tokens = device.virtual ? [ids(9, 3), ids(3, 4)] : [ids(70, 3), ids(30, 4)];
      const expected = await Promise.all(prompts.map((prompt, i) => alone(model, prompt, [...tokens[i]!, 8])));
      const sequences = prompts.map(() => model.cache.sequence());
      await prefill(model, prompts, sequences);
      const extensions = sequences.map((sequence, i) => ({ sequence, embeddings: model.embed(tokens[i]!) }));
      const again = await read(await model.prefill(extensions, { mode: "decode", rows: "all", chunk: 40 }));
      const rows = expected.flatMap(([, ...steps]) => steps.slice(0, -1).flatMap((row) => [...row]));
      expect(again).toEqual(Float32Array.from(rows));
      const next = await decode(model, sequences, [8, 8]);
      expect(next).toEqual(Float32Array.from(expected.flatMap((results) => [...results.at(-1)!])));
      model.dispose();
    },
  );

  test("after a rollback, decoding continues as if the removed tokens had never been", async () => {
    const prompt = ids(100);
    const expected = await alone(llm, prompt, [8]);
    using sequence = llm.cache.sequence();
    await prefill(llm, [prompt], [sequence]);
    await prefill(llm, [ids(90, 9)], [sequence]);
    sequence.truncate(100);
    expect(await decode(llm, [sequence], [8])).toEqual(expected[1]);
  });

  test.each([false, true])("a failed step does not affect other sequences, with graphs: %s", async (decodeGraphs) => {
    const model = await tinyLlm(device, directory, { decodeGraphs });
    const [prompt, next] = [ids(50), 3];
    const [, expected] = await alone(model, prompt, [next]);
    using sequence = model.cache.sequence();
    using other = model.cache.sequence();
    await prefill(model, [prompt, ids(70, 2)], [sequence, other]);
    const bad = 1024; // outside the vocabulary
    await expect(decode(model, [sequence, other], [next, bad])).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    await expect(decode(model, [sequence], [next])).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    model.recover();
    sequence.truncate(prompt.length);
    expect(await decode(model, [sequence], [next])).toEqual(expected);
    model.dispose();
  });

  test("bf16 activations stay close to f32", async () => {
    const narrow = await tinyLlm(device, directory, { activations: "bf16" });
    const prompt = ids(40);
    using sequence = llm.cache.sequence();
    using other = narrow.cache.sequence();
    const expected = await prefill(llm, [prompt], [sequence]);
    // A token with two nearly equal router scores may pick another expert; most tokens do not.
    const actual = await prefill(narrow, [prompt], [other]);
    expect(relativeError(actual, expected)).toBeLessThan(0.2);
    narrow.dispose();
  });
});

test.skipIf(!cuda)("a step that failed for lack of GPU memory can be repeated later", async () => {
  const device = await Device.open({ backend: "cuda", memoryLimit: 4 << 20 });
  const model = await tinyLlm(device, directory);
  const [prompt, next] = [ids(20), 3];
  const [, expected] = await alone(model, prompt, [next]);
  using sequence = model.cache.sequence();
  await prefill(model, [prompt], [sequence]);
  model.recover(); // drops the captured graph and its memory
  const held: Tensor[] = [];
  const fill = async (elements: number) => {
    for (;;) await held[held.push(device.zeros([elements])) - 1]!.ready();
  };
  for (const elements of [1 << 13, 1 << 10, 1 << 7])
    await expect(fill(elements)).rejects.toThrowError(code("OUT_OF_MEMORY"));
  await expect(decode(model, [sequence], [next])).rejects.toThrowError(code("OUT_OF_MEMORY"));
  model.recover();
  sequence.truncate(prompt.length);
  for (const tensor of held) tensor.dispose();
  expect(await decode(model, [sequence], [next])).toEqual(expected);
  model.dispose();
  device.dispose();
});

describe("Llm", () => {
  const device = devices.at(-1)!;
  let llm: Llm;
  beforeAll(async () => {
    llm = await tinyLlm(device, directory);
  });
  afterAll(() => llm.dispose());

  test("with only zero experts picked, the experts' output is the scaled input, scaling included or not", async () => {
    const biased = `${directory}-zero`;
    cpSync(directory, biased, { recursive: true });
    const { llm: source } = await openCheckpoint(biased);
    const { n_routed_experts: experts, zero_expert_num: zeros } = source.config;
    for (const entry of source.tensors.values()) {
      if (!entry.name.endsWith("e_score_correction_bias")) continue;
      const file = openSync(entry.file, "r+");
      writeSync(file, new Uint8Array(new Float32Array(experts).fill(-10).buffer), 0, 4 * experts, entry.offset);
      closeSync(file);
    }
    const weightsOfFirstLayer: number[][] = [];
    for (const scale_zero_experts of [true, false]) {
      const config = parseLlmConfig({ ...source.config, scale_zero_experts }, "config.json");
      const written = await openCheckpoint(biased); // again, since its file has changed
      const model = await tinyLlm(device, { ...written, llm: { ...written.llm, config } });
      const seen = new Map<string, Promise<ArrayLike<number>>>();
      using sequence = model.cache.sequence();
      const tap = (name: string, tensor: Tensor) =>
        void seen.set(name, tensor.dtype === "i32" ? tensor.read() : tensor.toFloat32Array());
      await model.prefill([{ sequence, embeddings: model.embed(ids(20)) }], { tap });
      for (const layer of [0, 1]) {
        const get = async (name: string) => Array.from(await seen.get(`layer${layer}.${name}`)!);
        const [picks, weights, input, output] = await Promise.all(
          ["router.ids", "router.weights", "moe.input", "moe.output"].map(get),
        );
        expect(picks!.every((id) => id >= experts && id < experts + zeros)).toBe(true);
        const k = picks!.length / 20;
        const scale = (row: number) => weights!.slice(row * k, (row + 1) * k).reduce((sum, w) => sum + w, 0);
        const expected = input!.map((u, i) => u * scale(Math.floor(i / model.config.hidden_size)));
        expect(relativeError(output!, expected)).toBeLessThan(1e-6);
        if (layer === 0) weightsOfFirstLayer.push(weights!);
      }
      model.dispose();
    }
    const [scaled, unscaled] = weightsOfFirstLayer;
    const byFactor = unscaled!.map((w) => w * source.config.routed_scaling_factor);
    expect(relativeError(scaled!, byFactor)).toBeLessThan(1e-6);
  });

  test("the epsilon of the norms inside the attention comes from the config", async () => {
    const checkpoint = await openCheckpoint(directory);
    const hidden: Float32Array[] = [];
    for (const extra of [{}, { lora_norm_eps: 1e-6 }, { lora_norm_eps: 0.5 }]) {
      const config = parseLlmConfig({ ...checkpoint.llm.config, ...extra }, "config.json");
      const model = await tinyLlm(device, { ...checkpoint, llm: { ...checkpoint.llm, config } });
      hidden.push(await prefill(model, [ids(20)], [model.cache.sequence()]));
      model.dispose();
    }
    const [byDefault, published, other] = hidden;
    expect(published).toEqual(byDefault);
    expect(relativeError(other!, byDefault!)).toBeGreaterThan(1e-3);
  });

  test("refuses unknown options", async () => {
    const misspelt = { kvCacheToken: 64 } as LlmOptions;
    await expect(tinyLlm(device, directory, misspelt)).rejects.toThrowError(/Llm.load .* mean "kvCacheTokens"/);
    await expect(llm.prefill([], { chnk: 8 } as PrefillOptions)).rejects.toThrowError(/Llm.prefill .* mean "chunk"/);
    await expect(llm.forward([], { row: "all" } as ForwardOptions)).rejects.toThrowError(/Llm.forward .* mean "rows"/);
  });

  test.each([
    { kvCacheTokens: 0 },
    { kvCacheTokens: -64 },
    { kvCacheTokens: Number.NaN },
    { kvCacheTokens: 1.5 },
    { kvCacheTokens: "64" },
    { activations: "f16" },
    { decodeGraphs: "no" },
  ])("refuses options out of range: %o", async (options) => {
    await expect(tinyLlm(device, directory, options as LlmOptions)).rejects.toThrowError(code("INVALID_ARGUMENT"));
  });

  test("refuses options of a pass that are out of range, and a sequence that occurs twice", async () => {
    using sequence = llm.cache.sequence();
    using embeddings = llm.embed([1, 2]);
    for (const options of [{ rows: "first" }, { mode: "train" }, { chunk: 0.5 }, { chunk: Number.NaN }]) {
      const pass = llm.prefill([{ sequence, embeddings }], options as unknown as PrefillOptions);
      await expect(pass).rejects.toThrowError(code("INVALID_ARGUMENT"));
    }
    expect(() => llm.decode([sequence, sequence], embeddings)).toThrowError(code("INVALID_ARGUMENT"));
    expect(sequence.length).toBe(0);
  });

  test("an abort between layers leaves sequences and cache as they were", async () => {
    using sequence = llm.cache.sequence();
    await prefill(llm, [ids(10)], [sequence]);
    const free = llm.cache.freeTokens;
    const abort = new AbortController();
    const embeddings = llm.embed(ids(300));
    const pending = llm.prefill([{ sequence, embeddings }], { signal: abort.signal, chunk: 100 });
    abort.abort();
    await expect(pending).rejects.toThrowError(code("ABORTED"));
    expect([sequence.length, llm.cache.freeTokens]).toEqual([10, free]);
    await expect(llm.prefill([{ sequence, embeddings }], { signal: abort.signal })).rejects.toThrowError(
      code("ABORTED"),
    );
    const expected = await alone(llm, ids(10), [3]);
    expect(await decode(llm, [sequence], [3])).toEqual(expected[1]);
  });

  test("a sequence disposed during a prefill returns its blocks at its end", async () => {
    const free = llm.cache.freeTokens;
    const sequence = llm.cache.sequence();
    const pending = llm.prefill([{ sequence, embeddings: llm.embed(ids(100)) }], {
      signal: new AbortController().signal,
    });
    sequence.dispose();
    await pending;
    expect(llm.cache.freeTokens).toBe(free);
  });

  test("bad extensions are refused before anything runs", async () => {
    using sequence = llm.cache.sequence();
    const hidden = llm.config.hidden_size;
    const attempt = (embeddings: Tensor, options = {}) => llm.prefill([{ sequence, embeddings }], options);
    await expect(attempt(device.zeros([0, hidden]))).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(attempt(device.zeros([3, hidden + 1]))).rejects.toThrowError(code("SHAPE_MISMATCH"));
    await expect(attempt(device.zeros([3, hidden], "bf16"))).rejects.toThrowError(code("DTYPE_MISMATCH"));
    await expect(attempt(device.zeros([8193, hidden]))).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(attempt(device.zeros([1025, hidden]))).rejects.toThrowError(code("OUT_OF_MEMORY"));
    await expect(attempt(device.zeros([3, hidden]), { chunk: 0 })).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(llm.prefill([])).rejects.toThrowError(code("INVALID_ARGUMENT"));
    const twice = { sequence, embeddings: device.zeros([1, hidden]) };
    await expect(llm.prefill([twice, twice])).rejects.toThrowError(code("INVALID_ARGUMENT"));
    expect(() => llm.decode([sequence], device.zeros([2, hidden]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(sequence.length).toBe(0);
  });

  test("an id outside the vocabulary surfaces when the result is read", async () => {
    using rows = llm.embed([5, 1024]);
    await expect(rows.toFloat32Array()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });

  test("prefills and steps free their memory", async () => {
    const step = async () => {
      using sequence = llm.cache.sequence();
      await prefill(llm, [ids(50)], [sequence], 16);
      await decode(llm, [sequence], [1]);
    };
    await step();
    const before = await settledMemory(device);
    for (let i = 0; i < 5; i++) await step();
    expect(await settledMemory(device)).toBe(before);
  });
});
