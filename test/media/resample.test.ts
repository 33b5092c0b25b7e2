import { describe, expect, it, vi } from "vitest";
import { Resampler } from "../../lib/media/resample.js";
import { atOnce } from "../../lib/turns.js";
import { rms, sine } from "./inputs.js";

const resamplerOf = (from: number, to: number) => atOnce(Resampler.design(from, to));

function resample(samples: Float32Array, from: number, to: number): Float32Array {
  const resampler = resamplerOf(from, to);
  return Float32Array.from([...resampler.push(samples), ...resampler.flush()]);
}

const decibel = (ratio: number) => 20 * Math.log10(ratio);

describe("resample", () => {
  it.each([
    [48000, 16000],
    [44100, 16000],
    [24000, 16000],
    [8000, 16000],
    [11025, 16000],
    [16000, 24000],
    [22255, 16000], // an uncommon rate
  ])("%i -> %i: passes the common band, rejects aliases by more than 90 dB", (from, to) => {
    const nyquist = Math.min(from, to) / 2;
    for (const part of [0.01, 0.3, 0.6, 0.92]) {
      const tone = resample(sine(part * nyquist, from, 1), from, to);
      expect(Math.abs(decibel(rms(tone) / (0.5 * Math.SQRT1_2))), `${part} of Nyquist`).toBeLessThan(0.02);
    }
    for (let frequency = nyquist * 1.01; frequency < from / 2; frequency *= 1.13) {
      const alias = resample(sine(frequency, from, 1), from, to);
      expect(decibel(rms(alias) / (0.5 * Math.SQRT1_2)), `${frequency} Hz`).toBeLessThan(-90);
    }
  });

  it.each([
    [48000, 16000],
    [44100, 16000],
    [16000, 24000],
  ])("%i -> %i: has no delay and the right length", (from, to) => {
    const out = resample(sine(440, from, 0.7), from, to);
    expect(out.length).toBe(Math.ceil((Math.round(from * 0.7) * to) / from));
    const exact = sine(440, to, 0.7);
    for (let i = 1000; i < out.length - 1000; i++) expect(Math.abs(out[i]! - exact[i]!)).toBeLessThan(1e-4);
  });

  it("gives the same bits however the input is split", () => {
    const input = sine(997, 44100, 0.5).map((sample, i) => sample + 0.1 * Math.sin(i * i));
    const whole = resamplerOf(44100, 16000);
    const expected = [...whole.push(input), ...whole.flush()];
    const cut = resamplerOf(44100, 16000);
    const out: number[] = [];
    for (let at = 0, size = 1; at < input.length; at += size, size = (size * 7) % 1013) {
      out.push(...cut.push(input.subarray(at, at + size)));
    }
    out.push(...cut.flush());
    expect(out).toEqual(expected);
    // and restarts after a flush
    expect([...cut.push(input), ...cut.flush()]).toEqual(expected);
  });

  it("handles very short input", () => {
    expect(resample(new Float32Array([1]), 48000, 16000).length).toBe(1);
    expect(resample(new Float32Array([1]), 16000, 48000).length).toBe(3);
  });

  it("computes a bounded number of taps, also for rates that have no common divisor", () => {
    const sin = vi.spyOn(Math, "sin"); // called once per tap
    try {
      for (const rate of [48000, 480019, 767483, 700001]) {
        sin.mockClear();
        resamplerOf(rate, 16000);
        expect(sin.mock.calls.length).toBeGreaterThan(0);
        expect(sin.mock.calls.length).toBeLessThanOrEqual(2 ** 18);
      }
    } finally {
      sin.mockRestore();
    }
  });

  it("refuses rates that are not positive numbers", () => {
    expect(() => resamplerOf(0, 16000)).toThrow(/positive/);
    expect(() => resamplerOf(Number.NaN, 16000)).toThrow(/positive/);
  });
});
