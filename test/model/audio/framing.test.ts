import { describe, expect, it } from "vitest";
import { parseAudioFeatureConfig } from "../../../lib/checkpoint/config.js";
import { audioFraming, audioTokenCount, defaultAudioFraming } from "../../../lib/model/audio/framing.js";

describe("audioTokenCount", () => {
  it("counts one token per started 80 ms of whole windows", () => {
    expect([0, 399, 400, 1519, 1520, 1679, 1680, 48000].map((n) => audioTokenCount(n))).toEqual([
      0, 0, 1, 1, 1, 1, 2, 38,
    ]);
  });
});

describe("audioFraming", () => {
  it("converts the front end's milliseconds to samples", () => {
    const config = (fbank: object) => parseAudioFeatureConfig({ fbank, delta: {}, splice: {} }, "features");
    expect(audioFraming(config({}))).toEqual(defaultAudioFraming);
    expect(audioFraming(config({ freq: 8000, frame_length: 32, frame_shift: 8 }))).toEqual({
      sampleRate: 8000,
      windowSamples: 256,
      hopSamples: 64,
      stride: 8,
    });
  });
});
