import { describe, expect, test } from "vitest";
import { checkTensors } from "../../lib/checkpoint/checkTensors.js";
import { parseAudioConfig, parseCodecConfig, parseLlmConfig, parseVisionConfig } from "../../lib/checkpoint/config.js";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import { openSafetensors } from "../../lib/checkpoint/formats/safetensors.js";
import * as layouts from "../../lib/checkpoint/layout.js";
import { recoverAudioConfig } from "../../lib/checkpoint/recover.js";
import { goldenPath } from "../support/golden.js";

async function read(name: string) {
  const file = goldenPath(name);
  const { entries, metadata } = await openSafetensors(file);
  const part = (prefix: string): TensorEntry[] =>
    entries.filter((e) => e.name.startsWith(prefix)).map((e) => ({ ...e, name: e.name.slice(prefix.length) }));
  return { file, metadata, config: JSON.parse(metadata.config ?? "{}") as Record<string, unknown>, part };
}

/** The golden files hold the parameters of the published implementations, under their own names. */
describe("the layout that a configuration implies is that of the published module:", () => {
  test("language model", async () => {
    const { file, config, part } = await read("longcat_flash");
    checkTensors(part("weight."), layouts.llmLayout(parseLlmConfig(config, file)), file);
  });

  test.each(["vision_merge1", "vision_merge2"])("%s", async (name) => {
    const { file, config, metadata, part } = await read(name);
    const vision = parseVisionConfig(config, file);
    checkTensors(part("weight.vision_encoder."), layouts.visionEncoderLayout(vision), file);
    const projector = layouts.visionProjectorLayout(vision, Number(metadata.proj_output_dim));
    checkTensors(part("weight.vision_projector."), projector, file);
  });

  test.each(["audio_encoder", "audio_encoder_stride2"])("%s, and its sizes recovered from the shapes", async (name) => {
    const { file, config, part } = await read(name);
    const audio = parseAudioConfig(config, file);
    checkTensors(part("weight.audio_encoder."), layouts.audioEncoderLayout(audio), file);
    checkTensors(part("weight.audio_projector."), layouts.audioProjectorLayout(audio, 96), file);
    const { left_stride, activation } = audio;
    const recovered = recoverAudioConfig({ left_stride, activation }, part("weight.audio_encoder."));
    expect(parseAudioConfig(recovered, file)).toEqual(audio);
  });

  test.each(["codec_decoder_24k", "codec_decoder_16k"])("%s", async (name) => {
    const { file, config, part } = await read(name);
    checkTensors(part("weight."), layouts.codecDecoderLayout(parseCodecConfig(config, file)), file);
  });

  test("speech embeddings and heads", async () => {
    const heads = await read("omni_audio_heads");
    checkTensors(heads.part("weight."), layouts.speechHeadsLayout({ books: 4, vocab: 72 }, 32), heads.file);
    const tables = (await read("omni_embedding")).part("weight.").filter((e) => e.name.startsWith("audio_"));
    checkTensors(tables, layouts.speechEmbeddingsLayout({ books: 4, vocab: 48 }, 32), "omni_embedding");
  });
});
