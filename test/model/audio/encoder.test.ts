import { beforeAll, describe, expect, it } from "vitest";
import { parseAudioConfig, parseAudioFeatureConfig } from "../../../lib/checkpoint/config.js";
import { AudioEncoder, type AudioEncoderStream } from "../../../lib/model/audio/encoder.js";
import { audioTokenCount } from "../../../lib/model/audio/framing.js";
import type { Tensor } from "../../../lib/tensor/tensor.js";
import { readGolden } from "../../support/golden.js";
import { backends } from "../../support/modelDevices.js";
import { randomArray, relativeError } from "../../support/numbers.js";
import { goldenWeights } from "../goldenWeights.js";
import { pieces } from "./pieces.js";

/** 20 bins, three frames stacked: the golden encoders take 60 features. */
const features = parseAudioFeatureConfig(
  { fbank: { num_mel_bins: 20 }, splice: { left: 1, right: 1, stride: 2 }, delta: {} },
  "features",
);
const cmvn = { mean: new Float64Array(20).fill(8), istd: new Float64Array(20).fill(0.3) };

describe.each(backends)("on $name", (device) => {
  async function load(name: string, activations: "f32" | "bf16" = "f32"): Promise<AudioEncoder> {
    const config = parseAudioConfig(readGolden(name).config, name);
    return AudioEncoder.load(await goldenWeights(device, name), config, { features, cmvn, activations });
  }

  async function collect(stream: AudioEncoderStream, parts: Iterable<Float32Array>, end = "flush") {
    const rows: Float32Array[] = [];
    const take = async (tokens: Tensor | undefined) => {
      if (tokens) rows.push(await tokens.toFloat32Array());
      tokens?.dispose();
    };
    for (const part of parts) await take(stream.push(part));
    if (end === "flush") await take(stream.flush());
    return rows;
  }

  const flat = (arrays: Float32Array[]): number[] => arrays.flatMap((array) => [...array]);

  describe.each(["audio_encoder", "audio_encoder_stride2"])("AudioEncoder of %s", (name) => {
    let encoder: AudioEncoder;
    beforeAll(async () => {
      encoder = await load(name);
    });

    it.each([1, 399, 400, 720, 2000, ...(device.virtual ? [8001] : [16000, 20001])])(
      "streams %i samples in pieces that join to the whole",
      async (count) => {
        const samples = randomArray(count, count, 0.3);
        using whole = encoder.encodeSamples(samples);
        const expected = await whole.toFloat32Array();
        expect(whole.shape[0]).toBe(
          audioTokenCount(count, { sampleRate: 16000, windowSamples: 400, hopSamples: 160, stride: 2 }),
        );
        using stream = encoder.stream();
        for (const [longest, seed] of [
          [40000, 1],
          [3000, 2],
          [200, 3],
        ] as const) {
          const rows = flat(await collect(stream, pieces(samples, longest, seed))); // flush restarts the stream
          expect(rows.length).toBe(expected.length);
          if (rows.length > 0) expect(relativeError(rows, expected)).toBeLessThan(1e-6);
        }
      },
    );

    it("gives final tokens before the end", async () => {
      const samples = randomArray(32000, 5, 0.3);
      using stream = encoder.stream();
      using early = stream.push(samples.subarray(0, 16000));
      expect(early!.shape[0]).toBeGreaterThan(30);
      using whole = encoder.encodeSamples(samples);
      using first = whole.slice(0, early!.shape[0]!);
      expect(relativeError(await early!.toFloat32Array(), await first.toFloat32Array())).toBeLessThan(1e-6);
    });

    it("forks: one recording ends, the other goes on, and each is as if there were no other", async () => {
      const samples = randomArray(device.virtual ? 8001 : 20001, 6, 0.3);
      const collected = async (parts: readonly Float32Array[], fork = false) => {
        const stream = encoder.stream();
        const before = await collect(stream, parts.slice(0, 1), "go on");
        using forked = fork ? stream.fork() : undefined;
        const ended = forked ? [...before, ...(await collect(forked, []))] : [];
        const whole = [...before, ...(await collect(stream, parts.slice(1)))];
        stream.dispose();
        return { ended: flat(ended), whole: flat(whole) };
      };
      for (const at of [1, 500, 3000, 7999]) {
        const [first, rest] = [samples.subarray(0, at), samples.subarray(at)];
        const { ended, whole } = await collected([first, rest], true);
        expect(whole).toEqual((await collected([first, rest])).whole);
        expect(ended).toEqual((await collected([first])).whole);
      }
    });

    it("gives no tokens for no samples", () => {
      using stream = encoder.stream();
      expect(stream.push(new Float32Array(0))).toBeUndefined();
      expect(stream.flush()).toBeUndefined();
    });
  });

  describe("AudioEncoder", () => {
    it("streams in bf16", async () => {
      const encoder = await load("audio_encoder", "bf16");
      const samples = randomArray(8000, 1, 0.3);
      using whole = encoder.encodeSamples(samples);
      expect(whole.dtype).toBe("bf16");
      using stream = encoder.stream();
      const rows = flat(await collect(stream, pieces(samples, 1000, 1)));
      expect(relativeError(rows, await whole.toFloat32Array())).toBeLessThan(1e-6);
    });

    it("takes features only, when loaded without a front end", async () => {
      const golden = readGolden("audio_encoder");
      const weights = await goldenWeights(device, "audio_encoder");
      const encoder = await AudioEncoder.load(weights, parseAudioConfig(golden.config, "audio_encoder"));
      expect(() => encoder.stream()).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
      using rows = device.zeros([3, 61]);
      expect(() => encoder.encode(rows)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
    });
  });
});
