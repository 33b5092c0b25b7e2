import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { encodeWav, pcm16, WavWriter, wavHeader } from "../../lib/media/wav.js";
import { hasFfmpeg, itWith, rms, sine } from "./inputs.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-audio-"));
});
afterAll(() => rm(directory, { recursive: true }));

interface Coding {
  readonly format: number;
  readonly bits: number;
  readonly write: (view: DataView, at: number, value: number) => void;
}
const codings: Record<string, Coding> = {
  u8: { format: 1, bits: 8, write: (view, at, value) => view.setUint8(at, Math.round(value * 127) + 128) },
  s16: { format: 1, bits: 16, write: (view, at, value) => view.setInt16(at, Math.round(value * 32767), true) },
  s24: {
    format: 1,
    bits: 24,
    write: (view, at, value) => {
      const int = Math.round(value * 8388607);
      view.setUint16(at, int & 0xffff, true);
      view.setInt8(at + 2, int >> 16);
    },
  },
  s32: { format: 1, bits: 32, write: (view, at, value) => view.setInt32(at, Math.round(value * 2147483647), true) },
  f32: { format: 3, bits: 32, write: (view, at, value) => view.setFloat32(at, value, true) },
  f64: { format: 3, bits: 64, write: (view, at, value) => view.setFloat64(at, value, true) },
};

