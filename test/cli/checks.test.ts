import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkMedia, checkOut } from "../../lib/cli/checks.js";
import { encodeWav } from "../../lib/media/wav.js";
import type { Part } from "../../lib/model/prompt/messages.js";
import { hasFfmpeg } from "../media/inputs.js";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-checks-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe("checkMedia", () => {
  const check = (...content: Part[]) => checkMedia(content, 120, new AbortController().signal);

  it("takes media that can be read, and text", async () => {
    const path = join(directory, "tone.wav");
    await writeFile(path, encodeWav(new Float32Array(16000), 16000));
    await check({ type: "text", text: "Hello!" }, { type: "audio", audio: path });
  });

  it("keeps to the limits of the parts", async () => {
    const image = join(import.meta.dirname, "../../samples/photo.jpg");
    await check({ type: "image", image, autoOrient: false });
    await expect(check({ type: "image", image, maxPixels: 9 })).rejects.toThrow(/the limit is 9: .* raise maxPixels$/);
  });

  it("refuses what cannot be read", async () => {
    const paths = Object.fromEntries(["empty.mp4", "long.wav"].map((name) => [name, join(directory, name)]));
    await writeFile(paths["empty.mp4"]!, "");
    await writeFile(paths["long.wav"]!, encodeWav(new Float32Array(121 * 8000), 8000));
    for (const [part, message] of [
      [{ type: "audio", audio: join(directory, "nope.wav") }, /^cannot read .*nope\.wav: ENOENT/],
      [{ type: "audio", audio: "-" }, /^expected the path of a file, got "-" \(standard input\)/],
      [{ type: "audio", audio: paths["long.wav"]! }, /it lasts 121\.0 s, at most 120 s .* limits\.audioSeconds$/],
      [{ type: "image", image: "https://example.org/a.png" }, /^expected the path of a file, got a URL/],
      [{ type: "video", video: paths["empty.mp4"]! }, /empty\.mp4: it is empty$/],
    ] as [Part, RegExp][]) {
      await expect(check({ type: "text", text: "What is this?" }, part)).rejects.toThrow(message);
    }
  });

  it.skipIf(!hasFfmpeg)("names the option for a video without sound", async () => {
    const video = join(directory, "silent.mp4");
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "testsrc=duration=0.2", video]);
    await check({ type: "video", video, interleaveAudio: false });
    await expect(check({ type: "video", video, interleaveAudio: true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `${video} has no sound: use --video in the place of --video-with-sound`,
    });
  });
});

describe("checkOut", () => {
  it("takes WAV files, and paths without an extension", async () => {
    for (const name of ["a.wav", "a.WAV", "a.b.wave", "answer"])
      expect(await checkOut(join(directory, name))).toBe(join(directory, name));
  });

  it.each([
    ["-", "INVALID_ARGUMENT", /^--out takes a file: standard output is for the text/],
    ["", "INVALID_ARGUMENT", /^--out takes a file, got an empty name: use --no-speech/],
    [tmpdir(), "IO_ERROR", /^cannot write .*: it is a folder$/],
    ["a.mp3", "INVALID_ARGUMENT", /^--out writes WAV, got a\.mp3: name the file \.wav, and convert it with "ffmpeg -i/],
    ["/nowhere/a.wav", "IO_ERROR", /^cannot write \/nowhere\/a\.wav: the folder \/nowhere does not exist/],
  ])("refuses %j", async (out, code, message) => {
    await expect(checkOut(out)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
