import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { RgbImage } from "../../lib/media/image.js";
import { openVideo, type Video } from "../../lib/media/video.js";
import { ffmpeg, hasFfmpeg, itWith, rms } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-video-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function collect(video: Video, indices: number[]): Promise<RgbImage[]> {
  const frames: RgbImage[] = [];
  for await (const frame of video.frames(indices)) frames.push(frame);
  return frames;
}
const brightness = (frame: RgbImage) => frame.data.reduce((sum, value) => sum + value, 0) / frame.data.length;

/** Makes a video whose frame n is a plain grey of 8·n, so that a decoded frame tells its own number. */
function greyRamp(path: string, ...extra: string[]): void {
  const source = "color=black:size=64x48:rate=10:duration=3,format=gray,geq=lum='8*N'";
  const audio = "sine=frequency=440:sample_rate=48000:duration=3";
  const inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", audio];
  execFileSync("ffmpeg", ["-v", "error", "-y", ...inputs, ...extra, path]);
}

describe.skipIf(!hasFfmpeg)("openVideo on a file", () => {
  it.each([
    ["ramp.mp4", ["-c:v", "libx264", "-qp", "5", "-pix_fmt", "yuv420p", "-color_range", "tv"]],
    ["ramp.mkv", ["-c:v", "ffv1", "-pix_fmt", "yuv420p"]],
    ["ramp.webm", ["-c:v", "libvpx-vp9", "-crf", "10", "-b:v", "0", "-deadline", "realtime", "-pix_fmt", "yuv420p"]],
  ])("%s: has the right size, and decodes exactly the requested frames", async (name, codec) => {
    greyRamp(file(name), ...codec);
    const video = await openVideo(file(name));
    expect([video.width, video.height, video.fps, video.frameCount, video.hasAudio]).toEqual([64, 48, 10, 30, true]);
    const frames = await collect(video, [0, 3, 4, 17, 29, 29]);
    expect(frames.length).toBe(6);
    const levels = frames.map(brightness);
    const steps = levels.slice(1).map((level, i) => (level - levels[i]!) / ((levels[4]! - levels[0]!) / 29));
    expect(steps.map(Math.round)).toEqual([3, 1, 13, 12, 0]);
    const sound = await video.audio();
    expect(Math.abs(sound!.length - 48000)).toBeLessThan(1500);
    expect(rms(sound!, 4000)).toBeCloseTo(0.125 * Math.SQRT1_2, 2);
  });

  it("shows a rotated video upright", async () => {
    greyRamp(file("plain.mp4"), "-c:v", "libx264", "-an", "-pix_fmt", "yuv420p");
    const copy = ["-i", file("plain.mp4"), "-c", "copy"];
    try {
      execFileSync("ffmpeg", ["-y", "-display_rotation", "90", ...copy, file("turned.mp4")], { stdio: "ignore" });
    } catch {
      // ffmpeg before version 6
      execFileSync("ffmpeg", ["-v", "error", "-y", ...copy, "-metadata:s:v:0", "rotate=90", file("turned.mp4")]);
    }
    const video = await openVideo(file("turned.mp4"));
    const [frame] = await collect(video, [0]);
    expect([video.width, video.height]).toEqual([frame!.width, frame!.height]);
    expect([video.width, video.height]).toEqual([48, 64]);
    expect(video.hasAudio).toBe(false);
    expect(await video.audio()).toBeNull();
  });

  it.each(["mkv", "mp4"])("plays the sound that %s marks as default, from its time", async (container) => {
    greyRamp(file("silent.mkv"), "-c:v", "libx264", "-an", "-pix_fmt", "yuv420p");
    const tone = (level: number) => ["-f", "lavfi", "-i", `aevalsrc=${level}*sin(2*PI*440*t):sample_rate=16000:d=2`];
    const inputs = ["-i", file("silent.mkv"), ...tone(0.1), "-itsoffset", "0.5", ...tone(0.4)];
    const maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-c:v", "copy", "-c:a", "flac", "-strict", "-2"];
    for (const [isDefault, level, onset] of [
      [[1, 0], 0.1, 0],
      [[0, 1], 0.4, 0.5],
    ] as const) {
      const dispositions = isDefault.flatMap((is, i) => [`-disposition:a:${i}`, is ? "default" : "0"]);
      ffmpeg(...inputs, ...maps, ...dispositions, file(`tracks.${container}`));
      const sound = (await (await openVideo(file(`tracks.${container}`))).audio())!;
      const start = sound.findIndex((sample) => Math.abs(sample) > 0.01) / 16000;
      expect(start).toBeCloseTo(onset, 2);
      expect(rms(sound.subarray(onset * 16000)) * Math.SQRT2).toBeCloseTo(level, 2);
    }
  });

  it.each([
    ["mp4", "libx264"],
    ["mkv", "libx264"],
    ["ts", "mpeg2video"],
  ])("takes pixels as square in %s, whatever aspect ratio is stated", async (container, encoder) => {
    const pal = "testsrc2=size=720x576:rate=25:duration=0.2";
    const codec = ["-c:v", encoder, "-pix_fmt", "yuv420p"];
    ffmpeg("-f", "lavfi", "-i", pal, ...codec, file(`square.${container}`));
    ffmpeg("-f", "lavfi", "-i", `${pal},setsar=16/11`, ...codec, file(`wide.${container}`));
    const entries = ["-show_entries", "stream=sample_aspect_ratio", "-of", "csv=p=0"];
    const stated = execFileSync("ffprobe", ["-v", "error", ...entries, file(`wide.${container}`)], {
      encoding: "utf8",
    });
    expect(stated).toMatch(encoder === "mpeg2video" ? /64:45/ : /16:11/); // MPEG-2 has 16:9 for the whole picture only
    const [square, wide] = await Promise.all(["square", "wide"].map((name) => openVideo(file(`${name}.${container}`))));
    expect([wide!.width, wide!.height]).toEqual([720, 576]);
    const expected = await collect(square!, [0, 4]);
    for (const [i, { data }] of (await collect(wide!, [0, 4])).entries())
      expect(Buffer.from(data).equals(expected[i]!.data)).toBe(true);
  });

  itWith("wurenche_3s.mp4", "reads a real video", async (path) => {
    const video = await openVideo(path);
    expect([video.width, video.height, video.fps, video.frameCount, video.hasAudio]).toEqual([480, 270, 25, 75, true]);
    const frames = await collect(video, [0, 15, 30, 45, 60, 74]);
    expect(frames.every((frame) => frame.data.length === 480 * 270 * 3)).toBe(true);
    expect(Math.abs((await video.audio())!.length - 48000)).toBeLessThan(1500);
  });

  itWith("wurenche_3s.mp4", "refuses a truncated file", async (path) => {
    const whole = await readFile(path);
    await writeFile(file("truncated.mp4"), whole.subarray(0, 50000));
    await expect(openVideo(file("truncated.mp4"))).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(/truncated\.mp4: .+/),
    });
  });

  it("refuses random bytes, a sound file and a missing file", async () => {
    await writeFile(
      file("random.mp4"),
      Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) & 255),
    );
    await expect(openVideo(file("random.mp4"))).rejects.toMatchObject({ code: "MEDIA_INVALID" });
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "sine=duration=1", file("sound.wav")]);
    await expect(openVideo(file("sound.wav"))).rejects.toThrow(/sound\.wav: it has no video/);
    await expect(openVideo(file("nowhere.mp4"))).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("reports a damaged video", async () => {
    greyRamp(file("whole.mkv"), "-c:v", "ffv1", "-an");
    execFileSync("ffmpeg", ["-v", "error", "-y", "-i", file("whole.mkv"), "-c", "copy", file("whole.avi")]);
    const bytes = await readFile(file("whole.avi"));
    bytes.fill(0, Math.floor(bytes.length * 0.6), Math.floor(bytes.length * 0.95));
    await writeFile(file("holes.avi"), bytes);
    const attempt = openVideo(file("holes.avi")).then((video) => collect(video, [0, 5, video.frameCount - 1]));
    await expect(attempt).rejects.toMatchObject({ code: "MEDIA_INVALID" });
  });

  it("decodes thousands of frames of a long video", async () => {
    const source = "testsrc=size=32x32:rate=25:duration=100";
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", source, "-preset", "ultrafast", file("long.mp4")]);
    const video = await openVideo(file("long.mp4"));
    for (const count of [300, 2100]) {
      let frames = 0;
      for await (const _ of video.frames(Array.from({ length: count }, (_, i) => Math.floor((i * 2500) / count))))
        frames++;
      expect(frames).toBe(count);
    }
  });

  it("refuses indices out of order or out of range", async () => {
    greyRamp(file("indices.mp4"), "-c:v", "libx264", "-an", "-pix_fmt", "yuv420p");
    const video = await openVideo(file("indices.mp4"));
    for (const indices of [[30], [-1], [5, 4], [0.5]]) {
      await expect(collect(video, indices)).rejects.toThrow(/frame indices must ascend within 0…29/);
    }
  });

  it("can be aborted between frames, and ends ffmpeg when the reader stops", async () => {
    greyRamp(file("abort.mp4"), "-c:v", "libx264", "-pix_fmt", "yuv420p");
    const video = await openVideo(file("abort.mp4"));
    const all = Array.from({ length: 30 }, (_, i) => i);
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of video.frames(all, { signal: controller.signal })) controller.abort();
    })();
    await expect(reading).rejects.toMatchObject({ code: "ABORTED" });
    for await (const frame of video.frames(all)) {
      expect(frame.width).toBe(64);
      break;
    }
    const children = () => process.getActiveResourcesInfo().filter((resource) => resource === "ProcessWrap");
    await vi.waitFor(() => expect(children()).toEqual([]));
    await expect(openVideo(file("abort.mp4"), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
  });

  it("does not parse a path as an option or follow URLs", async () => {
    await expect(openVideo("-version")).rejects.toMatchObject({ code: "IO_ERROR" });
    await writeFile(file("list.m3u8"), "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n");
    await expect(openVideo(file("list.m3u8"))).rejects.toMatchObject({ code: "MEDIA_INVALID" });
  });
});

