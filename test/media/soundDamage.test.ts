import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { damaged, ffmpeg, hasFfmpeg } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-damage-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** 20 s of noise in a format. */
async function noise(name: string, ...codec: string[]): Promise<Buffer> {
  const source = "anoisesrc=duration=20:sample_rate=44100:amplitude=0.3:seed=1";
  ffmpeg("-f", "lavfi", "-i", source, "-ac", "1", ...codec, file(name));
  return readFile(file(name));
}

/** Loads a file of these bytes, and returns its length in seconds. */
async function seconds(name: string, bytes: Uint8Array): Promise<number> {
  await writeFile(file(name), bytes);
  return (await loadAudio(file(name))).length / 16000;
}

/** 1000 frames of AMR at 12.2 kbit/s, whose bits are noise: a header byte and 31 bytes for 20 ms. */
function amr(): Buffer {
  const bytes = damaged(Buffer.alloc(6 + 32 * 1000), 0, 1);
  bytes.write("#!AMR\n", "latin1");
  for (let at = 6; at < bytes.length; at += 32) bytes[at] = 0x3c;
  return bytes;
}

/** Flips a bit in the middle of every `step`-th frame of AC-3, so that its checksum is wrong. */
function withBadFrames(ac3: Buffer, step: number): Buffer {
  const copy = Buffer.from(ac3);
  const frameBytes = ac3.indexOf(Buffer.from([0x0b, 0x77]), 2);
  for (let at = 0; at + frameBytes <= copy.length; at += frameBytes * step) copy[at + (frameBytes >> 1)]! ^= 1;
  return copy;
}

const lost = /it is damaged or cut short: \d+\.\d of \d+\.\d s of sound can be decoded; copy or encode it again$/;

describe.skipIf(!hasFfmpeg)("sound of which more than a quarter is known to be lost is refused, less is not", () => {
  it.each<[string, string[]]>([
    ["aac", []],
    ["ac3", []],
    ["mp3", []],
    ["mp3 without a duration", ["-write_xing", "0"]],
    ["ts", ["-c:a", "aac"]],
    ["ts of AC-3", ["-ar", "48000", "-c:a", "ac3"]],
    ["ts of MP2", ["-c:a", "mp2"]],
    ["ts of Opus", ["-c:a", "libopus"]],
    ["mpg", ["-c:a", "mp2"]],
    ["flv", ["-c:a", "aac"]],
    ["avi", ["-c:a", "mp3"]],
  ])("in %s", async (title, codec) => {
    const extension = title.split(" ")[0]!;
    const bytes = await noise(`whole.${extension}`, ...codec);
    expect(await seconds(`same.${extension}`, bytes)).toBeCloseTo(20, 0);
    expect(await seconds(`some.${extension}`, damaged(bytes, 0.6, 0.64, 0))).toBeGreaterThan(17);
    for (const value of [undefined, 0])
      await expect(seconds(`much.${extension}`, damaged(bytes, 0.3, 0.7, value))).rejects.toMatchObject({
        code: "MEDIA_INVALID",
        // Noise that happens to be frames of AAC may be louder than anything that is taken.
        message: expect.stringMatching(title === "aac" ? new RegExp(`${lost.source}|sample \\d+ is -?\\d+`) : lost),
      });
  });

  it("where frames of AC-3 have wrong checksums", async () => {
    for (const [name, codec] of [
      ["sums.ac3", []],
      ["sums.ts", ["-f", "mpegts"]],
    ] as const) {
      await noise("sums-whole.ac3");
      const remux = async (frames: Buffer): Promise<Buffer> => {
        await writeFile(file("sums-bad.ac3"), frames);
        ffmpeg("-f", "ac3", "-i", file("sums-bad.ac3"), "-c", "copy", ...codec, file(name));
        return readFile(file(name));
      };
      const whole = await readFile(file("sums-whole.ac3"));
      expect(await seconds(name, await remux(withBadFrames(whole, 6)))).toBeCloseTo(20, 0);
      await expect(seconds(name, await remux(withBadFrames(whole, 2)))).rejects.toThrow(
        /: (9|10)\.\d of 20\.\d s of sound/,
      );
    }
  });

  it("where frames of AMR cannot be decoded", async () => {
    expect(await seconds("whole.amr", amr())).toBe(20);
    expect(await seconds("some.amr", damaged(amr(), 0.5, 0.54))).toBeGreaterThan(19);
    await expect(seconds("much.amr", damaged(amr(), 0.3, 0.7))).rejects.toThrow(lost);
  });

  it("where a minute of MPEG-TS has a hole of 24 s, or packets of 24 s are missing among others", async () => {
    ffmpeg(
      ...["-f", "lavfi", "-i", "anoisesrc=duration=60:sample_rate=48000:amplitude=0.3:seed=1"],
      ...["-c:a", "aac", file("minute.ts")],
    );
    const bytes = await readFile(file("minute.ts"));
    await expect(seconds("hole.ts", damaged(bytes, 0.3, 0.7, 0))).rejects.toThrow(/: 3\d\.\d of \d\d\.\d s of sound/);
    const packets = Array.from({ length: bytes.length / 188 }, (_, i) => bytes.subarray(188 * i, 188 * (i + 1)));
    const kept = packets.filter((_, i) => i < 20 || Math.floor(i / 60) % 2 === 0);
    await expect(seconds("gaps.ts", Buffer.concat(kept))).rejects.toThrow(lost);
  });

  it("where an MP3 is shorter than it states", async () => {
    const bytes = await noise("stated.mp3");
    await expect(seconds("short.mp3", bytes.subarray(0, bytes.length * 0.6))).rejects.toThrow(
      /: 1[12]\.\d of 20\.\d s/,
    );
  });

  it("but not where two recordings of MPEG-TS have other clocks", async () => {
    await noise("first.ts", "-c:a", "aac");
    ffmpeg("-i", file("first.ts"), "-c", "copy", "-output_ts_offset", "3600", file("later.ts"));
    const [first, later] = [await readFile(file("first.ts")), await readFile(file("later.ts"))];
    for (const parts of [
      [first, first],
      [first, later],
      [later, first],
    ])
      expect(await seconds("joined.ts", Buffer.concat(parts))).toBeCloseTo(40, 0);
  });
});
