import { describe, expect, test, vi } from "vitest";
import { aLaw, encodeALaw, encodeMuLaw, muLaw } from "../../../lib/media/g711.js";
import { Resampler } from "../../../lib/media/resample.js";
import { pcm16 } from "../../../lib/media/wav.js";
import type { AudioFormat } from "../../../lib/server/realtime/audioFormat.js";
import { AudioIn } from "../../../lib/server/realtime/audioIn.js";
import { AudioOut } from "../../../lib/server/realtime/audioOut.js";
import { InputBuffer } from "../../../lib/server/realtime/inputBuffer.js";
import { atOnce } from "../../../lib/turns.js";
import { speech } from "../../live/speech.js";
import { turnsDuring } from "../../support/turns.js";

const formats: readonly AudioFormat[] = [
  { type: "audio/pcm", rate: 24000 },
  { type: "audio/pcm", rate: 16000 },
  { type: "audio/pcmu" },
  { type: "audio/pcma" },
];
const nameOf = (format: AudioFormat) => ("rate" in format ? `${format.type} at ${format.rate}` : format.type);
const rateOf = (format: AudioFormat) => ("rate" in format ? format.rate : 8000);
const joined = <T extends Uint8Array | Float32Array>(pieces: readonly T[]) => pieces.flatMap((piece) => [...piece]);
const samples = speech().slice(16000, 24000);
const encoders = { "audio/pcm": pcm16, "audio/pcmu": encodeMuLaw, "audio/pcma": encodeALaw };
/** Of whole recordings. */
const resampled = (values: Float32Array, from: number, to: number) => {
  if (from === to) return values;
  const resampler = atOnce(Resampler.design(from, to));
  return Float32Array.from([...resampler.push(values), ...resampler.flush()]);
};

/** Cuts of all kinds: none, single bytes, odd and even pieces, and what there is of empty ones. */
const cuts = { whole: [1e9], "single bytes": [1], "odd pieces": [1, 3, 5, 1023, 7], "even pieces": [2, 1024, 0, 6] };
const pieces = <T extends Uint8Array | Float32Array>(values: T, sizes: readonly number[]): T[] => {
  const result: T[] = [];
  for (let at = 0, i = 0; at < values.length; at += sizes[i++ % sizes.length]!)
    result.push(values.subarray(at, at + sizes[i % sizes.length]!) as T);
  return result;
};

describe.each(formats.map((format) => [nameOf(format), format] as const))("%s", (_, format) => {
  const written = resampled(samples, 16000, rateOf(format));
  const bytes = encoders[format.type](written);

  test.each(Object.entries(cuts))("is heard as the whole is, in %s", (_, sizes) => {
    const audio = new AudioIn(format, 16000);
    const heard = [...pieces(bytes, sizes).map((piece) => audio.push(piece)), audio.end()];
    const values = format.type === "audio/pcm" ? new Int16Array(bytes.buffer) : bytes;
    const tables = { "audio/pcm": null, "audio/pcmu": muLaw, "audio/pcma": aLaw };
    const decoded = Float32Array.from(values, (value) => tables[format.type]?.[value] ?? value / 32768);
    expect(joined(heard)).toEqual([...resampled(decoded, rateOf(format), 16000)]);
  });

  test.each(Object.entries(cuts))("is said as the whole is, in %s", (_, sizes) => {
    const audio = new AudioOut(format, 24000);
    const spoken = resampled(samples, 16000, 24000);
    const said = [...pieces(spoken, sizes).map((piece) => audio.push(piece)), audio.end()];
    expect(joined(said)).toEqual([...encoders[format.type](resampled(spoken, 24000, rateOf(format)))]);
  });

  test("begins anew after its end", () => {
    const audio = new AudioIn(format, 16000);
    const first = [...audio.push(bytes), ...audio.end()];
    audio.push(bytes.subarray(0, 333));
    audio.end(); // half a sample of PCM is forgotten
    expect([...audio.push(bytes), ...audio.end()]).toEqual(first);
  });
});

test("a minute of sound that comes at once leaves the event loop its turns", async () => {
  const pushed: number[] = [];
  const session = {
    ended: new AbortController().signal,
    waitingSeconds: 0,
    push: async (heard: Float32Array) => pushed.push(heard.length),
  };
  const format = formats[0]!;
  const onSound = vi.fn();
  const buffer = new InputBuffer(session as never, { format, rate: 16000, most: 60, onSound });
  expect(await turnsDuring(() => buffer.append(new Uint8Array(60 * 48_000)))).toBeGreaterThanOrEqual(240);
  await buffer.settle();
  expect(pushed.reduce((sum, count) => sum + count)).toBe(60 * 16_000);
  expect(onSound.mock.calls).toEqual([[60]]);
});
