import { describe, expect, test } from "vitest";
import {
  parseAudioConfig,
  parseAudioFeatureConfig,
  parseCodecConfig,
  parseLlmConfig,
  parseVisionConfig,
  readConfig,
} from "../../lib/checkpoint/config.js";
import { preset } from "../../lib/synth/presets.js";
import { expectInvalid, scratch, writeIn } from "./files.js";

const folder = scratch();
const tiny = preset("tiny");
const invalid = (parse: () => unknown, ...patterns: RegExp[]) => expectInvalid((async () => parse())(), ...patterns);

describe("config.json", () => {
  test("lists everything that is wrong with it at once", () => {
    const { hidden_size: _, ...rest } = tiny.llm;
    const broken = {
      ...rest,
      num_layers: "two",
      vocab_size: 2.5,
      moe_topk: 13,
      qk_rope_head_dim: 7,
      attention_bias: true,
    };
    return invalid(
      () => parseLlmConfig(broken, "config.json"),
      /^config\.json:/,
      /hidden_size is missing; expected a whole number from 1 to/,
      /num_layers is "two"; expected a whole number from 1 to 1024/,
      /vocab_size is 2\.5; expected a whole number/,
      /moe_topk 13 exceeds the 8 \+ 4 experts/,
      /qk_rope_head_dim 7 is odd/,
      /attention_bias is true; expected false, the only supported value/,
    );
  });

  test.each([
    [{ zero_expert_type: "drop" }, /zero_expert_type is "drop"; expected "identity"/],
    [{ rope_scaling: { type: "yarn" } }, /rope_scaling is set/],
    [
      { rope_parameters: { rope_type: "yarn", rope_theta: 1e6 } },
      /rope_parameters\.rope_type is "yarn"; expected "default"/,
    ],
    [
      { rope_parameters: { rope_theta: 1e6, factor: 4 } },
      /rope_parameters\."factor" is set; expected only rope_type and/,
    ],
    [{ rope_parameters: { rope_theta: 0 } }, /rope_parameters\.rope_theta is 0; expected a number >= 1/],
    [{ rope_parameters: "default" }, /rope_parameters must be an object/],
    [{ rope_theta: 1e6, rope_parameters: { rope_theta: 5e6 } }, /rope_theta 1000000 differs from rope_parameters/],
    [{ eos_token_id: 1024 }, /eos_token_id 1024 is outside the vocabulary of 1024/],
    [{ num_layers: 1024, n_routed_experts: 4096 }, /1024 layers of 4096 experts; expected at most 262144/],
    [{ quantization_config: { quant_method: "gptq" } }, /quantization_config\.quant_method is "gptq"; expected "fp8"/],
    [{ quantization_config: { weight_block_size: [64, 64] } }, /weight_block_size \[64,64\]; expected \[128, 128\]/],
    [{ routed_scaling_factor: null }, /routed_scaling_factor is missing/],
  ])("refuses %o", (change, message) => invalid(() => parseLlmConfig({ ...tiny.llm, ...change }, "c"), message));

  test("has the published defaults, and may describe FP8 weights", () => {
    const { pad_token_id, rope_theta, mla_scale_q_lora, ...rest } = tiny.llm;
    const fp8 = { quantization_config: { quant_method: "fp8", weight_block_size: [128, 128] } };
    expect(parseLlmConfig({ ...rest, ...fp8, architectures: ["x"] }, "c")).toEqual(tiny.llm);
  });

  test.each([
    [{ rope_theta: 5e6 }, 5e6],
    [{ rope_parameters: { rope_type: "default", rope_theta: 5e6 } }, 5e6],
    [{ rope_parameters: { rope_theta: 5e6 }, rope_theta: 5e6, rope_scaling: null }, 5e6],
    [{ rope_parameters: { rope_type: "default" }, rope_theta: 5e6 }, 5e6],
    [{ rope_parameters: { rope_theta: null } }, 1e7],
    [{ rope_parameters: null }, 1e7],
  ])("%o has the rope_theta %d", (fields, theta) => {
    const { rope_theta: _, ...rest } = tiny.llm;
    expect(parseLlmConfig({ ...rest, ...fields }, "c").rope_theta).toBe(theta);
  });

  test("must be an object", () => invalid(() => parseLlmConfig([], "c"), /must be an object/));
});

