// Every module's `open` reads only its own files of a model directory, and gives the module that the whole model has.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../lib/checkpoint/directory.js";
import { inspectPath } from "../../lib/checkpoint/inspect.js";
import { loadAudio } from "../../lib/media/audio.js";
import { loadImage } from "../../lib/media/image.js";
import { openVideo } from "../../lib/media/video.js";
import { AudioEncoder } from "../../lib/model/audio/encoder.js";
import { AudioFeatures } from "../../lib/model/audio/features.js";
import { Llm } from "../../lib/model/language/llm.js";
import { OmniModel } from "../../lib/model/omni.js";
import { OmniEmbedding } from "../../lib/model/prompt/embedding.js";
import { OmniTokenizer } from "../../lib/model/prompt/tokenizer.js";
import { SpeechDecoder } from "../../lib/model/speech/decoder.js";
import { AudioHeads } from "../../lib/model/speech/heads.js";
import { VisionEncoder } from "../../lib/model/vision/encoder.js";
import type { LoadProgress } from "../../lib/model/weightSource.js";
import type { OpenModuleOptions } from "../../lib/model/weights.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";
import { settledMemory } from "../support/garbage.js";
import { devices } from "../support/modelDevices.js";
import { randomArray } from "../support/numbers.js";
import { tinyDirectory } from "./tinyModel.js";

const device = devices.at(-1)!;
const directory = await tinyDirectory(3);
const llmFiles = ["config.json", "model.safetensors.index.json", /^model-.*\.safetensors$/];
const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json"];

/** A directory with these files of the checkpoint and no others. */
function only(name: string, files: readonly (string | RegExp)[]): string {
  const target = `${directory}-${name}`;
  for (const file of files) {
    if (typeof file === "string") {
      mkdirSync(dirname(join(target, file)), { recursive: true });
      cpSync(join(directory, file), join(target, file), { recursive: true });
    } else {
      const filter = (source: string) => source === directory || file.test(source.slice(directory.length + 1));
      cpSync(directory, target, { recursive: true, filter });
    }
  }
  return target;
}

async function read(tensor: Tensor | undefined): Promise<number[]> {
  const values = [...(await tensor!.toFloat32Array())];
  tensor!.dispose();
  return values;
}

/** Opens a module, checks its progress, computes with it, and disposes it. */
async function used<T extends Disposable>(
  open: (options: OpenModuleOptions) => Promise<T>,
  use: (module: T) => Promise<unknown>,
): Promise<unknown> {
  const seen: LoadProgress[] = [];
  using module = await open({ device, onProgress: (progress) => seen.push(progress) });
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.at(-1)!.loaded).toBeGreaterThan(0);
  expect(seen.every(({ loaded, total }) => loaded <= total)).toBe(true);
  return await use(module);
}

let model: OmniModel;
beforeAll(async () => {
  model = await OmniModel.load(directory, { device, kvCacheTokens: 256 });
});
afterAll(() => model.dispose());

const samples = randomArray(16000, 1, 0.3);
const image = { width: 100, height: 60, data: Uint8Array.from(randomArray(18000, 2), (x) => 128 * (x + 1)) };
const ids = [5, 900, 77];

