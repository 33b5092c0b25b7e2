import { describe, expect, it } from "vitest";
import { audioTokenCount, defaultAudioFraming } from "../../../lib/model/audio/framing.js";
import {
  type InterleavedPiece,
  interleaveAverage,
  interleavedText,
  interleaveSequential,
} from "../../../lib/model/prompt/interleave.js";
import { preprocess } from "../preprocess.js";

const units = (count: number, tokens: number) => Array.from({ length: count }, (_, seconds) => ({ seconds, tokens }));

/** Writes runs of pads as `[vN]` and `[aN]`, like the published worked examples. */
function short(pieces: InterleavedPiece[], unitCount: number): string {
  return interleavedText(pieces, units(unitCount, 2))
    .replace(/(<\|image_pad\|>)+/g, (run) => `[v${run.length / 13}]`)
    .replace(/(<\|audio_pad\|>)+/g, (run) => `[a${run.length / 13}]`);
}

describe("interleaveSequential", () => {
  it("equals the published converter in every golden case", () => {
    expect(preprocess.interleave.length).toBe(24);
    for (const c of preprocess.interleave) {
      const audioTokens = audioTokenCount(c.audio_samples, { ...defaultAudioFraming, sampleRate: c.sample_rate });
      const pieces = interleaveSequential({ units: c.video_units, audioTokens, intervalSeconds: c.interval_seconds });
      expect(interleavedText(pieces, units(c.video_units, c.tokens_per_unit))).toBe(c.expected_text);
    }
  });

  it.each([
    [3, 48000, "second{0.0}:[v2]<|audio|>[a12]second{1.0}:[v2][a13]second{2.0}:[v2][a13]<|/audio|>"],
    [
      5,
      48000,
      "second{0.0}:[v2]second{1.0}:[v2]<|audio|>[a12]second{2.0}:[v2][a13]second{3.0}:[v2][a12]second{4.0}:[v2][a1]<|/audio|>",
    ],
    [2, 64000, "second{0.0}:[v2]<|audio|>[a12]second{1.0}:[v2][a38]<|/audio|>"],
  ])("worked example: %i units, %i samples", (count, samples, expected) => {
    const pieces = interleaveSequential({ units: count, audioTokens: audioTokenCount(samples) });
    expect(short(pieces, count)).toBe(expected);
  });

  it("puts 25 audio tokens into every chunk of 2 s, and accepts an incomplete last chunk of video", () => {
    const pieces = interleaveSequential({ units: 5, audioTokens: 70, intervalSeconds: 2 });
    const audio = pieces.flatMap((piece) => (piece.type === "audio" ? [piece.tokens] : []));
    expect(audio).toEqual([25, 25, 20]);
    expect(pieces.filter((piece) => piece.type === "unit").length).toBe(5);
  });

  it("places every unit once and in order, and every audio token", () => {
    for (let count = 1; count < 20; count++) {
      for (let audioTokens = 0; audioTokens < 120; audioTokens += 7) {
        for (const interval of [1, 2, 3]) {
          for (const pieces of [
            interleaveSequential({ units: count, audioTokens, intervalSeconds: interval }),
            interleaveAverage({ units: count, audioTokens }),
          ]) {
            const order = pieces.flatMap((piece) => (piece.type === "unit" ? [piece.unit] : []));
            expect(order).toEqual(units(count, 1).map((unit) => unit.seconds));
            const audio = pieces.flatMap((piece) => (piece.type === "audio" ? [piece.tokens] : []));
            expect(audio.reduce((a, b) => a + b, 0)).toBe(audioTokens);
          }
        }
      }
    }
  });

  it("refuses chunks that split a unit", () => {
    expect(() => interleaveSequential({ units: 3, audioTokens: 9, intervalSeconds: 0.5 })).toThrow(
      /whole visual units/,
    );
  });
});

describe("interleaveAverage", () => {
  it("spreads the audio, with the remainder after the last unit", () => {
    expect(short(interleaveAverage({ units: 3, audioTokens: 38 }), 3)).toBe(
      "second{0.0}:[v2]<|audio|>[a12]second{1.0}:[v2][a12]second{2.0}:[v2][a14]<|/audio|>",
    );
  });
});
