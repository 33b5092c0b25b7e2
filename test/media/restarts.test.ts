// Files whose time stamps go back or jump, because recordings were appended to one another or bits are damaged.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { openVideo, type Video } from "../../lib/media/video.js";
import { damaged, ffmpeg, hasEncoder, hasFfmpeg } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-restarts-"));
});
afterAll(() => rm(directory, { recursive: true }));

const h264 = "-c:v libx264 -qp 5 -g 10 -bf 2 -pix_fmt yuv420p".split(" ");
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** Makes a video of 10 pictures/s, which are plain greys of the levels 8·`from` … 8·(`to` − 1), with a tone. */
function record(name: string, [from, to]: readonly [number, number], codec: readonly string[], size = "64x48"): void {
  const seconds = (to - from) / 10;
  const pictures = `color=black:size=${size}:rate=10:duration=${seconds},format=gray,geq=lum='8*(N+${from})'`;
  const tone = `aevalsrc=sin(2*PI*440*t)/2:sample_rate=48000:duration=${seconds}`;
  ffmpeg("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", tone, ...codec, file(name));
}

/** Writes files behind one another. */
async function append(name: string, ...parts: string[]): Promise<string> {
  await writeFile(file(name), Buffer.concat(await Promise.all(parts.map((part) => readFile(file(part))))));
  return file(name);
}

/** The numbers of the pictures that a video shows, told by their grey. */
async function numbers(video: Video, indices = range(0, video.frameCount)): Promise<number[]> {
  const shown: number[] = [];
  for await (const { data } of video.frames(indices)) shown.push(Math.round(data[data.length >> 1]! / 8));
  return shown;
}

describe.skipIf(!hasFfmpeg)("a recording that was appended to another", () => {
  it.each<[string, string[]]>([
    ["ts", h264],
    ["mkv", [...h264, "-live", "1"]],
    ["webm", "-c:v libvpx -b:v 2M -qmax 8 -deadline realtime -pix_fmt yuv420p -live 1".split(" ")],
  ])("follows it, in %s of unstated size", async (container, codec) => {
    record(`a.${container}`, [0, 30], codec);
    record(`b.${container}`, [10, 25], codec);
    const [a, b] = [`a.${container}`, `b.${container}`];
    const video = await openVideo(await append(`aba.${container}`, a, b, a));
    expect([video.fps, video.frameCount]).toEqual([10, 75]);
    expect(await numbers(video)).toEqual([...range(0, 30), ...range(10, 25), ...range(0, 30)]);
    expect(await numbers(video, [29, 30, 44, 45, 74])).toEqual([29, 10, 24, 0, 29]);
    expect((await video.audio())!.length / 16000).toBeCloseTo(7.5, 0);
    await expect(openVideo(video.name, { maxSeconds: 7 })).rejects.toThrow(/the limit is 7 s/);
  });

  it("follows it in MPEG-PS, whose pictures come at 25/s", async () => {
    const codec = "-c:v mpeg2video -q:v 2 -r 25 -c:a mp2".split(" ");
    record("a.mpg", [0, 30], codec);
    record("b.mpg", [10, 25], codec);
    const shown = await numbers(await openVideo(await append("ab.mpg", "a.mpg", "b.mpg")));
    const changes = shown.filter((level, i) => level !== shown[i - 1]);
    expect(changes).toEqual([...range(0, 30), ...range(10, 25)]);
  });

  it("follows it without a pause in MPEG-TS where the clock jumps ahead, or begins anew in the middle", async () => {
    record("a.ts", [0, 30], h264);
    record("b.ts", [10, 25], h264);
    ffmpeg("-i", file("b.ts"), "-c", "copy", "-output_ts_offset", "50000", file("later.ts"));
    const jump = await openVideo(await append("jump.ts", "a.ts", "later.ts", "a.ts"));
    expect(await numbers(jump)).toEqual([...range(0, 30), ...range(10, 25), ...range(0, 30)]);
    expect((await jump.audio())!.length / 16000).toBeCloseTo(7.5, 0);
    ffmpeg("-i", file("a.ts"), "-c", "copy", "-output_ts_offset", "95441", file("wrap.ts")); // 2^33 / 90000 = 95443.7
    expect(await numbers(await openVideo(file("wrap.ts")))).toEqual(range(0, 30));
  });

  it("begins with the first picture of it that can be decoded", async () => {
    record("a.ts", [0, 30], h264);
    record("whole.mkv", [0, 30], h264);
    ffmpeg("-i", file("whole.mkv"), "-c", "copy", "-bsf:v", "noise=drop='lt(n,4)'", file("headless.ts"));
    const shown = await numbers(await openVideo(await append("a-headless.ts", "a.ts", "headless.ts")));
    expect(shown.slice(0, 29)).toEqual(range(0, 29));
    expect(shown.slice(-20)).toEqual(range(10, 30));
  });

  it("is all heard, in formats without time stamps or with their own", async () => {
    const tone = (seconds: number) => ["-f", "lavfi", "-i", `sine=frequency=440:sample_rate=48000:duration=${seconds}`];
    for (const extension of ["mp3", "aac", "ac3", "ogg", "opus", "ts"]) {
      ffmpeg(...tone(3), file(`long.${extension}`));
      ffmpeg(...tone(2), file(`short.${extension}`));
      const path = await append(`both.${extension}`, `long.${extension}`, `short.${extension}`);
      expect(Math.abs((await loadAudio(path)).length / 16000 - 5), extension).toBeLessThan(0.15);
    }
  });

  it.each([
    ["MP4", "mp4", []],
    ["fragmented MP4", "mp4", ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]],
    ["Matroska that states its size", "mkv", []],
    ["Ogg with pictures", "ogv", ["-c:v", "libtheora"]],
  ])("is refused in %s", async (kind, container, flags) => {
    if (container === "ogv" && !hasEncoder("libtheora"))
      return void console.warn(`${kind} is not tested: no libtheora`);
    record(`closed.${container}`, [0, 30], [...h264, ...flags]);
    record(`other.${container}`, [10, 25], [...h264, ...flags]);
    const path = await append(`two.${container}`, `closed.${container}`, `other.${container}`);
    const refused = {
      code: "MEDIA_INVALID",
      message: `${path}: another file is appended to it, of which parts would be lost: pass them one by one, or join them with ffmpeg's concat demuxer`,
    };
    await expect(openVideo(path)).rejects.toMatchObject(refused);
    await expect(loadAudio(path)).rejects.toMatchObject(refused);
  });

  it("of another size is scaled to the size of the first", async () => {
    record("small.ts", [0, 10], h264);
    record("large.ts", [10, 20], h264, "128x96");
    const video = await openVideo(await append("sizes.ts", "small.ts", "large.ts"));
    for await (const { width, height, data } of video.frames([0, 10, 19]))
      expect([width, height, data.length]).toEqual([64, 48, 9216]);
    expect(await numbers(video)).toEqual(range(0, 20));
  });
});

