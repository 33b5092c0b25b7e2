import { describe, expect, test } from "vitest";
import { Loudness } from "../../page/loudness.js";
import { inputChunk } from "../../page/pcm.js";

const chunk = (value: number) => new Float32Array(inputChunk).fill(value);

describe("the loudness of a turn", () => {
  test("is that of its parts, by the time at which they were sent", () => {
    const loudness = new Loudness();
    const levels = [0.5, 0.5, 0.125, 0.25, 0, 0.0625].map((value) => loudness.push(chunk(-value)));
    expect(levels).toEqual([0.5, 0.5, 0.125, 0.25, 0, 0.0625]);
    expect(loudness.parts(64, 192, 4)).toEqual([0.5, 1, 0, 0.25]);
    expect(loudness.parts(64, 192, 2)).toEqual([1, 0.25]);
    expect(loudness.parts(64, 128, 4)).toEqual([0.5, 0.5, 1, 1]);
  });

  test("of silence, or of nothing, is none", () => {
    const loudness = new Loudness();
    expect(loudness.parts(0, 1000, 3)).toEqual([0, 0, 0]);
    loudness.push(chunk(0));
    expect(loudness.parts(0, 32, 2)).toEqual([0, 0]);
  });
});
