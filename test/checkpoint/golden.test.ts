import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { checkTensors } from "../../lib/checkpoint/check.js";
import { parseAudioConfig, parseCodecConfig, parseLlmConfig, parseVisionConfig } from "../../lib/checkpoint/config.js";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import * as layouts from "../../lib/checkpoint/layout.js";
import { recoverAudioConfig } from "../../lib/checkpoint/recover.js";
import { openSafetensors } from "../../lib/checkpoint/safetensors.js";

const golden = ["test/golden", "../shared/golden"].find((dir) => existsSync(`${dir}/longcat_flash.safetensors`));

async function read(name: string) {
  const file = `${golden}/${name}.safetensors`;
  const { entries, metadata } = await openSafetensors(file);
  const part = (prefix: string): TensorEntry[] =>
    entries.filter((e) => e.name.startsWith(prefix)).map((e) => ({ ...e, name: e.name.slice(prefix.length) }));
  return { file, metadata, config: JSON.parse(metadata.config ?? "{}") as Record<string, unknown>, part };
}

/** The published implementations' own parameters: names and shapes must be those that our layouts compute. */
describe.skipIf(!golden)("layouts of the published modules (skipped without the golden files)", () => {
  it("language model", async () => {
    const { file, config, part } = await read("longcat_flash");
    checkTensors(part("weight."), layouts.llmLayout(parseLlmConfig(config, file)), file);
  });

  it.each(["vision_merge1", "vision_merge2"])("%s", async (name) => {
    const { file, config, metadata, part } = await read(name);
    const vision = parseVisionConfig(config, file);
    checkTensors(part("weight.vision_encoder."), layouts.visionEncoderLayout(vision), file);
    const projector = layouts.visionProjectorLayout(vision, Number(metadata.proj_output_dim));
    checkTensors(part("weight.vision_projector."), projector, file);
  });

  it.each(["audio_encoder", "audio_encoder_stride2"])("%s, and its sizes recovered from the shapes", async (name) => {
    const { file, config, part } = await read(name);
    const audio = parseAudioConfig(config, file);
    checkTensors(part("weight.audio_encoder."), layouts.audioEncoderLayout(audio), file);
    checkTensors(part("weight.audio_projector."), layouts.audioProjectorLayout(audio, 96), file);
    const { left_stride, activation } = audio;
    const recovered = recoverAudioConfig({ left_stride, activation }, part("weight.audio_encoder."));
    expect(parseAudioConfig(recovered, file)).toEqual(audio);
  });

  it.each(["codec_decoder_24k", "codec_decoder_16k"])("%s", async (name) => {
    const { file, config, part } = await read(name);
    checkTensors(part("weight."), layouts.codecDecoderLayout(parseCodecConfig(config, file)), file);
  });

  it("speech embeddings and heads", async () => {
    const heads = await read("omni_audio_heads");
    checkTensors(heads.part("weight."), layouts.speechHeadsLayout({ books: 4, vocab: 72 }, 32), heads.file);
    const tables = (await read("omni_embedding")).part("weight.").filter((e) => e.name.startsWith("audio_"));
    checkTensors(tables, layouts.speechEmbeddingsLayout({ books: 4, vocab: 48 }, 32), "omni_embedding");
  });
});
