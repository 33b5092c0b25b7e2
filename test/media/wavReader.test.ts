import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { ByteReader } from "../../lib/media/byteReader.js";
import { encodeWav, pcm16 } from "../../lib/media/wav.js";
import { mixWeights, readWav } from "../../lib/media/wavReader.js";
import { fmtChunk, hasFfmpeg, itWith, riff, riffChunk, sine } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-wav-"));
});
afterAll(() => rm(directory, { recursive: true }));

function ffmpeg(...args: string[]): Buffer {
  return execFileSync("ffmpeg", ["-v", "error", "-y", ...args], { maxBuffer: 2 ** 28 });
}

function expectClose(actual: Float32Array, expected: Float32Array, tolerance: number, what: string): void {
  expect(actual.length, what).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
  expect(worst, what).toBeLessThanOrEqual(tolerance);
}

describe.skipIf(!hasFfmpeg)("a WAV file of ffmpeg has the samples that ffmpeg decodes", () => {
  const pcm = ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"];
  const others = ["adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha", "adpcm_swf", "mp2", "wmav2"];
  /** Different channels; the second is all that a reader of one channel would miss. */
  const signals = ["0.5*sin(440*2*PI*t)", "0.3*sin(1000*2*PI*t)*t", "0.2*sin(100*2*PI*t)"];
  const sampleRate = 22050;

  /** Makes the files CODEC.wav and what ffmpeg decodes of them, CODEC.f32, in two runs. */
  function make(channels: number, codecs: readonly string[]): void {
    const expressions = signals.slice(0, channels).join("|");
    const input = `aevalsrc=${expressions}:d=0.25:s=${sampleRate}:c=${["mono", "stereo", "3.0"][channels - 1]}`;
    ffmpeg(
      "-f",
      "lavfi",
      "-i",
      input,
      ...codecs.flatMap((codec) => ["-map", "0", "-c:a", codec, file(`${codec}.wav`)]),
    );
    const inputs = codecs.flatMap((codec) => ["-i", file(`${codec}.wav`)]);
    const raw = ["-c:a", "pcm_f32le", "-f", "f32le"];
    ffmpeg(...inputs, ...codecs.flatMap((codec, i) => ["-map", `${i}`, ...raw, file(`${codec}.f32`)]));
  }

  it.each([1, 2, 3])("with %i channels", async (channels) => {
    const codecs = channels === 3 ? pcm : [...pcm, ...others];
    make(channels, codecs);
    for (const codec of codecs) {
      const wav = await readFile(file(`${codec}.wav`));
      if (wav.readUInt16LE(20) === 0xfffe) wav.writeUInt32LE(0, 40); // the mean is expected, whatever the loudspeakers
      const values = new Float32Array(new Uint8Array(await readFile(file(`${codec}.f32`))).buffer);
      const expected = Float32Array.from({ length: values.length / channels }, (_, i) => {
        const frame = values.subarray(i * channels, (i + 1) * channels);
        return frame.reduce((sum, value) => sum + value, 0) / channels;
      });
      expect(expected.length).toBeGreaterThan(sampleRate / 5);
      expectClose(await loadAudio(wav, { sampleRate }), expected, 1e-7, codec);
    }
  });

  it("as RF64, through a pipe, and with metadata before and after the samples", async () => {
    const expected = sine(440, 16000, 0.25);
    await writeFile(file("tone.wav"), encodeWav(expected, 16000));
    const copy = ["-i", file("tone.wav"), "-c", "copy"];
    ffmpeg(...copy, "-rf64", "always", file("rf64.wav"));
    await writeFile(file("pipe.wav"), ffmpeg(...copy, "-metadata", "title=a long title", "-f", "wav", "pipe:1"));
    for (const name of ["rf64.wav", "pipe.wav"]) expectClose(await loadAudio(file(name)), expected, 1e-4, name);
  });
});

