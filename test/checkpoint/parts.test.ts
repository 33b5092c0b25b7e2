import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../lib/checkpoint/directory.js";
import * as parts from "../../lib/checkpoint/parts.js";
import { tinyDirectory } from "../model/tinyModel.js";

const directory = await tinyDirectory();

/** A copy of the checkpoint with changes. */
function changed(name: string, change: (path: (file: string) => string) => void): string {
  const copy = `${directory}-${name}`;
  cpSync(directory, copy, { recursive: true });
  change((file) => join(copy, file));
  return copy;
}

function editText(file: string, edit: (text: string) => string): void {
  writeFileSync(file, edit(readFileSync(file, "utf8")));
}
const editJson = (file: string, fields: object) =>
  editText(file, (text) => JSON.stringify({ ...JSON.parse(text), ...fields }));

describe("part openers", () => {
  test("return the parts of the whole checkpoint", async () => {
    const { llm, vision, audio, codec, speech } = await openCheckpoint(directory);
    expect(await parts.openLlm(directory)).toEqual(llm);
    expect(await parts.openVision(directory)).toEqual(vision);
    expect(await parts.openAudio(directory)).toEqual(audio);
    expect(await parts.openAudioFeatures(directory)).toEqual({ features: audio.features, cmvn: audio.cmvn });
    expect(await parts.openCodec(directory)).toEqual(codec);
    const heads = await parts.openSpeechHeads(directory);
    expect(heads).toEqual({ config: speech.config, heads: speech.heads, codec: codec.config });
    const { config, embeddings, text } = await parts.openEmbeddings(directory);
    expect({ config, embeddings }).toEqual({ config: speech.config, embeddings: speech.embeddings });
    expect(text.shape).toEqual(llm.tensors.get("model.embed_tokens.weight")!.shape);
  });

  test.each<[string, (path: (file: string) => string) => void, (directory: string) => Promise<unknown>, RegExp]>([
    [
      "a missing file and a wrong width together",
      (path) => {
        rmSync(path("vision/vision_projector.pt"));
        editJson(path("vision/config.json"), { hidden_size: 1024 });
      },
      parts.openVision,
      /vision_projector\.pt[\s\S]*vision_model\.pt: \d+ tensors misshapen/,
    ],
    [
      "features that the encoder does not take",
      (path) => editJson(path("audio/preprocessor_config.json"), { splice: { left: 1, right: 1, stride: 8 } }),
      parts.openAudio,
      /preprocessor_config\.json: gives \d+ features per step/,
    ],
    [
      "normalisation of other features",
      (path) => editJson(path("audio/preprocessor_config.json"), { fbank: { num_mel_bins: 40 } }),
      parts.openAudioFeatures,
      /global_cmvn: normalises 80 features, but frames have 40/,
    ],
    [
      "heads without an id for every code",
      (path) =>
        editText(path("audio_codec/config.yaml"), (yaml) =>
          yaml.replace(/semantic_token_nums: \d+/, "semantic_token_nums: 99999"),
        ),
      parts.openSpeechHeads,
      /audio_output_layers\.pt: \d+ ids per book, but the speech decoder's codes need 100031/,
    ],
    [
      "a text table under another name",
      (path) => cpSync(path("audio/audio_embeddings.pt"), path("language_model_embedding.pt")),
      parts.openEmbeddings,
      /language_model_embedding\.pt: 1 tensor missing: "word_embeddings\.weight"/,
    ],
  ])("report %s", async (name, change, open, message) => {
    const copy = changed(name.replaceAll(" ", "-"), change);
    await expect(open(copy)).rejects.toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringMatching(message),
    });
  });

  test("can be aborted", async () => {
    const signal = AbortSignal.abort();
    await expect(parts.openLlm(directory, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

test("a checkpoint is synthetic if its config.json says so", async () => {
  expect((await openCheckpoint(directory)).synthetic).toBe(true);
  const trained = changed("trained", (path) => editJson(path("config.json"), { _note: undefined }));
  expect((await openCheckpoint(trained)).synthetic).toBe(false);
});
