import { describe, expect, test } from "vitest";
import { aLaw, encodeALaw, encodeMuLaw, muLaw } from "../../lib/media/g711.js";

const laws = { "A-law": [aLaw, encodeALaw], "µ-law": [muLaw, encodeMuLaw] } as const;
const integer = (sample: number) => Math.round(sample * 32768);

describe.each(Object.entries(laws))("%s", (name, [values, encode]) => {
  /** As a decoder of 16 bits has it, for an encoder whose full scale is 32767. */
  const scaled = values.map((value) => (value * 32768) / 32767);

  test("gives every code back", () => {
    const codes = Array.from(encode(scaled));
    // µ-law has two zeros, of which the positive one is written.
    expect(codes).toEqual(Array.from(values, (_, code) => (name === "µ-law" && code === 0x7f ? 0xff : code)));
  });

  test("errs by half a step at most, of which there are sixteen in each octave", () => {
    const samples = Array.from({ length: 65535 }, (_, i) => i - 32767);
    const codes = encode(Float32Array.from(samples, (sample) => sample / 32767));
    const wrong = samples.filter((sample, i) => {
      const octave = 2 ** Math.floor(Math.log2(Math.max(256, Math.abs(sample) + 132)));
      return Math.abs(integer(values[codes[i]!]!) - sample) > octave / 16;
    });
    expect(wrong).toEqual([]);
  });

  test("clips what is louder than all codes", () => {
    const loudest = Math.max(...values);
    const codes = encode(Float32Array.of(1, 3, Number.POSITIVE_INFINITY, -1, -3));
    expect(Array.from(codes, (code) => values[code])).toEqual([loudest, loudest, loudest, -loudest, -loudest]);
  });
});
