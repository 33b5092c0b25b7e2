// Which picture of a video is shown when, for files whose times are irregular, offset or incomplete.
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openVideo, type Video, type VideoOptions } from "../../lib/media/video.js";
import { sampleInterleavedVideo, sampleVideo } from "../../lib/model/vision/frames.js";
import { ffmpeg, hasEncoder, hasFfmpeg, itWith } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);

const rate = 10;
const frames = 30;
/** The grey level of frame n. */
const level = (n: number) => 8 * n;
/** 3 s of 10 frames/s, in which frame n is a plain grey of `level(n)`. */
const ramp = `color=black:size=64x48:rate=${rate}:duration=3,format=gray,geq=lum='8*N'`;
const h264 = ["-c:v", "libx264", "-qp", "5", "-g", "10", "-bf", "2", "-pix_fmt", "yuv420p"];

/** Makes the ramp; `filter` may drop frames or move them in time. */
function makeRamp(name: string, codec: string[], filter = "null"): string {
  ffmpeg("-f", "lavfi", "-i", `${ramp},${filter}`, "-vsync", "vfr", ...codec, file(name));
  return file(name);
}

/** The numbers of the frames that a video shows at these indices, told by their grey. */
async function numbers(video: Video, indices: readonly number[]): Promise<number[]> {
  const shown: number[] = [];
  for await (const { width, height, data } of video.frames(indices)) {
    expect(data.length).toBe(width * height * 3);
    shown.push(data.reduce((sum, value) => sum + value, 0) / data.length / level(1));
  }
  return shown.map(Math.round);
}
const all = (video: Video) => Array.from({ length: video.frameCount }, (_, i) => i);
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-times-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe.skipIf(!hasFfmpeg)("frames by time", () => {
  it.each(["mp4", "mkv", "ts", "avi"])("a constant rate in %s counts the frames", async (container) => {
    const video = await openVideo(makeRamp(`constant.${container}`, [...h264, "-bf", "0"]));
    expect([video.fps, video.frameCount]).toEqual([rate, frames]);
    expect(await numbers(video, all(video))).toEqual(range(0, frames));
    const buffers = new Set<Uint8Array>();
    for await (const { data } of video.frames([0, 5, 5, 9], { reuse: true })) buffers.add(data);
    expect(buffers.size).toBe(1);
  });

  it("a pause shows the last picture before it", async () => {
    // frames 10 … 19 are missing, as in a recording of a window in which nothing changes
    const video = await openVideo(makeRamp("pause.mkv", h264, "select='not(between(n,10,19))'"));
    expect([video.fps, video.frameCount]).toEqual([30, 90]);
    const expected = range(0, frames).map((n) => (n >= 10 && n < 20 ? 9 : n));
    expect(await numbers(video, all(video))).toEqual(expected.flatMap((n) => [n, n, n]));
    const { units } = sampleInterleavedVideo(video);
    expect(units.map((unit) => unit.seconds)).toEqual([0, 1.2, 2.4]);
    const pairs = await numbers(
      video,
      units.flatMap((unit) => unit.frames),
    );
    expect(pairs).toEqual([0, 6, 9, 9, 24, 29]);
  });

  it("a changing rate shows at every time what a player would", async () => {
    const seconds = "if(lt(N,20),N/20,1+(N-20)/2.5)"; // 1 s of 20 frames/s, then 4 s of 2.5 frames/s
    const video = await openVideo(
      makeRamp("rates.mp4", [...h264, "-video_track_timescale", "1000"], `settb=1/1000,setpts='(${seconds})/TB'`),
    );
    expect(video.fps).toBe(30);
    for (const unit of sampleVideo(video).slice(0, -1)) {
      const time = (unit.frames[0] + 0.5) / video.fps;
      const [shown] = await numbers(video, [unit.frames[0]]);
      expect(shown, `at ${time} s`).toBe(time < 1 ? Math.floor(time * 20) : 20 + Math.floor((time - 1) * 2.5));
    }
  });

  it.skipIf(!hasEncoder("libvpx"))("a live WebM without rate and duration has those of its frames", async () => {
    const live = [..."-c:v libvpx -b:v 2M -qmax 8 -deadline realtime -live 1 -f webm".split(" ")];
    makeRamp("live.webm", live, "settb=1/1000,setpts=(N/9+mod(N*N\\,7)/60)/TB");
    // what ffprobe tells of MediaRecorder's files, too
    const entries = ["-show_entries", "stream=avg_frame_rate,r_frame_rate", "-of", "csv=p=0"];
    const declared = execFileSync("ffprobe", ["-v", "error", ...entries, file("live.webm")], { encoding: "utf8" });
    expect(declared.trim()).toBe("1000/1,0/0");
    const video = await openVideo(file("live.webm"));
    expect(video.frameCount / video.fps).toBeCloseTo(frames / 9, 0);
    const at = (n: number) => Math.ceil((n / 9 + ((n * n) % 7) / 60) * video.fps - 0.4);
    expect(await numbers(video, [0, 5, 13, 28, 29].map(at))).toEqual([0, 5, 13, 28, 29]);
  });

  it("skips what lies between frames far apart, and gets the same", async () => {
    const source =
      "color=black:size=16x16:rate=25:duration=20,format=gray,geq=lum='mod(floor(N/25)*12,256)',scale=1280:720";
    ffmpeg("-f", "lavfi", "-i", source, ...h264, "-preset", "ultrafast", "-g", "25", file("long.mp4"));
    const video = await openVideo(file("long.mp4"));
    const far = [3, 212, 213, 380, 499]; // more than 145 frames are worth skipping at this size
    const levels: number[] = [];
    for await (const { data } of video.frames(far)) levels.push(Math.round(data[0]! / 12));
    expect(levels).toEqual(far.map((n) => Math.floor(n / 25)));
  });
});