describe("openVideo", () => {
  const frame = (level: number): RgbImage => ({ width: 2, height: 1, data: new Uint8Array(6).fill(level) });

  it("accepts decoded frames and their sound", async () => {
    const audio = { samples: new Float32Array(3200).fill(0.25), sampleRate: 16000 };
    const video = await openVideo({ frames: [frame(1), frame(2), frame(3)], fps: 2, audio });
    expect([video.width, video.height, video.fps, video.frameCount, video.hasAudio]).toEqual([2, 1, 2, 3, true]);
    expect((await collect(video, [0, 2, 2])).map(brightness)).toEqual([1, 3, 3]);
    expect((await video.audio())!.length).toBe(3200);
  });

  it("refuses an empty clip, frames of two sizes, a zero rate, other inputs and unknown options", async () => {
    await expect(openVideo({ frames: [], fps: 2 })).rejects.toThrow(/no frames/);
    const wide = { width: 4, height: 1, data: new Uint8Array(12) };
    await expect(openVideo({ frames: [frame(1), wide], fps: 2 })).rejects.toThrow(/frame 1 is 4x1, frame 0 2x1/);
    for (const [clip, message] of [
      [{ fps: 0 }, "video: fps must be a positive number, got 0"],
      [{ fps: "25" }, 'video: fps must be a positive number, got "25"'],
      [{ frames: null }, "video: frames must be a list of { width, height, data }, got null"],
      [{ frames: "abc" }, 'video: frames must be a list of { width, height, data }, got "abc"'],
      [{ frames: [null] }, "video, frame 0 must be { width, height, data }, got null"],
      [{ frames: [frame(1), "a.png"] }, 'video, frame 1 must be { width, height, data }, got "a.png"'],
      [{ foo: 1 }, 'video has no field "foo": it takes frames, fps, audio'],
    ] as const)
      await expect(openVideo({ frames: [frame(1)], fps: 2, ...clip } as never)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message,
      });
    await expect(openVideo({ frame: [frame(1)], fps: 2 } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "video must be a path, or { frames, fps }, got an object with frame, fps",
    });
    await expect(openVideo({ frames: [frame(1)], fps: 2 }, { nam: "x" } as never)).rejects.toThrow(/mean "name"/);
  });

  it("names ffmpeg and its install command when it is missing", async () => {
    await writeFile(file("some.mp4"), "x");
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      await expect(openVideo(file("some.mp4"))).rejects.toMatchObject({
        code: "MISSING_TOOL",
        message: expect.stringMatching(/install it with: /),
      });
    } finally {
      process.env.PATH = path;
    }
  });
});
