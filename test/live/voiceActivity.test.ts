import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { VoiceActivityDetector, type VoiceActivityStream } from "../../lib/live/voiceActivity.js";
import { Device } from "../../lib/tensor/tensor.js";
import { loadTensors, saveTensors } from "../../lib/tensorFiles.js";
import { allDevices, cuda, devices } from "../support/modelDevices.js";
import { pieces } from "../support/streams.js";
import { speech } from "./speech.js";

const path = fileURLToPath(new URL("silero.safetensors", import.meta.url));
const device = allDevices.at(-1)!;
const { tensors } = await loadTensors(path, { device });
/** What onnxruntime computed with the published file. */
const golden = async (name: string) => tensors[name]!.toFloat32Array();

const sounds: Readonly<Record<string, Float32Array>> = {
  speech: speech(),
  silence: new Float32Array(40 * 512),
  noise: await golden("input.noise"),
};

/** Chunks to compute: a chunk takes the virtual GPU a second. */
const chunksOn = (where: unknown) => (where === cuda ? 12 : Number.POSITIVE_INFINITY);

/** Pushes samples in random pieces, without waiting for one before the next. */
async function inPieces(stream: VoiceActivityStream, samples: Float32Array, seed: number): Promise<number[]> {
  let at = 0;
  const pushed = pieces(samples.length, seed, 1500).map((count) => {
    const piece = samples.slice(at, at + count);
    at += count;
    const found = stream.push(piece);
    piece.fill(Number.NaN); // it was copied
    return found;
  });
  return (await Promise.all(pushed)).flatMap((found) => [...found]);
}

describe.each(allDevices)("VoiceActivityDetector on $name", (device) => {
  it.each(Object.keys(sounds))("hears %s as the published network does", async (name) => {
    using detector = await VoiceActivityDetector.open({ device });
    const expected = (await golden(`expected.${name}`)).slice(0, chunksOn(device));
    const found = await detector.stream().push(sounds[name]!.subarray(0, expected.length * 512));
    expect(found.length).toBe(expected.length);
    for (const [i, probability] of found.entries()) expect(Math.abs(probability - expected[i]!)).toBeLessThan(2e-6);
  });

  it("computes each stream as if it were alone, and pieces as the whole", async () => {
    using detector = await VoiceActivityDetector.open({ device });
    const count = Math.min(20, chunksOn(device) / 2);
    const parts = [0, 9, 40].map((first) => sounds.speech!.subarray(first * 512, (first + count) * 512 + 100));
    const alone: number[][] = [];
    for (const part of parts) alone.push([...(await detector.stream().push(part))]);
    expect(alone.map(({ length }) => length)).toEqual([count, count, count]);
    expect(alone[1]!.some((probability) => probability > 0.5)).toBe(true);
    const together = parts.map((part, i) => inPieces(detector.stream(), part, i));
    expect(await Promise.all(together)).toEqual(alone);
  });
});

describe("VoiceActivityDetector", () => {
  const [device] = devices as [(typeof devices)[0]];

  it("refuses samples that are no numbers, and goes on as if they had not come", async () => {
    using detector = await VoiceActivityDetector.open({ device });
    const samples = sounds.speech!.subarray(4096, 8192);
    const expected = await detector.stream().push(samples);
    const stream = detector.stream();
    const first = await stream.push(samples.subarray(0, 1000));
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, -1e30])
      await expect(stream.push(Float32Array.of(0, wrong))).rejects.toThrow(/samples must be of values in \[-1, 1\]/);
    const rest = await stream.push(samples.subarray(1000));
    expect([...first, ...rest]).toEqual([...expected]);
  });

  it("takes turns between more streams than a step has", async () => {
    using detector = await VoiceActivityDetector.open({ device });
    const samples = sounds.speech!.subarray(4096, 4096 + 3 * 512);
    const expected = [...(await detector.stream().push(samples))];
    const found = await Promise.all(Array.from({ length: 70 }, () => detector.stream().push(samples)));
    expect(found.map((one) => [...one])).toEqual(found.map(() => expected));
  });

  it("fails what is pushed after its end, and what waits", async () => {
    const detector = await VoiceActivityDetector.open({ device });
    const stream = detector.stream();
    await stream.push(sounds.speech!.subarray(0, 1024));
    const waiting = stream.push(sounds.speech!.subarray(0, 5120));
    detector.dispose();
    detector.dispose();
    await expect(waiting).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(stream.push(new Float32Array(512))).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("frees everything", async () => {
    await using own = await Device.open({ backend: "cpu", threads: 1 });
    {
      using detector = await VoiceActivityDetector.open({ device: own });
      await Promise.all([1, 2].map(() => detector.stream().push(new Float32Array(1024))));
      expect(own.memory.inUse).toBeGreaterThan(2e6);
    }
    await own.synchronize();
    expect(own.memory.inUse).toBe(0);
  });

  it("refuses a file of other weights, and one that is not there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "caracal-vad-"));
    const weights = join(folder, "other.safetensors");
    try {
      const missing = VoiceActivityDetector.open({ device, weights });
      await expect(missing).rejects.toMatchObject({ code: "CHECKPOINT_INVALID" });
      using basis = device.zeros([258, 1, 256]);
      await saveTensors(weights, { "stft.basis": basis });
      const other = VoiceActivityDetector.open({ device, weights });
      await expect(other).rejects.toThrow("it needs a tensor encoder.0.weight of 49536 values");
      writeFileSync(weights, "nothing");
      await expect(VoiceActivityDetector.open({ device, weights })).rejects.toMatchObject({
        code: "CHECKPOINT_INVALID",
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
