import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { verifyCommand } from "../../lib/cli/verify.js";
import { verifyFile } from "../../lib/verify/verify.js";
import { goldenPath } from "../support/golden.js";
import { allDevices, devices } from "../support/modelDevices.js";

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
const directory = mkdtempSync(join(tmpdir(), "caracal-verify-"));
afterAll(() => rmSync(directory, { recursive: true }));

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A copy of a golden file with its header changed, or some bytes of one tensor. */
function altered(
  name: string,
  change: { tensor?: string; bytes?: (data: Buffer) => void; header?: (header: Record<string, unknown>) => void },
): string {
  const file = readFileSync(goldenPath(name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
  const data = Buffer.from(file.subarray(8 + headerBytes));
  if (change.tensor) {
    const [start, end] = (header[change.tensor] as Entry).data_offsets;
    change.bytes!(data.subarray(start, end));
  }
  change.header?.(header);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const path = join(directory, `${Math.random().toString(36).slice(2)}-${name}.safetensors`);
  writeFileSync(path, Buffer.concat([size, text, data]));
  return path;
}

describe.each(allDevices)("verify on $name", (device) => {
  it.each(files)("%s passes in f32", async (name) => {
    const report = await verifyFile(goldenPath(name), { device });
    expect(report.error).toBeUndefined();
    expect(report.tensors.filter(({ passed }) => !passed)).toEqual([]);
    expect(report.passed).toBe(true);
    const expected = readFileSync(goldenPath(name))
      .toString("latin1")
      .match(/"expected\.[^"]+"/g)!;
    expect(report.tensors.length).toBeGreaterThanOrEqual(expected.length);
  });

  it.each(["vision_merge1", "vision_merge2", "audio_encoder", "audio_encoder_stride2"])(
    "%s passes in bf16",
    async (name) => {
      const { tensors, passed } = await verifyFile(goldenPath(name), { device, activations: "bf16" });
      expect(tensors.filter((tensor) => !tensor.passed)).toEqual([]);
      expect(passed).toBe(true);
      expect(Math.max(...tensors.map(({ error }) => error))).toBeGreaterThan(1e-4); // it was bf16 indeed
    },
  );
});

describe("verify", () => {
  it("passes the preprocessing cases", async () => {
    const report = await verifyFile(goldenPath("preprocess.json"), { device });
    expect(report.tensors.map(({ name, error }) => [name, error])).toEqual([
      ["smart_resize", 0],
      ["frame_sampling", 0],
      ["post_squeeze", 0],
      ["interleave", 0],
    ]);
    expect(report.passed).toBe(true);
  });

  it("counts preprocessing cases that come out wrong", async () => {
    const cases = JSON.parse(readFileSync(goldenPath("preprocess.json"), "utf8"));
    cases.smart_resize[3].expected[0] += 28;
    cases.frame_sampling[0].expected_timestamps[0] = "second{0.2}:";
    const path = join(directory, "wrong.json");
    writeFileSync(path, JSON.stringify(cases));
    const { passed, tensors } = await verifyFile(path, { device });
    expect([passed, ...tensors.map(({ error }) => error)]).toEqual([false, 1, 1, 0, 0]);
  });

  it.each([
    ["vision_merge1", "expected.projector"],
    ["audio_encoder", "expected.fsmn0.output"],
    ["audio_encoder", "expected.ctc_logits"],
    ["codec_decoder_24k", "expected.waveform"],
    ["codec_decoder_16k", "expected.latents"],
    ["audio_features", "expected.spliced"],
    ["fsmn_vad_trained_causal", "expected.probabilities"],
    ["image_preprocess", "expected.1.patches"],
  ])("%s fails when %s is off by 1 in 1000, and says which", async (name, tensor) => {
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

  it("never passes NaN", async () => {
    const bytes = (data: Buffer) => data.writeFloatLE(Number.NaN, 0);
    const path = altered("audio_encoder", { tensor: "expected.projector", bytes });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed.map(({ name, error }) => [name, error])).toEqual([["projector", Number.NaN]]);
  });

  it("fails when a weight is wrong", async () => {
    const bytes = (data: Buffer) => data.fill(0);
    const path = altered("vision_merge1", { tensor: "weight.vision_encoder.encoder.layers.1.ls2", bytes });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed.map(({ name }) => name)).toEqual(["encoder", "projector"]);
  });

  it("fails when pixels differ too much, or too many", async () => {
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

  it("says what is wrong with a file that it cannot run", async () => {
    const rename = (from: string, to: string) => (header: Record<string, unknown>) => {
      header[to] = header[from];
      delete header[from];
    };
    const metadata = (key: string, value: string | undefined) => (header: Record<string, unknown>) => {
      const known = header.__metadata__ as Record<string, string>;
      if (value === undefined) delete known[key];
      else known[key] = value;
    };
    const error = async (change: (header: Record<string, unknown>) => void, name = "vision_merge1") => {
      const { passed, error } = await verifyFile(altered(name, { header: change }), { device });
      expect(passed).toBe(false);
      return `${error?.code}: ${error?.message}`;
    };
    expect(await error(metadata("module", "toaster"))).toMatch(/UNSUPPORTED.*unknown module "toaster"; there are/);
    expect(await error(metadata("module", "constructor"))).toMatch(/UNSUPPORTED/);
    expect(await error(metadata("module", undefined))).toMatch(/name no module/);
    expect(await error(metadata("config", "{"))).toMatch(/config is not JSON/);
    expect(await error(rename("input.pixel_values", "input.pixels"))).toMatch(/no tensor input\.pixel_values/);
    expect(await error(rename("expected.projector", "expected.tokens"))).toMatch(/no tensor expected\.projector/);
    const bias = "weight.vision_encoder.encoder.layers.0.mlp.fc1.bias";
    expect(await error(rename(bias, `${bias}_`))).toMatch(/missing.*fc1\.bias.*unexpected|1 tensor missing/s);
    const missing = await verifyFile(join(directory, "nothing.safetensors"), { device });
    expect(missing.error?.code).toBe("CHECKPOINT_INVALID");
  });

  it("fails on an expected tensor that the module does not give", async () => {
    const path = altered("vision_merge1", {
      header: (header) => {
        header["expected.layer7.output"] = header["expected.layer0.output"];
        delete header["expected.layer0.output"];
      },
    });
    const failed = (await verifyFile(path, { device })).tensors.filter(({ passed }) => !passed);
    expect(failed).toEqual([
      expect.objectContaining({ name: "layer7.output", note: expect.stringMatching(/no such result/) }),
    ]);
  });
});

describe("caracal verify", () => {
  afterEach(() => {
    process.exitCode = 0;
  });

  async function run(...args: string[]): Promise<string> {
    let out = "";
    const command = verifyCommand().exitOverride();
    command.configureOutput({ writeOut: (text) => (out += text), writeErr: (text) => (out += text) });
    await command.parseAsync(args, { from: "user" });
    return out;
  }

  it("prints every tensor and ends with 0 when all pass", async () => {
    const out = await run(goldenPath("vision_merge1"), goldenPath("preprocess.json"));
    expect(out).toMatch(/vision_merge1\.safetensors {2}\(vision\)/);
    expect(out).toMatch(/pass {2}layer0\.attn\.output +relative error \d\.\de-\d, tolerance 1\.0e-5/);
    expect(out).toMatch(/pass {2}interleave +mismatches 0, tolerance 0/);
    expect(out).toMatch(/2 files on cpu .*: all pass/);
    expect(process.exitCode ?? 0).toBe(0);
  });

  it("ends with 1 when anything fails, and goes on with the other files", async () => {
    const bytes = (data: Buffer) => data.fill(0);
    const broken = altered("audio_encoder", { tensor: "expected.encoder", bytes });
    const out = await run(broken, join(directory, "nothing.safetensors"), goldenPath("audio_features"));
    expect(out).toMatch(/FAIL {2}encoder/);
    expect(out).toMatch(/FAIL {2}CHECKPOINT_INVALID: .*nothing\.safetensors/);
    expect(out).toMatch(/pass {2}spliced/);
    expect(out).toMatch(/3 files on .*: 2 of them FAIL/);
    expect(process.exitCode).toBe(1);
  });

  it("prints JSON", async () => {
    const { passed, files } = JSON.parse(await run("--json", "--activations", "bf16", goldenPath("audio_encoder")));
    expect(passed).toBe(true);
    expect(basename(files[0].file)).toBe("audio_encoder.safetensors");
    expect(files[0].tensors[0]).toMatchObject({ measure: "relative error", passed: true });
  });

  it("asks for files", async () => {
    await expect(run()).rejects.toThrow(/missing required argument 'files'/);
  });
});
