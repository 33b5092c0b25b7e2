// Resampling and the protocol's form of sound.
import { describe, expect, test } from "vitest";
import { ofBase64, ofPcm16, pcm16, toBase64 } from "../../page/pcm.js";
import { Resampler } from "../../page/resampler.js";

const tone = (frequency: number, rate: number, seconds = 0.5) =>
  Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / rate));

function resampled(samples: Float32Array, from: number, piece: number): number[] {
  const resampler = new Resampler(from, 16000);
  const output: number[] = [];
  for (let at = 0; at < samples.length; at += piece) output.push(...resampler.push(samples.subarray(at, at + piece)));
  return output;
}

/** The root of the mean square, without the beginning and the end. */
const rms = (samples: readonly number[]) => {
  const middle = samples.slice(400, -400);
  return Math.sqrt(middle.reduce((sum, sample) => sum + sample * sample, 0) / middle.length);
};

describe.each([8000, 16000, 22050, 44100, 48000, 96000])("a microphone of %i Hz", (rate) => {
  test("gives 16 kHz, and the same in whatever pieces", () => {
    const samples = tone(440, rate);
    const whole = resampled(samples, rate, samples.length);
    expect(Math.abs(whole.length - 8000)).toBeLessThan(40);
    for (const piece of [1, 128, 1000]) expect(resampled(samples, rate, piece)).toEqual(whole);
  });

  test("is heard in time, and in the right strength", () => {
    for (const frequency of [100, 1000, 3000]) {
      const output = resampled(tone(frequency, rate), rate, 128);
      const expected = tone(frequency, 16000);
      const errors = output.map((sample, i) => Math.abs(sample - expected[i]!)).slice(400, -400);
      expect(Math.max(...errors), `${frequency} Hz`).toBeLessThan(0.01);
    }
  });

  test("does not fold what 16 kHz cannot hold", () => {
    for (const frequency of [9500, 12000, 20000].filter((above) => above < rate / 2))
      expect(rms(resampled(tone(frequency, rate), rate, 128)), `${frequency} Hz`).toBeLessThan(0.01);
  });
});

test("samples are 16 bits, little-endian, and do not wrap around", () => {
  const samples = Float32Array.of(0, 1 / 32768, -1, 1, 2, -2, 0.5);
  const bytes = pcm16(samples);
  expect([...bytes]).toEqual([0, 0, 1, 0, 0, 0x80, 0xff, 0x7f, 0xff, 0x7f, 0, 0x80, 0, 0x40]);
  expect([...ofPcm16(bytes)]).toEqual([0, 1 / 32768, -1, 32767 / 32768, 32767 / 32768, -1, 0.5]);
  expect(ofPcm16(bytes.subarray(2, 5))).toHaveLength(1);
});

test("base64 is what others write", () => {
  const bytes = Uint8Array.from({ length: 100_001 }, (_, i) => (i * 31) & 255);
  const text = toBase64(bytes);
  expect(text).toBe(Buffer.from(bytes).toString("base64"));
  expect(Buffer.compare(ofBase64(text), bytes)).toBe(0);
});
