import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { compareTensors } from "../../lib/checkpoint/checkTensors.js";
import { type Checkpoint, type OpenCheckpointOptions, openCheckpoint } from "../../lib/checkpoint/directory.js";
import { entryBytes, type TensorEntry } from "../../lib/checkpoint/entry.js";
import { inspectPath } from "../../lib/checkpoint/inspect.js";
import { llmLayout } from "../../lib/checkpoint/layout.js";
import { CaracalError } from "../../lib/errors.js";
import { preset } from "../../lib/synth/presets.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { turnsDuring } from "../support/turns.js";
import { expectInvalid, safetensors, scratch } from "./files.js";

const folder = scratch();
const whole = join(folder, "whole");
beforeAll(() => synthesize(whole));

let next = 0;
/** Opens a changed copy of the checkpoint. */
function changed(change: (directory: string) => void, options: OpenCheckpointOptions = {}): Promise<Checkpoint> {
  const directory = join(folder, `changed-${next++}`);
  cpSync(whole, directory, { recursive: true });
  change(directory);
  return openCheckpoint(directory, options);
}

/** Adds a shard that holds one more tensor. */
function addTensor(name: string, dtype = "BF16", bytes = 128, shape = [64]): (directory: string) => void {
  return (directory) => {
    const header = { [name]: { dtype, shape, data_offsets: [0, bytes] } };
    writeFileSync(join(directory, "more.safetensors"), safetensors(header, Buffer.alloc(bytes)));
    editJson("model.safetensors.index.json", (index) => ({
      weight_map: { ...index.weight_map, [name]: "more.safetensors" },
    }))(directory);
  };
}

function editJson(file: string, edit: (value: Record<string, object>) => object): (directory: string) => void {
  return (directory) => {
    const path = join(directory, file);
    writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, "utf8")))));
  };
}

function editCodec(from: string | RegExp, to: string): (directory: string) => void {
  return (directory) => {
    const path = join(directory, "audio_codec/config.yaml");
    writeFileSync(path, readFileSync(path, "utf8").replace(from, to));
  };
}

