import { describe, expect, it } from "vitest";
import { parseAudioFeatureConfig } from "../../../lib/checkpoint/config.js";
import { AudioFeatures } from "../../../lib/model/audio/features.js";
import { audioTokenCount } from "../../../lib/model/audio/framing.js";
import { readGolden } from "../../support/golden.js";
import { backends } from "../../support/modelDevices.js";
import { pieces } from "./pieces.js";

describe.each(backends)("AudioFeatures on $name", (device) => {
  it.each([0, 100, 400, 1520, 24000])("streams %i samples in pieces that join to the whole", async (count) => {
    const config = parseAudioFeatureConfig({ fbank: {}, delta: {}, splice: {} }, "features");
    const extractor = new AudioFeatures(device, config);
    const samples = readGolden("audio_features")
      .f32("input.waveform")
      .map((x) => x / 32768)
      .subarray(0, count);
    using whole = extractor.extract(samples);
    expect(whole.shape).toEqual([audioTokenCount(count), 1200]);
    const stream = extractor.stream();
    const rows: Float32Array[] = [];
    for (const part of pieces(samples, 900, 4)) rows.push(await stream.push(part).toFloat32Array());
    rows.push(await stream.push(new Float32Array(0), { last: true }).toFloat32Array());
    expect(Float32Array.from(rows.flatMap((row) => [...row]))).toEqual(await whole.toFloat32Array());
  });

  it("refuses delta features", () => {
    const config = parseAudioFeatureConfig({ fbank: {}, delta: { delta_order: 2 }, splice: {} }, "features");
    expect(() => new AudioFeatures(device, config)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  });
});