describe("a WAV file's header", () => {
  const tone = sine(440, 16000, 0.1);
  const pcm = pcm16(tone);
  const s16 = fmtChunk({ tag: 1, bits: 16 });
  const plain = riff([s16, riffChunk("data", pcm)]);

  /** The tone in a coding, given how one value is written. */
  function coded(bits: number, write: (buffer: Buffer, value: number, at: number) => void, channels = 1): Buffer {
    const bytes = Buffer.alloc((tone.length * bits * channels) / 8);
    tone.forEach((value, i) => {
      for (let channel = 0; channel < channels; channel++) write(bytes, value, ((i * channels + channel) * bits) / 8);
    });
    return bytes;
  }

  it.each([
    ["float", 3, 32, coded(32, (buffer, value, at) => buffer.writeFloatLE(value, at))],
    ["double", 3, 64, coded(64, (buffer, value, at) => buffer.writeDoubleLE(value, at))],
    ["8 bits", 1, 8, coded(8, (buffer, value, at) => buffer.writeUInt8(Math.round(value * 127) + 128, at))],
    ["16 bits", 1, 16, Buffer.from(pcm)],
    ["24 bits", 1, 24, coded(24, (buffer, value, at) => buffer.writeIntLE(Math.round(value * 8388607), at, 3))],
    ["20 bits", 1, 20, coded(24, (buffer, value, at) => buffer.writeIntLE(Math.round(value * 524287) * 16, at, 3))],
    ["32 bits", 1, 32, coded(32, (buffer, value, at) => buffer.writeInt32LE(Math.round(value * 2147483647), at))],
  ])("may be extensible: %s", async (_, subFormat, bits, data) => {
    const samples = await loadAudio(riff([fmtChunk({ tag: 0xfffe, subFormat, bits }), riffChunk("data", data)]));
    expectClose(samples, tone, 2 / 2 ** Math.min(bits - 1, 23), `${bits} bits`);
  });

  it("may be extensible: A-law and µ-law have the values of ITU-T G.711", async () => {
    // Codes and their values from the tables of G.711: the largest, the smallest, and one of each segment's ends.
    const laws = [
      [6, [0xaa, 0x2a, 0xd5, 0x55, 0x80, 0x00], [32256, -32256, 8, -8, 5504, -5504]],
      [7, [0x80, 0x00, 0xff, 0x7f, 0x8f, 0x0f], [32124, -32124, 0, 0, 16764, -16764]],
    ] as const;
    for (const [law, codes, values] of laws) {
      for (const fields of [{ tag: law }, { tag: 0xfffe, subFormat: law }]) {
        const bytes = riff([fmtChunk({ ...fields, bits: 8 }), riffChunk("data", Buffer.from(codes))]);
        expect([...(await loadAudio(bytes))].map((value) => value * 32768 + 0)).toEqual(values);
      }
    }
  });

  it("may be big-endian", async () => {
    const swapped = Buffer.from(pcm).swap16();
    const bigEndian = true;
    const fmt = fmtChunk({ tag: 1, bits: 16 }, bigEndian);
    const bytes = riff(
      [fmt, riffChunk("LIST", Buffer.alloc(5), { bigEndian }), riffChunk("data", swapped, { bigEndian })],
      "RIFX",
    );
    expect(await loadAudio(bytes)).toEqual(await loadAudio(plain));
  });

  it.each([0, 0x7fffffff, 0x7ffff000, 0x80000000, 0xffffffff, 0xffffff00])(
    "may have a length that its writer did not know: %i",
    async (size) => {
      expect(await loadAudio(riff([s16, riffChunk("data", pcm, { size })]))).toEqual(await loadAudio(plain));
      const path = file(`size-${size}.wav`);
      await writeFile(path, riff([s16, riffChunk("data", pcm, { size })]));
      expect(await loadAudio(path)).toEqual(await loadAudio(plain));
    },
  );

  it("may have chunks after its samples, which are no samples", async () => {
    const list = riffChunk("LIST", Buffer.from("INFOISFT\x04\x00\x00\x00abc\x00", "latin1"));
    expect(await loadAudio(riff([s16, riffChunk("data", pcm), list]))).toEqual(await loadAudio(plain));
    const ds64 = Buffer.alloc(28);
    ds64.writeBigUInt64LE(BigInt(pcm.length), 8);
    const rf64 = riff([riffChunk("ds64", ds64), s16, riffChunk("data", pcm, { size: 0xffffffff }), list], "RF64");
    expect(await loadAudio(rf64)).toEqual(await loadAudio(plain));
    await expect(loadAudio(riff([s16, riffChunk("data", Buffer.alloc(0)), list]))).rejects.toThrow(
      "it holds no samples",
    );
  });

  it("promises samples that a file may have lost since", async () => {
    async function* shortened() {
      yield plain.subarray(0, 1000);
    }
    const wav = await readWav(new ByteReader(shortened(), plain.length), "a.wav");
    const read = async () => {
      for await (const piece of wav!.pieces(100)) expect(piece.length).toBeLessThanOrEqual(100);
    };
    await expect(read()).rejects.toThrow("a.wav: it became shorter while it was read: 478 of 1600 frames were left");
  });

  it("may miss bytes of the last frame only", async () => {
    const whole = await loadAudio(plain);
    expect(await loadAudio(plain.subarray(0, plain.length - 1))).toEqual(whole.subarray(0, whole.length - 1));
    await expect(loadAudio(plain.subarray(0, plain.length - 2))).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: 'audio: truncated: its "data" chunk should have 3200 bytes, got 3198',
    });
  });

  it.each<[string, Uint8Array, RegExp]>([
    [
      "frames of another size than its channels need",
      riff([fmtChunk({ tag: 1, bits: 24, frameBytes: 4 }), riffChunk("data", pcm)]),
      /1 channels of 24 bits need 3 bytes per frame, its header says 4/,
    ],
    ["samples before their format", riff([riffChunk("data", pcm), s16]), /"data" chunk comes before its "fmt "/],
    [
      "a short format",
      riff([riffChunk("fmt ", Buffer.alloc(14)), riffChunk("data", pcm)]),
      /has 14 bytes, at least 16/,
    ],
    [
      "a chunk of 4 GiB",
      riff([riffChunk("junk", pcm, { size: 0xfffffff0 })]),
      /"junk" chunk should have 4294967280 bytes, got 3200/,
    ],
    [
      "300 channels",
      riff([fmtChunk({ tag: 1, bits: 8, channels: 300 }), riffChunk("data", pcm)]),
      /300 channels, 1 to 256/,
    ],
    ["very many chunks", riff([Buffer.alloc(16 * 10_001), s16, riffChunk("data", pcm)]), /more than 10000 chunks/],
    [
      "float samples of 1e38",
      riff([fmtChunk({ tag: 3, bits: 32 }), riffChunk("data", Buffer.from(Float32Array.of(0, 1e38).buffer))]),
      /sample 1 is 9\.99.*e\+37; full scale is 1/,
    ],
  ])("with %s is refused", async (_, bytes, message) => {
    await expect(loadAudio(bytes)).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(message),
    });
  });

  it.skipIf(!hasFfmpeg).each([
    [0, 8],
    [0, 32],
    [0x50, 8],
    [0x50, 16],
    [0x55, 32],
    [0xffff, 8],
    [0xffff, 32],
    [1, 64],
    [3, 16],
    [4242, 16],
  ])("with the format tag %i and %i bits does not become noise", async (tag, bits) => {
    const outcome = await loadAudio(riff([fmtChunk({ tag, bits }), riffChunk("data", pcm)])).then(
      (samples) => samples.length,
      (error) => error.code,
    );
    // 64-bit integers are decoded by ffmpeg; the others are refused.
    expect(outcome).toBe(tag === 1 ? pcm.length / 8 : "MEDIA_INVALID");
  });

  itWith("../cases/audio/extensible-f32.wav", "of ../cases gives the right samples", async (path) => {
    const at = (name: string) => loadAudio(path.replace("extensible-f32", name));
    expect(await at("extensible-f32")).toEqual(await at("plain-f32"));
    expect(await at("extensible-mulaw")).toEqual(await at("plain-mulaw"));
    expect((await at("pipe-size-0")).length).toBe(4000);
    expect(await at("pipe-size-7fffffff")).toEqual(await at("pipe-size-0"));
  });
});

