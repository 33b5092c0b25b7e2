import { Fields } from "../checkpoint/fields.js";
import { OmniEmbedding } from "../model/prompt/embedding.js";
import type { Golden } from "./golden.js";

function parseConfig(source: unknown, file: string) {
  const f = new Fields(source);
  const id = (name: string) => f.integer(name, { min: 0 });
  const ids = { padId: id("pad_id"), audioPadId: id("audio_pad_id"), imagePadId: id("image_pad_id") };
  f.finish(file);
  return ids;
}

/** Embeds a prompt with text, codes, audio and images. */
export async function verifyOmniEmbedding(golden: Golden): Promise<void> {
  const ids = golden.config(parseConfig);
  const { weights, activations } = golden;
  const codecIds = golden.input("codec_ids", "i32");
  const embedding = await OmniEmbedding.load(weights, weights.plain("embed_tokens.weight"), {
    ...ids,
    activations,
    books: codecIds.shape[1]!,
  });
  const prompt = { textIds: await golden.input("input_ids", "i32").read(), codecIds: await codecIds.read() };
  const rows = [golden.input("audio_features", "f32"), golden.input("vision_features", "f32")] as const;
  using embeddings = embedding.prompt(prompt, ...rows);
  golden.compare("embeddings", embeddings, golden.tolerance("final"));
}