describe.skipIf(!hasFfmpeg)("damaged MPEG-TS", () => {
  /** Flips a bit of both time stamps of the n-th picture. */
  const flipped = (bytes: Buffer, n: number, bit: number): Buffer => {
    const copy = Buffer.from(bytes);
    let picture = 0;
    for (let at = 0; at < copy.length; at += 188) {
      const [, start, pid] = [0, copy[at + 1]! & 0x40, copy.readUInt16BE(at + 1) & 0x1fff];
      if (pid !== 0x100 || !start || picture++ !== n) continue;
      const pes = at + 4 + (copy[at + 3]! & 0x20 ? 1 + copy[at + 4]! : 0);
      copy[pes + 10]! ^= bit; // the bits 22 … 29 of the time to show it
      if (copy[pes + 7]! & 0x40) copy[pes + 15]! ^= bit; // and of the time to decode it
    }
    return copy;
  };

  it("shows all pictures in their order, though one has a wrong time", async () => {
    record("a.ts", [0, 30], [...h264, "-bf", "0"]);
    const bytes = await readFile(file("a.ts"));
    for (const bit of [0x02, 0x10]) {
      expect(flipped(bytes, 11, bit).equals(bytes)).toBe(false);
      await writeFile(file("wild.ts"), flipped(bytes, 11, bit));
      expect(await numbers(await openVideo(file("wild.ts")))).toEqual(range(0, 30));
    }
  });

  it("goes on behind a hole, as a download that was interrupted has", async () => {
    const noise = "testsrc2=size=320x240:rate=10:duration=10,noise=alls=30:allf=t:all_seed=1";
    ffmpeg("-f", "lavfi", "-i", noise, ...h264, "-qp", "20", file("noise.ts"));
    const bytes = await readFile(file("noise.ts"));
    expect(bytes.length * 0.2).toBeGreaterThan(2 ** 17);
    await writeFile(file("hole.ts"), damaged(bytes, 0.4, 0.6, 0));
    const [whole, hole] = [await openVideo(file("noise.ts")), await openVideo(file("hole.ts"))];
    expect(hole.frameCount / hole.fps).toBeCloseTo(whole.frameCount / whole.fps, 1);
    const last = async (video: Video) => {
      for await (const { data } of video.frames([video.frameCount - 1])) return data;
    };
    expect(Buffer.from((await last(hole))!).equals((await last(whole))!)).toBe(true);
  });
});
