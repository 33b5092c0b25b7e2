import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type VerifyOptions, verifyFile } from "../../lib/verify/verify.js";
import { scratch } from "../checkpoint/files.js";
import { goldenPath } from "../support/golden.js";
import { allDevices, devices } from "../support/modelDevices.js";
import { unhandledDuring } from "../support/rejections.js";
import { alteredGolden, type Change } from "./altered.js";

const files = [
  "vision_merge1",
  "vision_merge2",
  "audio_encoder",
  "audio_encoder_stride2",
  "audio_features",
  "codec_decoder_24k",
  "codec_decoder_16k",
  "fsmn_vad_trained_causal",
  "image_preprocess",
];
const device = devices.at(-1)!;
const folder = scratch();
const altered = (name: string, change: Change) => alteredGolden(folder, name, change);

test("what is no path or no device is refused", async () => {
  const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
  for (const file of [null, undefined, 5, {}])
    await expect(verifyFile(file as never, { device })).rejects.toThrow(refused);
  const path = goldenPath("audio_features");
  for (const options of [undefined, {}, { device: 5 }]) {
    await expect(verifyFile(path, options as never)).rejects.toThrow(refused);
  }
});

describe.each(allDevices)("verify on $name", (device) => {
  test.each(files)("%s passes in f32", async (name) => {
    const report = await verifyFile(goldenPath(name), { device });
    expect(report.error).toBeUndefined();
    expect(report.tensors.filter(({ passed }) => !passed)).toEqual([]);
    expect(report.passed).toBe(true);
    const expected = readFileSync(goldenPath(name))
      .toString("latin1")
      .match(/"expected\.[^"]+"/g)!;
    expect(report.tensors.length).toBeGreaterThanOrEqual(expected.length);
  });

  test.each(["vision_merge1", "vision_merge2", "audio_encoder", "audio_encoder_stride2"])(
    "%s passes in bf16",
    async (name) => {
      const { tensors, passed } = await verifyFile(goldenPath(name), { device, activations: "bf16" });
      expect(tensors.filter((tensor) => !tensor.passed)).toEqual([]);
      expect(passed).toBe(true);
      expect(Math.max(...tensors.map(({ error }) => error))).toBeGreaterThan(1e-4); // really in bf16
    },
  );
});