describe("openCheckpoint", () => {
  test("returns the configurations and every tensor by name", async () => {
    const checkpoint = await openCheckpoint(whole);
    const { llm, vision, audio, codec } = preset("tiny");
    expect(checkpoint.synthetic).toBe(true);
    expect(checkpoint.llm.config).toEqual(llm);
    expect(checkpoint.vision.config).toEqual(vision);
    expect(checkpoint.audio.config).toEqual(audio);
    expect(checkpoint.codec.config).toEqual(codec);
    expect(checkpoint.speech.config).toEqual({ books: 4, vocab: 96 });
    expect(checkpoint.audio.cmvn.mean).toHaveLength(80);
    expect(checkpoint.llm.tensors.get("model.layers.1.mlp.router.classifier.weight")).toMatchObject({
      dtype: "f32",
      shape: [12, 64],
    });
    expect(checkpoint.vision.encoder.get("encoder.layers.1.ls2")).toMatchObject({ dtype: "bf16", shape: [64] });
    expect(checkpoint.codec.tensors.get("decoder.model.7.weight_v")).toMatchObject({ dtype: "f32", shape: [1, 4, 7] });
  });

  test("finds every tensor aligned to its item size, or to 64 bytes in torch archives", async () => {
    const { llm, audio } = await openCheckpoint(whole);
    for (const { offset, dtype } of llm.tensors.values()) expect(offset % (dtype === "f32" ? 4 : 2)).toBe(0);
    for (const { offset } of audio.encoder.values()) expect(offset % 64).toBe(0);
  });

  test("needs neither the copy of the text embedding nor the configuration of the CTC head", async () => {
    await changed((directory) => rmSync(join(directory, "language_model_embedding.pt")));
    await changed(editJson("audio/config.json", ({ vocab_size: _, nlayer: __, ...rest }) => rest));
  });

  test("tolerates a multi-token-prediction layer", async () => {
    const { warnings } = await changed(addTensor("model.mtp.norm.weight"), { strict: true });
    expect(warnings).toEqual([]);
  });

  test("ignores tensors that it does not know, with a warning that names them", async () => {
    const heard: string[] = [];
    const onWarning = (message: string) => heard.push(message);
    const { warnings, directory, llm } = await changed(addTensor("model.layers.0.mystery"), { onWarning });
    expect(warnings).toEqual(['model-*.safetensors: 1 tensor unexpected: "model.layers.0.mystery"']);
    expect(heard).toEqual([`${directory}: ${warnings[0]}`]);
    expect(llm.tensors.has("model.layers.0.mystery")).toBe(false);
  });

  test("warns through the process by default", async () => {
    const heard: Error[] = [];
    const listen = (warning: Error) => heard.push(warning);
    process.on("warning", listen);
    onTestFinished(() => void process.off("warning", listen));
    const { directory } = await changed(addTensor("mystery"));
    await new Promise((done) => setImmediate(done));
    const message = `${directory}: model-*.safetensors: 1 tensor unexpected: "mystery"`;
    expect(heard).toEqual([
      expect.objectContaining({ name: "CaracalWarning", code: "CHECKPOINT_UNEXPECTED", message }),
    ]);
  });

  test("refuses tensors that it does not know when it is strict", async () => {
    const onWarning = () => expect.unreachable();
    await expectInvalid(
      changed(addTensor("mystery"), { strict: true, onWarning }),
      /model-\*\.safetensors: 1 tensor unexpected: "mystery"/,
    );
    await expect(changed(addTensor("mystery"), { strct: true } as object)).rejects.toThrow(/did you mean "strict"/);
  });

  test("does not mind a stranger of an unknown dtype", async () => {
    const { warnings } = await changed(addTensor("codes", "I3_PACKED", 24), { onWarning: () => {} });
    expect(warnings).toHaveLength(1);
  });

  test("refuses a known tensor of an unusable dtype", () => {
    const retype = (directory: string) => {
      const path = join(directory, "model-00003-of-00003.safetensors");
      const text = readFileSync(path, "latin1").replace('"dtype":"BF16"', '"dtype":"U16" '); // of the same length
      writeFileSync(path, Buffer.from(text, "latin1"));
    };
    return expectInvalid(changed(retype), /1 tensor of the wrong dtype: "lm_head\.weight" u16, expected bf16/);
  });

  test("lists everything that is wrong, in all modules, at once", () => {
    const broken = changed((directory) => {
      editJson("config.json", (config) => ({ ...config, n_routed_experts: 9 }))(directory);
      editJson("audio/config.json", (config) => ({ ...config, hidden_size: 97 }))(directory);
      editJson("audio/preprocessor_config.json", (config) => ({ ...config, splice: { left: 6 } }))(directory);
      editJson("vision/config.json", (config) => ({ ...config, num_hidden_layers: 1 }))(directory);
      copyFileSync(join(directory, "audio/audio_projector.pt"), join(directory, "vision/vision_projector.pt"));
      writeFileSync(join(directory, "audio/global_cmvn"), "[ 1 1\n 2 0 ]");
      rmSync(join(directory, "audio/audio_output_layers.pt"));
      writeFileSync(join(directory, "tokenizer_config.json"), "no");
      rmSync(join(directory, "tokenizer.json"));
    });
    return expectInvalid(
      broken,
      /model-\*\.safetensors: 6 tensors missing: "model\.layers\.0\.mlp\.experts\.8\./,
      /model-\*\.safetensors: 4 tensors misshapen: .*classifier\.weight" \[12,64\], expected \[13,64\]/,
      /vision\/vision_projector\.pt: 8 tensors missing: .*"p0\.0\.weight" \[128\]/,
      /audio\/audio_encoder\.pt: \d+ tensors misshapen: "ffn\.0\.weight" \[96,1200\], expected \[97,1200\]/,
      /audio\/preprocessor_config\.json: gives 1120 features per step, but the encoder takes 1200/,
      /audio\/global_cmvn: normalises 1 feature, but frames have 80/,
      /audio\/audio_output_layers\.pt: no such file/,
      /tokenizer_config\.json: not JSON/,
      /tokenizer\.json: no such file/,
    );
  });

  test.each<[string, (directory: string) => void, RegExp]>([
    [
      "more experts than tensors",
      editJson("config.json", (c) => ({ ...c, n_routed_experts: 10, zero_expert_num: 2 })),
      /model-\*\.safetensors: 12 tensors missing: "model\.layers\.0\.mlp\.experts\.8\.gate_proj\.weight" \[32,64\]/,
    ],
    [
      "a vocabulary of another size",
      editJson("config.json", (c) => ({ ...c, vocab_size: 1000 })),
      /misshapen: .*"lm_head\.weight" \[1024,64\], expected \[1000,64\]/,
    ],
    [
      "more codes than the LLM has ids",
      editCodec("codec_codebook_size: 8", "codec_codebook_size: 9"),
      /audio_embeddings\.pt: 96 ids per book, but the speech decoder's codes need 113/,
    ],
    [
      "a decoder outside the folder",
      editCodec(/ckpt_path: .*/, "ckpt_path: ../../whole/audio/x.pt"),
      /audio_codec\/x\.pt: no such file/,
    ],
    ...["..", "", ".", "LongCatAudioCodec_decoder_24k_4codebooks.pt/..", "decoder.safetensors"].map(
      (path): [string, (directory: string) => void, RegExp] => [
        `a decoder called ${JSON.stringify(path)}`,
        editCodec(/ckpt_path: .*/, `ckpt_path: "${path}"`),
        /config\.yaml: codec_config\.ckpt_path is ".*"; expected the path of a \.pt file$/m,
      ],
    ),
    [
      "a folder as the decoder",
      (d) => {
        editCodec(/ckpt_path: .*/, "ckpt_path: folder.pt")(d);
        mkdirSync(join(d, "audio_codec/folder.pt"));
      },
      /audio_codec\/folder\.pt: expected a regular file/,
    ],
    ["a missing configuration", (d) => rmSync(join(d, "config.json")), /config\.json: no such file/],
  ])("refuses %s", (_, change, message) => expectInvalid(changed(change), message));

  test("refuses a missing or empty directory, and stops when aborted", async () => {
    await expectInvalid(openCheckpoint(join(folder, "missing")), /missing: no such file/);
    mkdirSync(join(folder, "empty"));
    await expectInvalid(openCheckpoint(join(folder, "empty")), /config\.json: no such file/, /vision\/config\.json/);
    const aborted = openCheckpoint(whole, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    await expect(aborted).rejects.toBeInstanceOf(CaracalError);
  });

  test("gives the event loop turns while it lists, expects and compares tensors", async () => {
    const { llm } = await openCheckpoint(whole);
    const { num_layers, n_routed_experts } = llm.config;
    const steps = 3 * llm.tensors.size + num_layers * n_routed_experts;
    expect(await turnsDuring(() => openCheckpoint(whole))).toBeGreaterThan(steps);
    const index = join(whole, "model.safetensors.index.json");
    expect(await turnsDuring(() => inspectPath(index))).toBeGreaterThan(3 * llm.tensors.size);
  });

  test("refuses a misspelt option", async () => {
    const misspelt = { singal: AbortSignal.abort() } as object;
    const message = expect.stringMatching(/has no option "singal": did you mean "signal"\?/);
    await expect(openCheckpoint(whole, misspelt)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message });
    await expect(inspectPath(whole, misspelt)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message });
  });
});