describe("open", () => {
  test("Llm reads config.json and the shards", async () => {
    const use = async (llm: Llm) => {
      using sequence = llm.cache.sequence();
      using embeddings = llm.embed(ids);
      using hidden = await llm.prefill([{ sequence, embeddings }]);
      return read(llm.logits(hidden));
    };
    const source = only("llm", llmFiles);
    const logits = await used((options) => Llm.open(source, { ...options, kvCacheTokens: 64 }), use);
    expect(logits).toEqual(await use(model.llm));
  });

  test("VisionEncoder reads vision/", async () => {
    const use = async (vision: VisionEncoder) => read((await vision.encodeImages([image]))[0]!.tokens);
    const source = only("vision", ["vision"]);
    expect(await used((options) => VisionEncoder.open(source, options), use)).toEqual(await use(model.vision));
    using narrow = await VisionEncoder.open(source, { device, activations: "bf16" });
    expect(narrow.activations).toBe("bf16");
  });

  const audioFiles = ["audio/preprocessor_config.json", "audio/global_cmvn"];
  test("AudioEncoder reads its files in audio/", async () => {
    const use = (encoder: AudioEncoder) => read(encoder.encodeSamples(samples));
    const own = ["config.json", "audio_encoder.pt", "audio_projector.pt"].map((file) => `audio/${file}`);
    const source = only("audio", [...audioFiles, ...own]);
    expect(await used((options) => AudioEncoder.open(source, options), use)).toEqual(await use(model.audioEncoder));
  });

  test("AudioFeatures reads the front end's configuration and normalisation", async () => {
    using features = await AudioFeatures.open(only("features", audioFiles), { device });
    expect(await read(features.extract(samples))).toEqual(await read(model.audioEncoder.features!.extract(samples)));
  });

  test("SpeechDecoder reads audio_codec/", async () => {
    const frames = [0, 1, 2, 3].map((t) => [t, 2 * t, 3 * t, 4 * t]);
    const use = async (decoder: SpeechDecoder) => [...(await decoder.decode(frames))];
    const source = only("codec", ["audio_codec"]);
    expect(await used((options) => SpeechDecoder.open(source, options), use)).toEqual(await use(model.speechDecoder));
  });

  const headFiles = ["audio/audio_output_layers.pt", "audio_codec/config.yaml"];
  test("AudioHeads reads its file and the codec's configuration", async () => {
    const rows = 20;
    const hidden = device.tensor(randomArray(rows * model.llm.config.hidden_size, 4), [
      rows,
      model.llm.config.hidden_size,
    ]);
    const histories = Array.from({ length: model.audioHeads.books }, () => Array.from({ length: rows }, () => []));
    const use = (heads: AudioHeads) => Promise.all(heads.step(hidden, histories).map(read));
    const source = only("heads", headFiles);
    const chosen = await used((options) => AudioHeads.open(source, options), use);
    expect(chosen).toEqual(await use(model.audioHeads));
    const codes = 32 + model.speechDecoder.config.codec_codebook_size ** 2;
    expect(
      (chosen as number[][])
        .slice(1)
        .flat()
        .every((id) => id >= 32 && id < codes),
    ).toBe(true);
    hidden.dispose();
  });

  test("AudioHeads reads the last ids of a history, however long it is", async () => {
    const { books, device } = model.audioHeads;
    using hidden = device.tensor(randomArray(model.llm.config.hidden_size, 5), [1, model.llm.config.hidden_size]);
    let reads = 0;
    const counted = (ids: number[]) =>
      new Proxy(ids, {
        get(target, key) {
          if (typeof key === "string" && /^[0-9]+$/.test(key)) reads++;
          return Reflect.get(target, key);
        },
      });
    const step = (histories: (readonly number[])[]) =>
      Promise.all(
        model.audioHeads
          .step(
            hidden,
            histories.map((ids) => [ids]),
          )
          .map(read),
      );
    const first = (await step(Array(books).fill([]))).map((ids) => ids[0]!);
    const histories = first.map((id) => Array<number>(10_000).fill(id));
    const chosen = await step(histories.map(counted));
    expect(reads).toBe(30 * books);
    expect(chosen).not.toEqual(first.map((id) => [id]));
    expect(await step(histories.map((ids) => ids.slice(-30)))).toEqual(chosen);
    const typed = histories.map((ids) => Int32Array.from(ids) as unknown as number[]);
    expect(await step(typed)).toEqual(chosen);
    const older = histories.map((ids) => [...ids, ...Array<number>(30).fill(-1)]);
    expect(await step(older)).toEqual(first.map((id) => [id]));
  });

  const prompt = { textIds: [...ids, 3], codecIds: Array.from({ length: 16 }, (_, i) => 40 + i) };
  const embed = (embedding: OmniEmbedding) => read(embedding.prompt(prompt));
  test.each([
    ["the copy of the text table", ["language_model_embedding.pt"]],
    ["the language model's shards", llmFiles],
  ])("OmniEmbedding reads its tables, the tokenizer, and %s", async (name, files) => {
    const source = only(`embedding-${name.length}`, ["audio/audio_embeddings.pt", ...tokenizerFiles, ...files]);
    const open = (options: OpenModuleOptions) => OmniEmbedding.open(source, { ...options, activations: "f32" });
    expect(await used(open, embed)).toEqual(await embed(model.embedding));
    using rows = device.tensor(randomArray(model.llm.config.hidden_size, 5), [1, model.llm.config.hidden_size]);
    using opened = await open({ device });
    const pads = { textIds: [model.tokenizer.specialId("<|image_pad|>")] };
    expect(await read(opened.prompt(pads, undefined, rows))).toEqual([...(await rows.toFloat32Array())]);
  });

  test("OmniTokenizer reads the tokenizer's files", async () => {
    const tokenizer = await OmniTokenizer.open(only("tokenizer", tokenizerFiles));
    expect(await tokenizer.encode("Hello there!")).toEqual(await model.tokenizer.encode("Hello there!"));
  });
});