describe.skipIf(!hasFfmpeg)("frames that are not all there", () => {
  it("the head is missing: the first picture that can be decoded is shown instead", async () => {
    makeRamp("whole.mp4", h264);
    ffmpeg("-i", file("whole.mp4"), "-c", "copy", "-bsf:v", "noise=drop='lt(n,14)'", file("headless.mkv"));
    const video = await openVideo(file("headless.mkv"));
    const shown = await numbers(video, all(video));
    expect(shown.length).toBe(video.frameCount);
    expect(new Set(shown)).toEqual(new Set(range(20, 30)));
    expect(shown.slice(-10)).toEqual(range(20, 30));
  });

  it("a picture in the middle is missing: the one before is shown", async () => {
    makeRamp("intra.mkv", ["-c:v", "ffv1", "-g", "1"]);
    ffmpeg("-i", file("intra.mkv"), "-c", "copy", "-bsf:v", "noise=drop='between(n,12,14)'", file("hole.mkv"));
    const video = await openVideo(file("hole.mkv"));
    const expected = range(0, frames).map((n) => (n >= 12 && n < 15 ? 11 : n));
    expect(await numbers(video, all(video))).toEqual(video.fps === 30 ? expected.flatMap((n) => [n, n, n]) : expected);
  });

  it("cut without encoding anew: frames before the cut are decoded, but not shown", async () => {
    makeRamp("whole.mp4", h264);
    ffmpeg("-ss", "0.7", "-i", file("whole.mp4"), "-c", "copy", file("cut.mp4"));
    const video = await openVideo(file("cut.mp4"));
    expect([video.fps, video.frameCount]).toEqual([rate, 23]);
    expect(await numbers(video, all(video))).toEqual(range(7, 30));
  });

  itWith("../cases/video/cut-without-reencoding.mp4", "every frame of a cut video is there", async (path) => {
    const video = await openVideo(path);
    expect([video.fps, video.frameCount]).toEqual([10, 53]);
    expect((await numbers(video, all(video))).length).toBe(53);
  });

  it("a file cut short is refused", async () => {
    makeRamp("front.mp4", [...h264, "-movflags", "+faststart"]);
    const bytes = await readFile(file("front.mp4"));
    await writeFile(file("short.mp4"), bytes.subarray(0, (bytes.indexOf("mdat") + bytes.length) >> 1));
    await expect(openVideo(file("short.mp4"))).rejects.toThrow(
      /short\.mp4: it is cut short: \d+ of 30 frames are in it/,
    );
  });
});