/** A WAV file of the given coding; all `channels` have the same length. */
function wav(coding: Coding, channels: Float32Array[], sampleRate: number): Uint8Array {
  const bytesPerSample = coding.bits / 8;
  const dataBytes = channels.length * channels[0]!.length * bytesPerSample;
  const file = Buffer.concat([wavHeader(sampleRate, dataBytes), Buffer.alloc(dataBytes)]);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  view.setUint16(20, coding.format, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(28, sampleRate * channels.length * bytesPerSample, true);
  view.setUint16(32, channels.length * bytesPerSample, true);
  view.setUint16(34, coding.bits, true);
  channels.forEach((channel, c) => {
    channel.forEach((value, i) => {
      coding.write(view, 44 + (i * channels.length + c) * bytesPerSample, value);
    });
  });
  return file;
}

describe("loadAudio", () => {
  it.each(Object.keys(codings))("decodes %s, with one and with several channels", async (name) => {
    const coding = codings[name]!;
    const tolerance = 2 / 2 ** Math.min(coding.bits - 1, 23); // rounding, and a full scale of 32767 instead of 32768
    const left = sine(440, 16000, 0.1);
    const right = sine(1000, 16000, 0.1, 0.9);
    const third = sine(3000, 16000, 0.1, 0.2);
    for (const channels of [[left], [left, right], [left, right, third]]) {
      const samples = await loadAudio(wav(coding, channels, 16000));
      expect(samples.length).toBe(1600);
      for (let i = 0; i < samples.length; i++) {
        const mean = channels.reduce((sum, channel) => sum + channel[i]!, 0) / channels.length;
        expect(Math.abs(samples[i]! - mean)).toBeLessThan(tolerance);
      }
    }
  });

  it("resamples files and raw samples", async () => {
    const tone = sine(440, 48000, 1);
    for (const input of [encodeWav(tone, 48000), { samples: tone, sampleRate: 48000 }]) {
      const samples = await loadAudio(input);
      expect(samples.length).toBe(16000);
      expect(rms(samples)).toBeCloseTo(0.5 * Math.SQRT1_2, 3);
    }
    expect((await loadAudio({ samples: tone, sampleRate: 48000 }, { sampleRate: 24000 })).length).toBe(24000);
  });

  itWith("speech_48k_24bit.wav", "reads real speech", async (path) => {
    const samples = await loadAudio(path);
    expect(samples.length).toBe(Math.ceil(645334 / 3));
    expect(rms(samples)).toBeGreaterThan(0.01);
  });

  it.skipIf(!hasFfmpeg)("reads other containers through ffmpeg, by path and as bytes", async () => {
    const path = join(directory, "tone.wav");
    await writeFile(path, encodeWav(sine(440, 44100, 1), 44100));
    for (const extension of ["flac", "mp3", "ogg"]) {
      const other = join(directory, `tone.${extension}`);
      execFileSync("ffmpeg", ["-v", "error", "-y", "-i", path, "-af", "pan=stereo|c0=c0|c1=c0", other]);
      for (const input of [other, await readFile(other)]) {
        const samples = await loadAudio(input);
        expect(Math.abs(samples.length - 16000)).toBeLessThan(2000); // encoders pad
        expect(rms(samples, 3000), extension).toBeCloseTo(0.5 * Math.SQRT1_2, 1);
      }
    }
  });

  it.skipIf(!hasFfmpeg)("reads A-law and mu-law", async () => {
    const path = join(directory, "law.wav");
    await writeFile(path, encodeWav(sine(440, 16000, 0.5), 16000));
    for (const codec of ["pcm_alaw", "pcm_mulaw"]) {
      const other = join(directory, `${codec}.wav`);
      execFileSync("ffmpeg", ["-v", "error", "-y", "-i", path, "-c:a", codec, other]);
      expect(rms(await loadAudio(other))).toBeCloseTo(0.5 * Math.SQRT1_2, 2);
    }
  });

  it("reads a WAV of unknown length, as written to a pipe", async () => {
    const file = Buffer.concat([wavHeader(16000), pcm16(sine(440, 16000, 0.5))]);
    expect((await loadAudio(file)).length).toBe(8000);
  });
});

describe("loadAudio refuses", () => {
  const whole = encodeWav(sine(440, 16000, 0.5), 16000);
  const changed = (change: (view: DataView) => void): Uint8Array => {
    const copy = new Uint8Array(whole);
    change(new DataView(copy.buffer));
    return copy;
  };
  const random = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919 + (i >> 3) * 104729) & 255);

  it.each<[string, Parameters<typeof loadAudio>[0], RegExp]>([
    ["an empty file", new Uint8Array(0), /clip.wav: it is empty/],
    ["a WAV without samples", encodeWav(new Float32Array(0), 16000), /clip.wav: it holds no samples/],
    ["no samples", { samples: new Float32Array(0), sampleRate: 16000 }, /it holds no samples/],
    ["NaN", { samples: new Float32Array([0, Number.NaN]), sampleRate: 16000 }, /sample 1 is NaN/],
    ["Infinity", { samples: new Float32Array([Number.POSITIVE_INFINITY]), sampleRate: 16000 }, /sample 0 is Infinity/],
    ["rate 0", { samples: new Float32Array([0, 1]), sampleRate: 0 }, /sample rate is 0 Hz/],
    ["NaN in a float WAV", wav(codings.f32!, [new Float32Array([0, 0, Number.NaN])], 16000), /sample 2 is NaN/],
    ["a truncated WAV", whole.subarray(0, 4000), /"data" chunk should have 16000 bytes, got 3956/],
    ["a lying header", changed((view) => view.setUint32(40, 1e9, true)), /should have 1000000000 bytes, got 16000/],
    ["a header cut short", whole.subarray(0, 30), /"fmt " chunk should have 16 bytes, got 10/],
    ["a WAV without data", whole.subarray(0, 36), /no "data" chunk/],
    ["no channels", changed((view) => view.setUint16(22, 0, true)), /0 channels/],
    ["an absurd rate", changed((view) => view.setUint32(24, 4e9, true)), /sample rate is 4000000000 Hz/],
    ["rate 0 in a header", changed((view) => view.setUint32(24, 0, true)), /sample rate is 0 Hz/],
  ])("%s", async (_, input, message) => {
    await expect(loadAudio(input, { name: "clip.wav" })).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(message),
    });
  });

  it.skipIf(!hasFfmpeg)("random bytes, naming the file", async () => {
    const path = join(directory, "random.mp3");
    await writeFile(path, random);
    for (const input of [path, random]) {
      await expect(loadAudio(input)).rejects.toMatchObject({ code: "MEDIA_INVALID" });
    }
    await expect(loadAudio(path)).rejects.toThrow(/random\.mp3: /);
  });

  it("every mutated header with a CaracalError, unless it gives samples", async () => {
    const path = process.env.PATH;
    process.env.PATH = directory; // codings that only ffmpeg decodes give MISSING_TOOL
    let seed = 7;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const seen = new Set<string>();
    try {
      for (let round = 0; round < 400; round++) {
        const hostile = new Uint8Array(whole);
        for (let changes = 1 + random(3); changes > 0; changes--) hostile[4 + random(40)] = random(256);
        const outcome = await loadAudio(hostile).then(
          (samples) => (samples.every(Number.isFinite) ? "samples" : "not finite"),
          (error) => error.code ?? error.stack,
        );
        seen.add(outcome);
      }
    } finally {
      process.env.PATH = path;
    }
    expect([...seen].sort()).toEqual(["MEDIA_INVALID", "MISSING_TOOL", "samples"]);
  });

  it("inputs of another kind, and unknown options", async () => {
    const misspelt = { sample: new Float32Array(1), sampleRate: 16000 } as never;
    await expect(loadAudio(misspelt)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "audio must be a path, bytes, or { samples, sampleRate }, got an object with sample, sampleRate",
    });
    await expect(loadAudio(undefined as never)).rejects.toThrow(/got undefined/);
    await expect(loadAudio(whole, { samplerate: 8000 } as never)).rejects.toThrow(/did you mean "sampleRate"/);
  });

  it("a missing file, and an aborted call", async () => {
    await expect(loadAudio(join(directory, "nowhere.wav"))).rejects.toMatchObject({ code: "IO_ERROR" });
    const signal = AbortSignal.abort();
    const clip = { samples: new Float32Array(10), sampleRate: 48000 };
    await expect(loadAudio(clip, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("compressed audio when ffmpeg is missing, naming the install command", async () => {
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      await expect(loadAudio(random, { name: "song.mp3" })).rejects.toMatchObject({
        code: "MISSING_TOOL",
        message: expect.stringMatching(/ffprobe is needed to decode song\.mp3 .* install it with: \w+/),
      });
    } finally {
      process.env.PATH = path;
    }
  });
});

describe("WavWriter", () => {
  it("writes a file that loadAudio can read at any time, and patches its header at the end", async () => {
    const path = join(directory, "written.wav");
    const tone = sine(440, 24000, 0.5);
    const writer = await WavWriter.create(path, 24000);
    await writer.write(tone.subarray(0, 5000));
    expect((await loadAudio(path, { sampleRate: 24000 })).length).toBe(5000);
    await writer.write(tone.subarray(5000));
    expect(writer.seconds).toBeCloseTo(0.5);
    await writer.close();
    expect(await readFile(path)).toEqual(Buffer.from(encodeWav(tone, 24000)));
    const samples = await loadAudio(path, { sampleRate: 24000 });
    for (let i = 0; i < tone.length; i++) expect(Math.abs(samples[i]! - tone[i]!)).toBeLessThan(1 / 32000);
  });

  it("clips samples, and writes NaN as 0", () => {
    expect([...new Int16Array(new Uint8Array(pcm16(new Float32Array([2, -2, Number.NaN, 0.5]))).buffer)]).toEqual([
      32767, -32767, 0, 16384,
    ]);
  });

  it("reports a path that cannot be written, and a full disk", async () => {
    await expect(WavWriter.create(join(directory, "no", "such.wav"), 24000)).rejects.toMatchObject({
      code: "IO_ERROR",
    });
    if (process.platform === "linux") {
      await expect(WavWriter.create("/dev/full", 24000)).rejects.toMatchObject({
        code: "IO_ERROR",
        message: expect.stringMatching(/ENOSPC/),
      });
    }
  });
});