const openers: [string, (directory: string, options: OpenModuleOptions) => Promise<Disposable>][] = [
  ["Llm", Llm.open],
  ["VisionEncoder", VisionEncoder.open],
  ["AudioEncoder", AudioEncoder.open],
  ["AudioFeatures", AudioFeatures.open],
  ["SpeechDecoder", SpeechDecoder.open],
  ["AudioHeads", AudioHeads.open],
  ["OmniEmbedding", OmniEmbedding.open],
];

describe.each(openers)("%s.open", (name, open) => {
  test("frees everything when disposed", async () => {
    const before = await settledMemory(device);
    const module = await open(directory, { device });
    module[Symbol.dispose]();
    module[Symbol.dispose]();
    expect(await settledMemory(device)).toBe(before);
  });

  test("frees everything when aborted", async () => {
    await expect(open(directory, { device, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    if (name === "AudioFeatures") return; // it loads no tensors
    const before = await settledMemory(device);
    const abort = new AbortController();
    const options = { device, signal: abort.signal, onProgress: () => abort.abort() };
    const module = await open(directory, options).catch((error) => error);
    // A module of a single step is complete when its first progress arrives.
    if (Symbol.dispose in module) module[Symbol.dispose]();
    else expect(module).toMatchObject({ code: "ABORTED" });
    expect(await settledMemory(device)).toBe(before);
  });

  test("names missing files", async () => {
    const empty = only("empty", ["language_model_embedding.pt"]);
    await expect(open(empty, { device })).rejects.toMatchObject({ code: "CHECKPOINT_INVALID" });
    await expect(open(`${directory}-none`, { device })).rejects.toMatchObject({ code: "CHECKPOINT_INVALID" });
  });

  test("refuses unknown options", async () => {
    const options = { device, singal: undefined } as OpenModuleOptions;
    await expect(open(directory, options)).rejects.toThrow(
      `${name}.open has no option "singal": did you mean "signal"`,
    );
  });
});

describe("tensors that the library does not know", () => {
  test.each<[string, (directory: string, options: OpenModuleOptions) => Promise<Disposable>, string, RegExp]>([
    ["Llm", Llm.open, "config.json", /model-\*\.safetensors: .* unexpected: .*layers\.1\./],
    [
      "VisionEncoder",
      VisionEncoder.open,
      "vision/config.json",
      /vision\/vision_model\.pt: .* unexpected: .*layers\.1\./,
    ],
  ])("%s.open ignores with a warning, or refuses if strict", async (name, open, config, expected) => {
    const shortened = `${directory}-short-${name}`; // a model whose configuration knows one layer alone
    cpSync(directory, shortened, { recursive: true });
    const file = join(shortened, config);
    const whole = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(
      file,
      JSON.stringify({ ...whole, ...("num_layers" in whole ? { num_layers: 1 } : { num_hidden_layers: 1 }) }),
    );
    const heard: string[] = [];
    const module = await open(shortened, { device, onWarning: (message) => heard.push(message) });
    module[Symbol.dispose]();
    expect(heard).toEqual([expect.stringMatching(expected)]);
    const strict = open(shortened, { device, strict: true });
    await expect(strict).rejects.toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringMatching(expected),
    });
  });
});

test("everything that takes a device refuses what is none, before it reads anything", async () => {
  const nowhere = `${directory}-nowhere`;
  for (const [name, open] of openers) {
    for (const given of [undefined, {}, { device: undefined }, { device: 5 }, { device: {} }, { device: null }]) {
      const opened = open(nowhere, given as never);
      await expect(opened, name).rejects.toThrowError(code("INVALID_ARGUMENT"));
      await expect(opened, name).rejects.toThrow(`${name}.open: device must be a Device, as Device.open() gives, got`);
    }
    await expect(open(nowhere, null as never), name).rejects.toThrowError(code("INVALID_ARGUMENT"));
  }
  for (const given of [{}, 5, null]) {
    const loading = OmniModel.load(nowhere, { device: given as never });
    await expect(loading).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(loading).rejects.toThrow("OmniModel.load: device must be a Device, as Device.open() gives, got");
  }
});

test("everything that opens a model directory refuses what is no path", async () => {
  const calls: [string, (directory: string) => Promise<unknown>][] = [
    ...openers.map(([name, open]): [string, (path: string) => Promise<unknown>] => [name, (p) => open(p, { device })]),
    ["OmniModel", (path) => OmniModel.load(path, { device })],
    ["OmniTokenizer", (path) => OmniTokenizer.open(path)],
    ["openCheckpoint", (path) => openCheckpoint(path)],
  ];
  for (const [name, call] of calls) {
    for (const path of [null, undefined, 5, {}, "", Buffer.from(directory), pathToFileURL(directory)]) {
      const opened = call(path as never);
      await expect(opened, name).rejects.toThrowError(code("INVALID_ARGUMENT"));
      await expect(opened, name).rejects.toThrow("a model directory must be a path");
    }
    await expect(call(pathToFileURL(directory) as never), name).rejects.toThrow("pass fileURLToPath(url) of node:url");
  }
});

test("everything that takes a signal refuses a controller, before it reads anything", async () => {
  const signal = new AbortController() as unknown as AbortSignal;
  const nowhere = `${directory}-nowhere`;
  const calls: Record<string, () => Promise<unknown>> = {
    "OmniModel.load": () => OmniModel.load(nowhere, { signal }),
    "Llm.open": () => Llm.open(nowhere, { device, signal }),
    "VisionEncoder.open": () => VisionEncoder.open(nowhere, { device, signal }),
    "AudioEncoder.open": () => AudioEncoder.open(nowhere, { device, signal }),
    "AudioFeatures.open": () => AudioFeatures.open(nowhere, { device, signal }),
    "SpeechDecoder.open": () => SpeechDecoder.open(nowhere, { device, signal }),
    "AudioHeads.open": () => AudioHeads.open(nowhere, { device, signal }),
    "OmniEmbedding.open": () => OmniEmbedding.open(nowhere, { device, signal }),
    "OmniTokenizer.open": () => OmniTokenizer.open(nowhere, { signal }),
    openCheckpoint: () => openCheckpoint(nowhere, { signal }),
    inspectPath: () => inspectPath(nowhere, { signal }),
    synthesize: () => synthesize(nowhere, { signal }),
    loadAudio: () => loadAudio(nowhere, { signal }),
    loadImage: () => loadImage(nowhere, { signal }),
    openVideo: () => openVideo(nowhere, { signal }),
    "Llm.prefill": () => model.llm.prefill([], { signal }),
    "Llm.forward": () => model.llm.forward([], { signal }),
    "VisionEncoder.encodeUnits": () => model.vision.encodeUnits([], { signal }),
  };
  for (const [name, call] of Object.entries(calls)) {
    await expect(call(), name).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(call(), name).rejects.toThrow(`${name}: signal must be an AbortSignal, such as the \`signal\` of`);
  }
});
