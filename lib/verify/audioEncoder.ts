import { parseAudioConfig } from "../checkpoint/config.js";
import { audioEncoderLayout, audioProjectorLayout } from "../checkpoint/layout.js";
import { AudioEncoder } from "../model/audio/encoder.js";
import type { Golden } from "./golden.js";
import { Pieces } from "./values.js";

/** Runs a padded batch of features through the encoder and its projector, one recording at a time. */
export async function verifyAudioEncoder(golden: Golden): Promise<void> {
  const config = golden.config(parseAudioConfig);
  golden.checkWeights("audio_encoder", audioEncoderLayout(config));
  const outputSize = golden.weights.shape("audio_projector.2.weight")[0]!;
  golden.checkWeights("audio_projector", audioProjectorLayout(config, outputSize));
  const encoder = await AudioEncoder.load(golden.weights, config, { activations: golden.activations });
  const features = golden.input("features", "f32");
  const lengths = await golden.input("lengths", "i32").read();

  const pieces = new Pieces();
  for (const [i, length] of lengths.entries()) {
    const tokens = golden.device.scope(() => {
      const rows = features.slice(i, i + 1).reshape(features.shape.slice(1));
      return encoder.encode(rows, {
        length,
        tap: (name, value) => {
          pieces.add(name, value);
          if (name === "encoder" && golden.expects("ctc_logits"))
            pieces.add("ctc_logits", encoder.ctcLogits(value as Parameters<typeof encoder.ctcLogits>[0]));
        },
      });
    });
    pieces.add("projector", tokens);
    tokens.dispose();
  }
  const last = `fsmn${config.nlayer - 1}.`;
  for (const name of pieces.names()) {
    const values = pieces.joined(name);
    if (name === "projector") golden.compare(name, values, golden.tolerance("final"));
    else golden.compareLayer(name, values);
    if (name.startsWith(last)) golden.compareLayer(name.replace(last, "fsmn_last."), values);
  }
}