describe("the other configurations", () => {
  test("have the published classes' defaults", () => {
    expect(parseVisionConfig({}, "v")).toMatchObject({ hidden_size: 1024, num_hidden_layers: 24, adaptor_dim: 7168 });
    expect(parseAudioConfig({}, "a")).toEqual(preset("full").audio);
    expect(parseAudioFeatureConfig({}, "f").splice).toEqual({ left: 7, right: 7, stride: 8 });
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      "heads that do not divide",
      () => parseVisionConfig({ num_attention_heads: 7 }, "v"),
      /1024 is not a multiple of 4 × 7 heads/,
    ],
    [
      "an unsupported position encoding",
      () => parseVisionConfig({ pe_type: "learned" }, "v"),
      /pe_type is "learned"; expected "rope2d"/,
    ],
    [
      "min above max",
      () => parseVisionConfig({ min_tokens: 9, max_tokens: 8 }, "v"),
      /min_tokens 9 exceeds max_tokens 8/,
    ],
    ["two means", () => parseVisionConfig({ image_mean: [1, 2] }, "v"), /need 3 numbers each/],
    ["a deviation of 0", () => parseVisionConfig({ image_std: [1, 0, 1] }, "v"), /image_std is \[1,0,1\]/],
    [
      "too many right layers",
      () => parseAudioConfig({ num_right_layers: 23 }, "a"),
      /num_right_layers 23 exceeds nlayer 22/,
    ],
    [
      "an unknown activation",
      () => parseAudioConfig({ activation: "gelu" }, "a"),
      /expected "relu6" or "relu" or "relu2"/,
    ],
    ["a band beyond Nyquist", () => parseAudioFeatureConfig({ fbank: { high_freq: 9000 } }, "f"), /40 to 9000 Hz/],
    ["a section that is not an object", () => parseAudioFeatureConfig({ fbank: 5 }, "f"), /fbank must be an object/],
    ["a wrong field in a section", () => parseAudioFeatureConfig({ splice: { left: -1 } }, "f"), /splice\.left is -1/],
    [
      "a width that cannot be halved",
      () => parseCodecConfig({ ...tiny.codec, decoder_dim: 24 }, "c"),
      /24 cannot be halved 4 times/,
    ],
    ["an unknown decoder", () => parseCodecConfig({ ...tiny.codec, decoder_type: "48k" }, "c"), /"24k" or "16k"/],
    [
      "a fractional ratio",
      () => parseCodecConfig({ ...tiny.codec, codec_dec_ratios: [2.5] }, "c"),
      /1 to 16 whole numbers/,
    ],
  ])("refuse %s", (_, parse, message) => invalid(parse, message));
});

describe("files", () => {
  test("may be YAML", async () => {
    const file = writeIn(folder, "c.yaml", "codec_config:\n  codec_dec_ratios: [8,6]\n  decoder_type: '24k'\n");
    expect(await readConfig(file)).toEqual({ codec_config: { codec_dec_ratios: [8, 6], decoder_type: "24k" } });
  });

  test("may be nested 64 levels deep in YAML", async () => {
    const depths = [`${"[".repeat(64)}${"]".repeat(64)}`, `${"- ".repeat(64)}1`];
    for (const text of depths) {
      let value = await readConfig(writeIn(folder, "nested.yaml", text));
      for (let level = 1; level < 64; level++) value = (value as unknown[])[0];
      expect([[], [1]]).toContainEqual(value);
    }
  });

  test("may be YAML that contains itself, which is no configuration", async () => {
    const file = writeIn(folder, "circle.yaml", "codec_config: &x\n  decoder_type: *x\n");
    const source = await readConfig(file);
    await invalid(() => parseCodecConfig(source, file), /codec_config\.decoder_type is an object with decoder_type;/);
  });

  test.each([
    ["bad.yaml", "a: [1", /not YAML/],
    ["twice.yaml", "a: 1\na: 2", /not YAML: .*unique/],
    [
      "bomb.yaml",
      `a: &a [x,x,x,x,x,x,x,x,x,x]\n${"bcdefghi"
        .split("")
        .map((k, i) => `${k}: &${k} [${`*${"abcdefgh"[i]},`.repeat(10)}]`)
        .join("\n")}`,
      /not YAML: .*alias/,
    ],
    ["long.yaml", "- \n".repeat(2000), /has 6000 bytes; expected at most 4096 of text/],
    ["lists.yaml", "[".repeat(65) + "]".repeat(65), /nested deeper than 64 levels/],
    ["maps.yaml", "{a: ".repeat(65) + "}".repeat(65), /nested deeper than 64 levels/],
    ["items.yaml", `${"- ".repeat(65)}1`, /nested deeper than 64 levels/],
    ["keys.yaml", `${"? ".repeat(65)}1`, /nested deeper than 64 levels/],
    [
      "blocks.yaml",
      Array.from({ length: 65 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
      /nested deeper than 64 levels/,
    ],
    ["open.yaml", "[".repeat(64), /not YAML/],
    ["twice.json", '{"a": 1, "a": 2}', /duplicate key "a"/],
    ["bad.json", "{'a': 1}", /not JSON/],
  ])("%s is refused", (name, text, message) => expectInvalid(readConfig(writeIn(folder, name, text)), message));
});