describe.skipIf(!hasFfmpeg)("sound", () => {
  /** The seconds at which the sound of a clip with a burst from 0.5 s to 1 s of its sound track begins. */
  const burst = async (name: string): Promise<number> => {
    const samples = (await (await openVideo(file(name))).audio())!;
    return samples.findIndex((sample) => Math.abs(sample) > 0.05) / 16000;
  };
  const tone = "aevalsrc='if(lt(t,0.5),0,sin(2*PI*440*t)/2)':sample_rate=16000:duration=1";

  it.each(["mp4", "mkv"])("that starts later than the pictures is kept in step, in %s", async (container) => {
    makeRamp("silent.mp4", h264);
    const late = ["-itsoffset", "0.5", "-f", "lavfi", "-i", tone];
    ffmpeg(
      "-i",
      file("silent.mp4"),
      ...late,
      "-c:v",
      "copy",
      "-c:a",
      "flac",
      "-strict",
      "-2",
      file(`late.${container}`),
    );
    expect(await burst(`late.${container}`)).toBeCloseTo(1, 2);
  });

  it("that starts earlier starts the clock", async () => {
    makeRamp("silent.mkv", h264);
    const sound = ["-f", "lavfi", "-i", tone];
    ffmpeg(...sound, "-itsoffset", "1", "-i", file("silent.mkv"), "-c:v", "copy", "-c:a", "flac", file("early.mkv"));
    const video = await openVideo(file("early.mkv"));
    expect(await burst("early.mkv")).toBeCloseTo(0.5, 2);
    expect([video.fps, video.frameCount]).toEqual([rate, 40]);
    expect(await numbers(video, all(video))).toEqual([...range(0, 10).fill(0), ...range(0, 30)]);
  });

  itWith("../cases/video/audio-starts-half-a-second-late.mp4", "begins at its time", async (path) => {
    const samples = (await (await openVideo(path)).audio())!;
    expect(samples.findIndex((sample) => Math.abs(sample) > 0.05) / 16000).toBeCloseTo(1, 1);
  });
});

describe.skipIf(!hasFfmpeg)("more than 8 bits", () => {
  it.each([
    ["H.264 High 10", "libx264", "yuv420p10le", "mp4"],
    ["HEVC Main 10", "libx265", "yuv420p10le", "mp4"],
    ["VP9 profile 2", "libvpx-vp9", "yuv420p10le", "webm"],
    ["ProRes", "prores_ks", "yuv422p10le", "mov"],
    ["FFV1 of 16-bit grey", "ffv1", "gray16le", "mkv"],
    ["FFV1 of 16-bit RGB", "ffv1", "rgb48le", "mkv"],
  ])("%s", async (name, encoder, format, container) => {
    if (!hasEncoder(encoder)) return void console.warn(`${name} is not tested: ffmpeg has no ${encoder}`);
    const quiet = encoder === "libx265" ? ["-x265-params", "log-level=error"] : [];
    const video = await openVideo(
      makeRamp(`deep-${format}-${encoder}.${container}`, ["-c:v", encoder, "-pix_fmt", format, ...quiet]),
    );
    expect(await numbers(video, [0, 7, 29])).toEqual([0, 7, 29]);
  });
});

describe.skipIf(!hasFfmpeg)("limits", () => {
  it.each<[keyof VideoOptions, number, string]>([
    ["maxPixels", 3071, "it has 64x48 = 3072 pixels, the limit is 3071: scale it down, or raise maxPixels"],
    ["maxSeconds", 2.5, "it lasts 3.0 s, the limit is 2.5 s: cut it, or raise maxSeconds"],
    ["maxFrames", 29, "it has 30 frames or more, the limit is 29: cut it, or raise maxFrames"],
  ])("%s is named when it is exceeded, and can be raised", async (option, value, message) => {
    const path = makeRamp("limits.mp4", h264);
    const clip = { frames: Array(30).fill({ width: 64, height: 48, data: new Uint8Array(9216) }), fps: 10 };
    for (const [name, input] of [
      [path, path],
      ["video", clip],
    ] as const) {
      const refused = openVideo(input, { [option]: value });
      await expect(refused).rejects.toMatchObject({ code: "MEDIA_INVALID", message: `${name}: ${message}` });
      expect((await openVideo(input, { [option]: value + 1 })).frameCount).toBe(30);
    }
    await expect(openVideo(path, { [option]: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("hold for files that do not tell their length", async () => {
    makeRamp("unknown.mkv", [...h264, "-live", "1"]);
    ffmpeg("-i", file("unknown.mkv"), "-c", "copy", "-f", "mpegts", file("unknown.ts"));
    for (const name of ["unknown.mkv", "unknown.ts"]) {
      await expect(openVideo(file(name), { maxSeconds: 2.5 })).rejects.toThrow(/the limit is 2.5 s/);
      await expect(openVideo(file(name), { maxFrames: 20 })).rejects.toThrow(/the limit is 20/);
    }
  });
});
