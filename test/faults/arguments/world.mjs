// What the recipes use: devices, a model of random weights, and its modules.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as caracal from "caracal";
import { synthesize } from "../../../dist/lib/synth/synthesize.js";

const { Device, OmniModel, VoiceActivityDetector, Weights, ops } = caracal;

/** @param folder where the model's directory is made */
export async function openWorld(folder) {
  const dir = join(folder, "model");
  await synthesize(dir, { preset: "tiny" });
  const open = () => Device.open({ backend: "cpu", threads: 1 });
  const [device, other, closed] = await Promise.all([open(), open(), open()]);
  closed.dispose();
  const disposed = device.zeros([2, 2]);
  disposed.dispose();
  const model = await OmniModel.load(dir, { device, kvCacheTokens: 4096 });
  const voices = await VoiceActivityDetector.open({ device });
  const { llm, vision, audio, speech, codec } = model.checkpoint;
  const json = (name) => JSON.parse(readFileSync(join(dir, name), "utf8"));
  const [tokenizerJson, tokenizerConfig] = [json("tokenizer.json"), json("tokenizer_config.json")];
  const weights = (parts) => Weights.of(device, parts);
  const temporary = [];
  return {
    ...{ caracal, ops, dir, device, other, disposed, closed, tokenizerJson, tokenizerConfig },
    foreign: other.zeros([2, 2]),
    file: join(dir, "config.json"),
    golden: fileURLToPath(new URL("../../golden/preprocess.json", import.meta.url)),
    model,
    llm: model.llm,
    vision: model.vision,
    audio: model.audioEncoder,
    features: model.audioEncoder.features,
    speech: model.speechDecoder,
    tokenizer: model.tokenizer,
    heads: model.audioHeads,
    voices,
    embedding: model.embedding,
    checkpoint: model.checkpoint,
    entry: llm.tensors.get("lm_head.weight"),
    weights: () => weights({ "": llm.tensors.values() }),
    audioWeights: () => weights({ audio_encoder: audio.encoder.values(), audio_projector: audio.projector.values() }),
    visionWeights: () =>
      weights({ vision_encoder: vision.encoder.values(), vision_projector: vision.projector.values() }),
    codecWeights: () => weights({ "": codec.tensors.values() }),
    headWeights: () => weights({ "": speech.heads.values() }),
    embeddingWeights: () => weights({ "": speech.embeddings.values() }),
    /** What outlives the calls that are given it. */
    kept: new Set([device, other, closed, model, voices]),
    /** Disposes an object after the call. */
    temporary(object) {
      temporary.push(object);
      return object;
    },
    clear() {
      for (const object of temporary.splice(0).reverse()) object[Symbol.dispose]();
    },
  };
}