describe("FP8 language models", () => {
  const expected = llmLayout(preset("tiny").llm);
  const entry = (name: string, dtype: TensorEntry["dtype"], shape: readonly number[]): TensorEntry => {
    return { name, dtype, shape, file: "f", offset: 0, byteLength: entryBytes(dtype, shape) };
  };
  const bf16 = [...expected].filter(([, { scales }]) => !scales).map(([name, { shape }]) => entry(name, "bf16", shape));
  const name = "model.layers.0.mlps.0.up_proj.weight";
  const scale = entry(`${name}_scale_inv`, "f32", [1, 1]);
  const fp8 = bf16.map((e) => (e.name === name ? entry(name, "f8e4m3", e.shape) : e));

  test("need scales for FP8 weights, and only for them", () => {
    const problems = (entries: TensorEntry[]) => compareTensors(entries, expected).problems;
    expect(problems(bf16)).toEqual([]);
    expect(problems([...fp8, scale])).toEqual([]);
    expect(problems(fp8)).toEqual([`1 tensor missing: "${scale.name}" [1,1]`]);
    expect(problems([...bf16, scale])).toEqual([`1 tensor unexpected: "${scale.name}"`]);
  });

  test("must not have FP8 norms", () => {
    const norm = bf16.map((e) => (e.name === "model.norm.weight" ? entry(e.name, "f8e4m3", e.shape) : e));
    expect(compareTensors(norm, expected).problems).toEqual([
      '1 tensor of the wrong dtype: "model.norm.weight" f8e4m3, expected bf16 or f32',
    ]);
  });
});