describe("verify", () => {
  test("passes the preprocessing cases", async () => {
    const report = await verifyFile(goldenPath("preprocess.json"), { device });
    expect(report.tensors.map(({ name, error }) => [name, error])).toEqual([
      ["smart_resize", 0],
      ["frame_sampling", 0],
      ["post_squeeze", 0],
      ["interleave", 0],
    ]);
    expect(report.passed).toBe(true);
  });

  test("counts preprocessing cases with wrong results", async () => {
    const cases = JSON.parse(readFileSync(goldenPath("preprocess.json"), "utf8"));
    cases.smart_resize[3].expected[0] += 28;
    cases.frame_sampling[0].expected_timestamps[0] = "second{0.2}:";
    const path = join(folder, "wrong.json");
    writeFileSync(path, JSON.stringify(cases));
    const { passed, tensors } = await verifyFile(path, { device });
    expect([passed, ...tensors.map(({ error }) => error)]).toEqual([false, 1, 1, 0, 0]);
  });

  test.each([
    ["vision_merge1", "expected.projector"],
    ["audio_encoder", "expected.fsmn0.output"],
    ["audio_encoder", "expected.ctc_logits"],
    ["codec_decoder_24k", "expected.waveform"],
    ["codec_decoder_16k", "expected.latents"],
    ["audio_features", "expected.spliced"],
    ["fsmn_vad_trained_causal", "expected.probabilities"],
    ["image_preprocess", "expected.1.patches"],
  ])("%s fails if %s is off by 1 in 1000, and names it", async (name, tensor) => {
    const path = altered(name, {
      tensor,
      bytes: (data) => {
        for (let i = 0; i < data.length; i += 4) data.writeFloatLE(data.readFloatLE(i) * 1.001, i);
      },
    });
    const report = await verifyFile(path, { device });
    expect(report.passed).toBe(false);
    const failed = report.tensors.filter(({ passed }) => !passed);
    expect(failed.length).toBeGreaterThan(0);
    for (const { name: which, error } of failed) {
      expect(`expected.${which}`.startsWith(tensor)).toBe(true);
      expect(error).toBeCloseTo(0.001, 4);
    }
  });

  test("never passes NaN", async () => {
    const bytes = (data: Buffer) => data.writeFloatLE(Number.NaN, 0);
    const path = altered("audio_encoder", { tensor: "expected.projector", bytes });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed.map(({ name, error }) => [name, error])).toEqual([["projector", Number.NaN]]);
  });

  test("fails if a weight is wrong", async () => {
    const bytes = (data: Buffer) => data.fill(0);
    const path = altered("vision_merge1", { tensor: "weight.vision_encoder.encoder.layers.1.ls2", bytes });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed.map(({ name }) => name)).toEqual(["encoder", "projector"]);
  });

  test("fails if a pixel differs too much, or too many pixels differ", async () => {
    const far = altered("image_preprocess", {
      tensor: "expected.0.resized",
      bytes: (data) => {
        data[0]! += data[0]! < 128 ? 2 : -2;
      },
    });
    const many = altered("image_preprocess", {
      tensor: "expected.2.resized",
      bytes: (data) => {
        for (let i = 0; i < data.length; i += 50) data[i]! += data[i]! < 128 ? 1 : -1;
      },
    });
    for (const [path, name] of [
      [far, "0.resized"],
      [many, "2.resized"],
    ] as const) {
      const { tensors } = await verifyFile(path, { device });
      expect(tensors.find((tensor) => tensor.name === name)?.passed).toBe(false);
    }
  });

  test("says what is wrong with a file that it cannot run, and does not throw", async () => {
    const rename = (from: string, to: string) => (header: Record<string, unknown>) => {
      header[to] = header[from];
      delete header[from];
    };
    const metadata = (key: string, value: string | undefined) => (header: Record<string, unknown>) => {
      const fields = header.__metadata__ as Record<string, string>;
      if (value === undefined) delete fields[key];
      else fields[key] = value;
    };
    const error = async (change: (header: Record<string, unknown>) => void, name = "vision_merge1") => {
      const { passed, error } = await verifyFile(altered(name, { header: change }), { device });
      expect(passed).toBe(false);
      return `${error?.code}: ${error?.message}`;
    };
    expect(await error(metadata("module", "toaster"))).toMatch(
      /UNSUPPORTED.*unknown module "toaster"; expected audio_encoder, /,
    );
    expect(await error(metadata("module", "constructor"))).toMatch(/UNSUPPORTED/);
    expect(await error(metadata("module", undefined))).toMatch(/its metadata does not name a module/);
    expect(await error(metadata("config", "{"))).toMatch(/the config in its metadata is not JSON/);
    expect(await error(rename("input.pixel_values", "input.pixels"))).toMatch(/no tensor input\.pixel_values/);
    expect(await error(rename("expected.projector", "expected.tokens"))).toMatch(/no tensor expected\.projector/);
    const bias = "weight.vision_encoder.encoder.layers.0.mlp.fc1.bias";
    expect(await error(rename(bias, `${bias}_`))).toMatch(/missing.*fc1\.bias.*unexpected|1 tensor missing/s);
    const lookback = rename("weight.fsmn.0.lookback", "weight.fsmn.lookback");
    expect(await error(lookback, "fsmn_vad_trained_causal")).toMatch(
      /CHECKPOINT_INVALID.*no tensor weight\.fsmn\.0\.l/,
    );
    const missing = await verifyFile(join(folder, "nothing.safetensors"), { device });
    expect(missing.error?.code).toBe("CHECKPOINT_INVALID");
  });

  test("says what failed in a language model, of whose results the file expects only some", async () => {
    const bytes = (data: Buffer) => data.writeInt32LE(1_000_000, 0);
    const path = altered("longcat_flash", { tensor: "input.input_ids", bytes });
    const reasons = await unhandledDuring(async () => {
      expect((await verifyFile(path, { device })).error?.code).toBe("INDEX_OUT_OF_RANGE");
    });
    expect(reasons).toEqual([]);
  });

  test("refuses a misspelt option", async () => {
    const misspelt = { device, activation: "bf16" } as VerifyOptions;
    await expect(verifyFile(goldenPath("vision_merge1"), misspelt)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/has no option "activation": did you mean "activations"\?/),
    });
  });

  test("says what is wrong with a file of preprocessing cases", async () => {
    const error = async (text: string) => {
      const path = join(folder, "cases.json");
      writeFileSync(path, text);
      const report = await verifyFile(path, { device });
      return `${report.error?.code}: ${report.error?.message}`;
    };
    expect(await error("{")).toMatch(/CHECKPOINT_INVALID: .*cases\.json: not JSON: expected a key at character 1/);
    const fifo = join(folder, "preprocess.json");
    execFileSync("mkfifo", [fifo]);
    const { error: refusal } = await verifyFile(fifo, { device });
    expect(refusal).toEqual({ code: "CHECKPOINT_INVALID", message: `${fifo}: expected a regular file` });
    expect(await error("{}")).toMatch(/expected an object of sections/);
    expect(await error("[]")).toMatch(/expected an object of sections: smart_resize, /);
    expect(await error('{"toString": [1]}')).toMatch(/unknown section "toString"; expected smart_resize, /);
    expect(await error('{"smart_resize": []}')).toMatch(/section smart_resize contains no cases/);
  });

  test("fails on an expected tensor that the module does not produce", async () => {
    const path = altered("vision_merge1", {
      header: (header) => {
        header["expected.layer7.output"] = header["expected.layer0.output"];
        delete header["expected.layer0.output"];
      },
    });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed).toEqual([
      expect.objectContaining({ name: "layer7.output", note: expect.stringMatching(/produces no such result/) }),
    ]);
  });
});