describe("the mix to mono", () => {
  const half = Math.SQRT1_2 / 2;

  it("is the mean of unknown channels, and of mono and stereo", () => {
    expect(mixWeights(1, 0x4)).toEqual([1]);
    expect(mixWeights(2, 0x3)).toEqual([0.5, 0.5]);
    expect(mixWeights(4, 0)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(mixWeights(3, 0x3)).toEqual([1 / 3, 1 / 3, 1 / 3]); // two loudspeakers for three channels
    expect(mixWeights(3, 0x1003)).toEqual([1 / 3, 1 / 3, 1 / 3]); // one above
  });

  it("is the mean of BS.775's left and right for loudspeakers", () => {
    expect(mixWeights(6, 0x3f)).toEqual([0.5, 0.5, Math.SQRT1_2, 0, half, half]);
    expect(mixWeights(6, 0x60f)).toEqual([0.5, 0.5, Math.SQRT1_2, 0, half, half]);
    expect(mixWeights(8, 0x63f)).toEqual([0.5, 0.5, Math.SQRT1_2, 0, half, half, half, half]);
  });

  it("keeps a voice in the centre of 5.1, also without named loudspeakers and after ffmpeg's decoding", async () => {
    const voice = sine(440, 48000, 0.1);
    const data = Buffer.alloc(voice.length * 6 * 4);
    for (const [i, value] of voice.entries()) data.writeFloatLE(value, (i * 6 + 2) * 4);
    const fields = { tag: 3, bits: 32, channels: 6, sampleRate: 48000 };
    const formats = [fields, { ...fields, subFormat: 3, speakers: 0x3f }, { ...fields, subFormat: 3, speakers: 0x60f }];
    const files = formats.map((format) => riff([fmtChunk(format), riffChunk("data", data)]));
    if (hasFfmpeg) {
      await writeFile(file("5.1.wav"), files[1]!);
      ffmpeg("-i", file("5.1.wav"), file("5.1.flac"));
      files.push(await readFile(file("5.1.flac")));
    }
    const expected = voice.map((value) => value * Math.SQRT1_2);
    for (const [i, bytes] of files.entries())
      expectClose(await loadAudio(bytes, { sampleRate: 48000 }), expected, 1e-5, `file ${i}`);
  });
});
