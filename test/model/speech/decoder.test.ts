import { beforeAll, describe, expect, it } from "vitest";
import { parseCodecConfig } from "../../../lib/checkpoint/config.js";
import { SpeechDecoder } from "../../../lib/model/speech/decoder.js";
import type { SpeechFrame } from "../../../lib/model/speech/state.js";
import type { LoadOptions } from "../../../lib/model/weightSource.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { settledMemory } from "../../support/garbage.js";
import { readGolden } from "../../support/golden.js";
import { backends } from "../../support/modelDevices.js";
import { relativeError, uniform } from "../../support/numbers.js";
import { unhandledDuring } from "../../support/rejections.js";
import { goldenWeights } from "../goldenWeights.js";

describe.each(backends)("on $name", (device) => {
  async function load(name: string, options: LoadOptions = {}): Promise<SpeechDecoder> {
    const weights = await goldenWeights(device, name, options);
    return SpeechDecoder.load(weights, parseCodecConfig(readGolden(name).config, name));
  }

  /** Random codes for the golden decoders' small books. */
  function speech(frames: number, seed: number): SpeechFrame[] {
    const next = uniform(seed);
    const code = (size: number) => Math.floor(((next() + 1) / 2) * size);
    return Array.from({ length: frames }, () => [code(64), code(100), code(100), code(100)]);
  }

  describe("SpeechDecoder, 24 kHz", () => {
    let decoder: SpeechDecoder;
    beforeAll(async () => {
      decoder = await load("codec_decoder_24k");
    });

    it("refuses what is no list of frames", async () => {
      using stream = decoder.stream();
      const endless = new Array(2 ** 17 + 1).fill([1, 2, 3, 4]); // one frame, of which each would be a copy
      for (const frames of [
        null,
        undefined,
        5,
        {},
        "ab",
        [null],
        [5],
        [[1, 2, 3, 4], Int32Array.of(1, 2, 3, 4)],
        endless,
      ]) {
        const expected = expect.objectContaining({ code: "INVALID_ARGUMENT" });
        await expect(decoder.decode(frames as never)).rejects.toThrow(expected);
        await expect(stream.push(frames as never)).rejects.toThrow(expected);
      }
      await expect(decoder.decode([5] as never)).rejects.toThrow(
        "SpeechDecoder.decode: frames[0] must be a list of codes, got 5",
      );
    });

    it("differs by about the rounding of its weights with bf16, and streams the same samples", async () => {
      using rounded = await load("codec_decoder_24k", { weightDtype: "bf16" });
      const frames = speech(5, 3);
      const samples = await rounded.decode(frames);
      const error = relativeError(samples, await decoder.decode(frames));
      expect(error).toBeGreaterThan(1e-3);
      expect(error).toBeLessThan(0.1); // the golden decoder is small, and amplifies
      using stream = rounded.stream();
      const parts = [await stream.push(frames.slice(0, 2)), await stream.push(frames.slice(2)), await stream.flush()];
      expect(parts.flatMap((part) => [...(part ?? [])])).toEqual([...samples]);
    });

    it("gives 1440 samples per frame", async () => {
      expect([decoder.sampleRate, decoder.samplesPerFrame]).toEqual([24000, 1440]);
      for (const frames of device.virtual ? [0, 2] : [0, 1, 2, 7])
        expect((await decoder.decode(speech(frames, 1))).length).toBe(1440 * frames);
    });

    it.each(device.virtual ? [4] : [1, 2, 3, 4, 5, 17])(
      "streams %i frames in pieces that join to the whole",
      async (count) => {
        const frames = speech(count, count);
        const whole = await decoder.decode(frames);
        using stream = decoder.stream();
        const next = uniform(count);
        for (let round = 0; round < (device.virtual ? 2 : 3); round++) {
          const samples: number[] = [];
          for (let at = 0; at < count; ) {
            const size = round === 0 ? 1 : Math.floor((next() + 1) * 3);
            samples.push(...((await stream.push(frames.slice(at, at + size))) ?? []));
            at += size;
          }
          samples.push(...((await stream.flush()) ?? [])); // flush restarts the stream
          expect(samples.length).toBe(whole.length);
          expect(relativeError(samples, whole)).toBeLessThan(1e-6);
        }
      },
    );

    it("gives a frame's samples once three more frames have arrived", async () => {
      using stream = decoder.stream();
      const lengths: (number | undefined)[] = [];
      for (const frame of speech(5, 3)) lengths.push((await stream.push([frame]))?.length);
      expect(lengths).toEqual([undefined, undefined, undefined, 1440, 1440]);
      expect((await stream.flush())?.length).toBe(3 * 1440);
      expect(await stream.flush()).toBeUndefined();
    });

    it("processes overlapping pushes in order", async () => {
      const frames = speech(device.virtual ? 5 : 9, 4);
      using stream = decoder.stream();
      const parts = await Promise.all([...frames.map((frame) => stream.push([frame])), stream.flush()]);
      const samples = parts.flatMap((part) => [...(part ?? [])]);
      expect(relativeError(samples, await decoder.decode(frames))).toBeLessThan(1e-6);
    });

    it("gives streams that push in one turn the samples of each by itself", async () => {
      const count = device.virtual ? 5 : 12;
      const utterances = [7, 8, 9, 10].map((seed) => speech(count, seed));
      const streams = utterances.map(() => decoder.stream());
      const samples: number[][] = utterances.map(() => []);
      const take = (i: number, part: Float32Array | undefined) => samples[i]!.push(...(part ?? []));
      // The second stream begins later, the third pushes two frames at a time, and the last twice in a turn.
      const sizes = [() => 1, (turn: number) => (turn < 2 ? 0 : 1), () => 2, () => 1];
      const done = utterances.map(() => 0);
      for (let turn = 0; done.some((at) => at < count); turn++)
        await Promise.all(
          streams.flatMap((stream, i) =>
            Array.from({ length: i === 3 ? 2 : 1 }, async () => {
              const next = utterances[i]!.slice(done[i]!, done[i]! + sizes[i]!(turn));
              done[i]! += next.length;
              take(i, await stream.push(next));
            }),
          ),
        );
      for (const [i, part] of (await Promise.all(streams.map((stream) => stream.flush()))).entries()) take(i, part);
      for (const [i, frames] of utterances.entries()) {
        using alone = decoder.stream();
        const parts = [await alone.push(frames.slice(0, 4)), await alone.push(frames.slice(4)), await alone.flush()];
        expect(Float32Array.from(samples[i]!)).toEqual(Float32Array.from(parts.flatMap((part) => [...(part ?? [])])));
      }
      for (const stream of streams) stream.dispose();
    });

    it("keeps the failure of a stream from those that push in the same turn", async () => {
      const frames = speech(4, 11);
      const [good, disposed, wrong] = [decoder.stream(), decoder.stream(), decoder.stream()];
      disposed.dispose();
      const [samples, ...refused] = await Promise.allSettled([
        good.push(frames),
        disposed.push(frames),
        wrong.push([[64, 0, 0, 0]]),
      ]);
      expect(refused).toEqual(
        ["DISPOSED", "INDEX_OUT_OF_RANGE"].map((code) => ({
          status: "rejected",
          reason: expect.objectContaining({ code }),
        })),
      );
      using alone = decoder.stream();
      expect(samples).toEqual({ status: "fulfilled", value: await alone.push(frames) });
      expect(await wrong.push(frames)).toEqual((samples as PromiseFulfilledResult<Float32Array>).value);
    });

    it("gives the samples that were asked for before the stream was disposed", async () => {
      const frames = speech(4, 12);
      const stream = decoder.stream();
      const pushed = stream.push(frames);
      stream.dispose();
      using alone = decoder.stream();
      expect(await pushed).toEqual(await alone.push(frames));
    });

    it("refuses bad codes and remains usable", async () => {
      const frames = speech(6, 5);
      using stream = decoder.stream();
      const samples = [...((await stream.push(frames.slice(0, 4))) ?? [])];
      const bad = [
        [64, 0, 0, 0],
        [0, 0, 100, 0],
        [-1, 0, 0, 0],
        [0.5, 0, 0, 0],
      ];
      for (const frame of bad)
        await expect(stream.push([frame])).rejects.toThrow(expect.objectContaining({ code: "INDEX_OUT_OF_RANGE" }));
      await expect(stream.push([[1, 2, 3]])).rejects.toThrow(/1 semantic and 3 acoustic codes/);
      samples.push(...((await stream.push(frames.slice(4))) ?? []), ...((await stream.flush()) ?? []));
      expect(relativeError(samples, await decoder.decode(frames))).toBeLessThan(1e-6);
    });

    it("fails to flush after its device was disposed, by the promise of the caller alone", async () => {
      const own = await Device.open({ backend: device.backend, threads: 1 });
      const name = "codec_decoder_24k";
      const weights = await goldenWeights(own, name);
      const disposed = await SpeechDecoder.load(weights, parseCodecConfig(readGolden(name).config, name));
      const stream = disposed.stream();
      await stream.push(speech(1, 1));
      own.dispose();
      const refused = expect.objectContaining({ code: "DISPOSED" });
      expect(await unhandledDuring(() => expect(stream.flush()).rejects.toThrow(refused))).toEqual([]);
    });

    it("frees its temporaries", async () => {
      await decoder.decode(speech(3, 1));
      const before = await settledMemory(device);
      for (let i = 0; i < (device.virtual ? 2 : 3); i++) {
        using stream = decoder.stream();
        await stream.push(speech(5, i));
        await stream.flush();
        await decoder.decode(speech(3, i));
      }
      expect(await settledMemory(device)).toBe(before);
    });
  });

  describe("SpeechDecoder, 16 kHz", () => {
    it("decodes whole utterances and refuses to stream", async () => {
      const decoder = await load("codec_decoder_16k");
      expect([decoder.sampleRate, decoder.samplesPerFrame]).toEqual([16000, 960]);
      expect((await decoder.decode(speech(4, 1))).length).toBe(4 * 960);
      expect(() => decoder.stream()).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    });
  });
});
