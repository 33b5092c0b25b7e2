import { describe, expect, test } from "vitest";
import { JitterBuffer } from "../../page/jitterBuffer.js";

const ramp = (length: number, from = 0) => Float32Array.from({ length }, (_, i) => (from + i + 1) / 1000);
const newBuffer = () => new JitterBuffer(1000, { least: 0.1, most: 0.3 });

/** Pulls blocks of 10 samples. @returns the samples and what was said of them */
function pull(buffer: JitterBuffer, blocks = 1) {
  const samples: number[] = [];
  const began: string[] = [];
  const finished: string[] = [];
  for (let i = 0; i < blocks; i++) {
    const block = new Float32Array(10).fill(Number.NaN);
    const pulled = buffer.pull(block);
    samples.push(...block);
    if (pulled.began) began.push(pulled.began);
    if (pulled.finished) finished.push(pulled.finished);
  }
  return { samples: Float32Array.from(samples), began, finished };
}
const silent = (samples: Float32Array) => samples.every((sample) => sample === 0);

describe("a reply is played", () => {
  test("when the prebuffer is full, in its order, and once", () => {
    const buffer = newBuffer();
    expect(silent(pull(buffer).samples)).toBe(true);
    buffer.push("a", ramp(60));
    buffer.push("a", ramp(39, 60));
    expect(pull(buffer)).toMatchObject({ began: [], finished: [] });
    buffer.push("a", ramp(41, 99));
    buffer.end("a");
    const { samples, began, finished } = pull(buffer, 14);
    expect([samples, began, finished]).toEqual([ramp(140), ["a"], ["a"]]);
    expect(buffer.underruns).toBe(0);
    expect(pull(buffer, 2)).toMatchObject({ began: [], finished: [] });
  });

  test("at once, if it is shorter than the prebuffer and whole", () => {
    const buffer = newBuffer();
    buffer.push("a", ramp(25));
    buffer.end("a");
    const { samples, began, finished } = pull(buffer, 3);
    expect([samples.slice(0, 25), began, finished]).toEqual([ramp(25), ["a"], ["a"]]);
  });

  test("after the one before it", () => {
    const buffer = newBuffer();
    buffer.push("a", ramp(120));
    buffer.end("a");
    buffer.push("b", ramp(110, 500));
    expect(pull(buffer, 12)).toEqual({ samples: ramp(120), began: ["a"], finished: ["a"] });
    expect(pull(buffer, 11)).toEqual({ samples: ramp(110, 500), began: ["b"], finished: [] });
    buffer.end("b");
    expect(pull(buffer)).toMatchObject({ began: [], finished: ["b"] });
  });
});

describe("an underrun", () => {
  test("is counted when the reply goes on, and doubles the prebuffer up to its bound", () => {
    const buffer = newBuffer();
    const prebuffers = [];
    buffer.push("a", ramp(100));
    for (let i = 0; i < 3; i++) {
      pull(buffer, 60);
      expect(buffer.underruns).toBe(i);
      buffer.push("a", ramp(10));
      prebuffers.push(buffer.prebuffer);
      expect(silent(pull(buffer).samples), "it fills up again").toBe(true);
      buffer.push("a", ramp(buffer.prebuffer - 10));
      expect(pull(buffer)).toMatchObject({ samples: ramp(10), began: [] });
    }
    expect([buffer.underruns, prebuffers]).toEqual([3, [200, 300, 300]]);
  });

  test("is none if the reply only ends late", () => {
    const buffer = newBuffer();
    buffer.push("a", ramp(100));
    expect(pull(buffer, 20).finished).toEqual([]);
    buffer.end("a");
    expect(pull(buffer).finished).toEqual(["a"]);
    expect([buffer.underruns, buffer.prebuffer]).toEqual([0, 100]);
  });
});

describe("clear", () => {
  test("says how much was played, and fades to silence without a jump", () => {
    const buffer = newBuffer();
    buffer.push("a", new Float32Array(200).fill(0.5));
    pull(buffer, 7);
    expect(buffer.clear()).toEqual({ id: "a", played: 70 });
    const { samples, began, finished } = pull(buffer, 60);
    expect([began, finished]).toEqual([[], []]);
    for (const [i, sample] of samples.entries()) {
      const before = i === 0 ? 0.5 : samples[i - 1]!;
      expect(Math.abs(before - sample), `sample ${i}`).toBeLessThan(0.02);
    }
    expect(silent(samples.slice(-100))).toBe(true);
    expect(buffer.clear()).toBeUndefined();
  });

  test("says that nothing was played of a reply that waits", () => {
    const buffer = newBuffer();
    buffer.push("a", ramp(10));
    pull(buffer);
    expect(buffer.clear()).toEqual({ id: "a", played: 0 });
    buffer.push("b", ramp(100));
    expect(pull(buffer)).toMatchObject({ samples: ramp(10), began: ["b"] });
  });
});
