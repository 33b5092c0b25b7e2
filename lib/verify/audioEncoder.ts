import { parseAudioConfig } from "../checkpoint/config.js";
import { audioEncoderLayout, audioProjectorLayout } from "../checkpoint/layout.js";
import { AudioEncoder } from "../model/audio/encoder.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Golden } from "./golden.js";

/** A padded batch of features through the encoder and its projector, recording by recording. */
export async function verifyAudioEncoder(golden: Golden): Promise<void> {
  const config = golden.config(parseAudioConfig);
  golden.checkWeights("audio_encoder", audioEncoderLayout(config));
  const outputSize = golden.weights.shape("audio_projector.2.weight")[0]!;
  golden.checkWeights("audio_projector", audioProjectorLayout(config, outputSize));
  const encoder = await AudioEncoder.load(golden.weights, config, { activations: golden.activations });
  const features = golden.input("features", "f32");
  const lengths = await golden.input("lengths", "i32").read();

  const parts = new Map<string, Promise<Float32Array>[]>();
  const collect = (name: string, value: Tensor) =>
    parts.set(name, [...(parts.get(name) ?? []), value.toFloat32Array()]);
  for (const [i, length] of lengths.entries()) {
    const tokens = golden.device.scope(() => {
      const rows = features.slice(i, i + 1).reshape(features.shape.slice(1));
      return encoder.encode(rows, {
        length,
        tap: (name, value) => {
          collect(name, value);
          if (name === "encoder" && golden.expects("ctc_logits"))
            collect("ctc_logits", encoder.ctcLogits(value as never));
        },
      });
    });
    collect("projector", tokens);
    tokens.dispose();
  }
  const last = `fsmn${config.nlayer - 1}`;
  for (const [name, values] of parts) {
    const joined = Promise.all(values).then(join);
    if (name === "projector") golden.compare(name, joined, golden.tolerance("final"));
    else golden.compareLayer(name, joined);
    if (name.startsWith(`${last}.`)) golden.compareLayer(name.replace(last, "fsmn_last"), joined);
  }
}

/** The arrays one after another. */
export function join(arrays: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(arrays.reduce((size, array) => size + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    joined.set(array, at);
    at += array.length;
  }
  return joined;
}
