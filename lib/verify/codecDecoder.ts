import { parseCodecConfig } from "../checkpoint/config.js";
import { codecDecoderLayout } from "../checkpoint/layout.js";
import { SpeechDecoder } from "../model/speech/decoder.js";
import type { SpeechFrame } from "../model/speech/state.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Golden } from "./golden.js";
import { Pieces } from "./values.js";

/** Decodes codes to a waveform, one utterance at a time. The file's intermediates have channels before time. */
export async function verifyCodecDecoder(golden: Golden): Promise<void> {
  const config = golden.config(parseCodecConfig);
  golden.checkWeights("", codecDecoderLayout(config));
  const decoder = await SpeechDecoder.load(golden.weights, config);
  const pieces = new Pieces();
  for (const frames of await readUtterances(golden)) {
    const tap = (name: string, value: Tensor) => pieces.add(name, channelsFirst(value));
    pieces.add("waveform", decoder.decode(frames, { tap }));
  }
  for (const name of pieces.names()) {
    if (name === "waveform" || golden.expects(name)) golden.compare(name, pieces.joined(name), golden.f32);
  }
}

/** Reads `semantic_codes` [B, T] and `acoustic_codes` [B, books, T] as frames. */
async function readUtterances(golden: Golden): Promise<SpeechFrame[][]> {
  const semantic = golden.input("semantic_codes", "i32");
  const acoustic = golden.input("acoustic_codes", "i32");
  const [batch, books, time] = acoustic.shape as readonly [number, number, number];
  if (acoustic.shape.length !== 3 || String(semantic.shape) !== String([batch, time]))
    throw golden.invalid(`semantic_codes [${semantic.shape}] and acoustic_codes [${acoustic.shape}] do not match`);
  const [s, a] = await Promise.all([semantic.read(), acoustic.read()]);
  const frame = (b: number, t: number) => [
    s[b * time + t]!,
    ...Array.from({ length: books }, (_, book) => a[(b * books + book) * time + t]!),
  ];
  return Array.from({ length: batch }, (_, b) => Array.from({ length: time }, (_, t) => frame(b, t)));
}

/** Transposes `[T, C]` to `[C, T]`. */
async function channelsFirst(value: Tensor): Promise<Float32Array> {
  const [time, channels] = value.shape as readonly [number, number];
  const values = await value.toFloat32Array();
  return Float32Array.from({ length: values.length }, (_, i) => values[(i % time) * channels + Math.floor(i / time)]!);
}
