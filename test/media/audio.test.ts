import { execFileSync } from "node:child_process";
import { constants } from "node:fs";
import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { encodeWav, pcm16, WavWriter, wavHeader } from "../../lib/media/wav.js";
import { DuckSignal } from "../support/signals.js";
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

  it.skipIf(!hasFfmpeg)("reads bytes whose index is at their end", async () => {
    const path = join(directory, "index-last.mov"); // longer than what ffmpeg would keep of a pipe
    const source = ["-f", "lavfi", "-i", "sine=frequency=440:duration=60:sample_rate=48000"];
    execFileSync("ffmpeg", ["-v", "error", "-y", ...source, "-c:a", "pcm_s24le", path]);
    const bytes = await readFile(path);
    expect(bytes.indexOf("moov")).toBeGreaterThan(bytes.length / 2);
    vi.stubEnv("TMPDIR", await mkdtemp(join(directory, "temporary-")));
    try {
      expect((await loadAudio(bytes)).length).toBe(60 * 16000);
      expect(await readdir(tmpdir())).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it.skipIf(!hasFfmpeg)("removes the delay of an AAC encoder where the file states it", async () => {
    const source = "aevalsrc='if(lt(t,0.5),0,0.5*sin(2*PI*440*t))':d=1:s=16000";
    const onset = async (name: string) => {
      const path = join(directory, name);
      execFileSync("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:a", "aac", "-b:a", "64k", path]);
      return (await loadAudio(path)).findIndex((sample) => Math.abs(sample) > 0.25);
    };
    expect(Math.abs((await onset("delay.m4a")) - 8000)).toBeLessThan(100);
    // ADTS has no field for it: the samples begin with the delay, a frame of 1024 samples with ffmpeg's encoder.
    expect(Math.abs((await onset("delay.aac")) - 8000 - 1024)).toBeLessThan(100);
  });

  it("lets other work go on between pieces", async () => {
    const seconds = 10;
    const wav = encodeWav(sine(440, 48000, seconds), 48000);
    for (const input of [wav, { samples: sine(440, 48000, seconds), sampleRate: 48000 }]) {
      let turns = 0;
      let next = setImmediate(function turn() {
        turns++;
        next = setImmediate(turn);
      });
      await loadAudio(input);
      clearImmediate(next);
      expect(turns).toBeGreaterThan(2 * seconds);
    }
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

  it("inputs of another kind, and unknown options", async () => {
    const misspelt = { sample: new Float32Array(1), sampleRate: 16000 } as never;
    await expect(loadAudio(misspelt)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "audio must be a path, bytes, or { samples, sampleRate }, got an object with sample, sampleRate",
    });
    await expect(loadAudio(undefined as never)).rejects.toThrow(/got undefined/);
    await expect(loadAudio(new ArrayBuffer(4) as never)).rejects.toThrow(/got ArrayBuffer of 4 bytes/);
    await expect(loadAudio({ samples: new Int16Array(4), sampleRate: 16000 } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message:
        "audio: samples must be a Float32Array of values in [-1, 1] (16-bit samples divided by 32768), got Int16Array of 8 bytes",
    });
    await expect(loadAudio({ samples: [0, 1], sampleRate: 16000 } as never)).rejects.toThrow(/got a list of 2$/);
    await expect(loadAudio(whole, { samplerate: 8000 } as never)).rejects.toThrow(/did you mean "sampleRate"/);
  });

  it("unknown fields of a clip, since interleaved channels would be taken for one", async () => {
    const samples = new Float32Array(4);
    await expect(loadAudio({ samples, sampleRate: 16000, channels: 2 } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: 'audio has no field "channels": it takes samples, sampleRate',
    });
  });

  it.each<[unknown, string]>([
    ["16000", '"16000"'],
    [Number.NaN, "NaN"],
    [0, "0"],
    [22050.5, "22050.5"],
    [undefined, "undefined"],
  ])("the sample rate %j of a clip", async (sampleRate, got) => {
    await expect(loadAudio({ samples: new Float32Array(4), sampleRate } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `audio: sampleRate must be a whole number of Hz from 1000 to 768000, got ${got}`,
    });
  });

  it.each<[object, RegExp]>([
    [{ sampleRate: "16000" }, /^loadAudio: sampleRate must be a whole number of Hz .*, got "16000"$/],
    [{ maxSeconds: "9" }, /^loadAudio: maxSeconds must be a positive number, got "9"$/],
    [{ name: 3 }, /^loadAudio: name must be a string, got 3$/],
  ])("the options %j", async (options, message) => {
    await expect(loadAudio(whole, options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("what is no path of a file, in few words", async () => {
    const base64 = `data:audio/wav;base64,${"UklGR".repeat(10_000)}`;
    for (const path of ["-", "https://example.org/a.wav", "file:///a.wav", base64]) {
      const error = await loadAudio(path).catch((error) => error);
      expect(error.code).toBe("INVALID_ARGUMENT");
      expect(error.message).toMatch(/^expected the path of a file, got .*: read it and pass its bytes$/);
      expect(error.message.length).toBeLessThan(250);
    }
    const error = await loadAudio("UklGR".repeat(10_000)).catch((error) => error);
    expect([error.code, error.message.length < 250]).toEqual(["IO_ERROR", true]);
    await writeFile(join(directory, "empty.mp4"), "");
    await expect(loadAudio(join(directory, "empty.mp4"))).rejects.toThrow(/empty\.mp4: it is empty$/);
    await expect(loadAudio(directory)).rejects.toThrow(/it is a folder$/);
  });

  it.skipIf(process.platform === "win32")("a FIFO and a device, without waiting for them", async () => {
    const fifo = join(directory, "fifo.wav");
    execFileSync("mkfifo", [fifo]);
    for (const path of [fifo, "/dev/zero"])
      await expect(loadAudio(path)).rejects.toMatchObject({
        code: "IO_ERROR",
        message: `cannot read ${path}: it is not a regular file`,
      });
  });

  it("audio that is too long, naming the limit and its option", async () => {
    const wav = encodeWav(sine(440, 16000, 3), 16000);
    const clip = { samples: sine(440, 16000, 3), sampleRate: 16000 };
    for (const input of [wav, clip]) {
      await expect(loadAudio(input, { maxSeconds: 2 })).rejects.toMatchObject({
        code: "MEDIA_INVALID",
        message:
          "audio: it lasts 3.0 s, at most 2 s are possible; shorten it, split it into several parts, or raise maxSeconds",
      });
      expect((await loadAudio(input, { maxSeconds: 3 })).length).toBe(48000);
    }
    if (!hasFfmpeg) return;
    const path = join(directory, "long.mp3");
    execFileSync("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", "sine=duration=20", path]);
    await expect(loadAudio(path, { maxSeconds: 2, limitName: "limits.audioSeconds" })).rejects.toThrow(
      "it lasts more than 2 s, at most 2 s are possible; shorten it, split it into several parts, or raise limits.audioSeconds",
    );
  });

  it.skipIf(!hasFfmpeg)("a video without sound, and text", async () => {
    const silent = join(directory, "silent.mp4");
    execFileSync("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=duration=0.2", silent]);
    await expect(loadAudio(silent)).rejects.toThrow(/silent\.mp4: it has no audio$/);
    const text = join(directory, "text.wav");
    await writeFile(text, "Once upon a time\n");
    await expect(loadAudio(text)).rejects.toThrow(/text\.wav: no sound or video is found in it; taken are MP4/);
    await expect(loadAudio(await readFile(text), { name: "text" })).rejects.toThrow(
      /^text: no sound or video is found/,
    );
  });

  it("a missing file, and an aborted call", async () => {
    await expect(loadAudio(join(directory, "nowhere.wav"))).rejects.toMatchObject({ code: "IO_ERROR" });
    const controller = new AbortController();
    const decoding = loadAudio(encodeWav(sine(440, 48000, 20), 48000), { signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(decoding).rejects.toMatchObject({ code: "ABORTED" });
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
        message: expect.stringMatching(/ffmpeg is needed to decode song\.mp3 .* install it with: \w+/),
      });
    } finally {
      process.env.PATH = path;
    }
  });
});

describe("encodeWav refuses", () => {
  it.each<[unknown, unknown, string]>([
    [new Float32Array(2), "16000", 'sampleRate must be a positive integer up to 2147483647, got "16000"'],
    [new Float32Array(2), 0, "sampleRate must be a positive integer up to 2147483647, got 0"],
    [new Float32Array(2), 1.5, "sampleRate must be a positive integer up to 2147483647, got 1.5"],
    [new Float32Array(2), undefined, "sampleRate must be a positive integer up to 2147483647, got undefined"],
    [[0, 1], 16000, "samples must be a Float32Array of values in [-1, 1], got a list of 2"],
    [
      new Int16Array(2),
      16000,
      "samples must be a Float32Array of values in [-1, 1] (16-bit samples divided by 32768), got Int16Array of 4 bytes",
    ],
    [new Float32Array([0, Number.NaN]), 16000, "samples[1] must be a number in [-1, 1], got NaN"],
  ])("%j at %j Hz", (samples, sampleRate, message) => {
    expect(() => encodeWav(samples as never, sampleRate as never)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: `encodeWav: ${message}` }),
    );
  });
});

it("signals that cannot remove a listener are taken, and end the decoding", async () => {
  const path = join(directory, "signals.wav");
  await writeFile(path, encodeWav(sine(440, 16000, 0.1), 16000));
  const broken = Object.assign(new DuckSignal(), {
    removeEventListener() {
      throw new Error("broken");
    },
  });
  for (const duck of [new DuckSignal(), broken]) {
    const signal = duck as unknown as AbortSignal;
    expect((await loadAudio(path, { signal })).length).toBe(1600);
    const decoding = loadAudio(path, { signal });
    duck.abort();
    await expect(decoding).rejects.toMatchObject({ code: "ABORTED" });
  }
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

  it("refuses a FIFO at once, with and without a reader", async () => {
    const fifo = join(directory, "written-fifo.wav");
    execFileSync("mkfifo", [fifo]);
    const refused = { code: "IO_ERROR", message: expect.stringMatching(/^cannot write .*written-fifo\.wav: /) };
    await expect(WavWriter.create(fifo, 24000)).rejects.toMatchObject(refused);
    const reader = await open(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      await expect(WavWriter.create(fifo, 24000)).rejects.toMatchObject(refused);
    } finally {
      await reader.close();
    }
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
