import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAudio } from "../../lib/media/audio.js";
import { damaged, fmtChunk, hasFfmpeg, riff, riffChunk, rms } from "./inputs.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-audio-tracks-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe.skipIf(!hasFfmpeg)("loadAudio through ffmpeg", () => {
  it("takes the track that the file marks as default, else the first", async () => {
    const tones = [0.1, 0.4].flatMap((level) => ["-f", "lavfi", "-i", `aevalsrc=${level}*sin(2*PI*440*t):d=1:s=16000`]);
    const maps = ["-map", "0", "-map", "1", "-c:a", "pcm_s16le"];
    const levels = [];
    for (const [first, second] of [
      ["0", "default"],
      ["default", "0"],
      ["0", "0"],
    ]) {
      const path = join(directory, "tracks.mkv");
      const dispositions = ["-disposition:a:0", first!, "-disposition:a:1", second!];
      execFileSync("ffmpeg", ["-v", "error", "-y", ...tones, ...maps, ...dispositions, path]);
      levels.push(Math.round(rms(await loadAudio(path)) * Math.SQRT2 * 10) / 10);
    }
    expect(levels).toEqual([0.4, 0.1, 0.1]);
  });

  const codecs = ["flac", "m4a", "mp3", "ogg", "opus", "mka", "webm"];
  it.each(codecs)("refuses damaged %s of which much is lost, but not a little", async (extension) => {
    const path = join(directory, `damaged.${extension}`);
    const codec = extension === "opus" || extension === "webm" ? ["-c:a", "libopus"] : [];
    const noise = "anoisesrc=duration=20:sample_rate=48000:amplitude=0.3:seed=1";
    execFileSync("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", noise, "-ac", "1", ...codec, path]);
    const bytes = await readFile(path);
    expect((await loadAudio(bytes)).length / 16000).toBeCloseTo(20, 0);
    expect((await loadAudio(damaged(bytes, 0.9, 0.91))).length / 16000).toBeGreaterThan(15);
    await expect(loadAudio(damaged(bytes, 0.15, 0.85), { name: "noisy" })).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(
        /^noisy: it is damaged( or cut short: \d\.\d of 20\.\d s of sound can be decoded|: much of it cannot be decoded)/,
      ),
    });
  });

  const subtitles = "1\n00:00:01,000 --> 00:00:02,000\nOnce upon a time\n\n";
  it.each([
    ["text.mp4", /text\.mp4: it is cut short or no MP4\/MOV file, .*; taken are MP4/],
    ["text.png", /text\.png: by its name or content it is an image, not sound or video; taken are MP4/],
    ["text.srt", /text\.srt: ffmpeg sees the format "srt" in it, which is not taken; taken are MP4/],
  ])("says in plain words why it does not take %s", async (name, message) => {
    const path = join(directory, name);
    await writeFile(path, name.endsWith("srt") ? subtitles : "Once upon a time\n");
    await expect(loadAudio(path)).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: expect.stringMatching(message),
    });
  });

  it("names the tag of a coding that nobody knows", async () => {
    const file = riff([fmtChunk({ tag: 0x1234, bits: 8 }), riffChunk("data", new Uint8Array(64))]);
    await expect(loadAudio(file)).rejects.toThrow(
      "audio: its sound has a coding that ffmpeg does not know (tag 0x1234); convert it to FLAC or WAV with 16-bit PCM",
    );
  });
});

describe("loadAudio", () => {
  it.each([
    ["RIFX", "big", "little", "RIFF"],
    ["RIFF", "little", "big", "RIFX"],
  ])("says that the sizes of a file disagree with its header %s", async (id, stated, got, remedy) => {
    const data = riffChunk("data", new Uint8Array(64));
    const file = riff([fmtChunk({ tag: 1, bits: 16 }, id === "RIFF"), data], id);
    await expect(loadAudio(file)).rejects.toThrow(
      `audio: its header "${id}" means ${stated}-endian, but its sizes are ${got}-endian: write "${remedy}" for ${got}-endian files`,
    );
  });
});
