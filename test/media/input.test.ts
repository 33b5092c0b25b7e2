import { expect, it } from "vitest";
import { joinSamples, loadAudio } from "../../lib/media/audio.js";
import { loadImage } from "../../lib/media/image.js";
import { ownBytes } from "../../lib/media/input.js";
import { turnsDuring } from "../support/turns.js";
import { sine } from "./inputs.js";

const piece = 2 ** 22;

/** Takes the memory of an array away, as a transfer to a worker does. */
const detach = (array: Uint8Array | Float32Array) =>
  structuredClone(array, { transfer: [array.buffer as ArrayBuffer] });

it("bytes are copied piece by piece", async () => {
  const bytes = Uint8Array.from({ length: 2 * piece + 3 }, (_, i) => (i * 7919) >> 8);
  let copy = new Uint8Array();
  const copying = async () => {
    copy = Uint8Array.from(await ownBytes(bytes, "x", undefined));
  };
  expect(await turnsDuring(copying)).toBe(9);
  expect(Buffer.compare(copy, bytes)).toBe(0);
  expect(await ownBytes(new Uint8Array(), "x", undefined)).toEqual(new Uint8Array());
});

it("an input whose memory is taken away while it is read is refused by name", async () => {
  const bytes = new Uint8Array(2 * piece);
  for (const load of [loadAudio, loadImage]) {
    const own = bytes.slice();
    setImmediate(() => detach(own));
    const loading = turnsDuring(() => load(own, { name: "clip" }));
    await expect(loading).rejects.toThrow(/^clip: its 8388608 bytes became 0 while they were read/);
  }
  const samples = sine(440, 48000, 10);
  const loading = loadAudio({ samples, sampleRate: 48000 }, { name: "clip" });
  setImmediate(() => detach(samples));
  await expect(loading).rejects.toThrow(/^clip: its 480000 samples became 0 while they were read/);
});

it("samples that are too long are refused before any is copied", async () => {
  const samples = new Float32Array(16000 * 3);
  const slice = () => {
    throw new Error("copied");
  };
  Object.assign(samples, { slice });
  const loading = loadAudio({ samples, sampleRate: 16000 }, { maxSeconds: 2 });
  await expect(loading).rejects.toThrow(/it lasts 3\.0 s, at most 2 s/);
});

it("parts of sound are joined piece by piece", async () => {
  const parts = [new Float32Array(3).fill(1), new Float32Array(2 ** 20 + 1).fill(2), new Float32Array(0)];
  const expected = [...parts[0]!, ...parts[1]!];
  let joined = new Float32Array();
  const joining = async () => {
    joined = Float32Array.from(await joinSamples(parts));
  };
  expect(await turnsDuring(joining)).toBe(6);
  expect(joined).toEqual(Float32Array.from(expected));
});
