import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { inputFile, runTool, toolOutput } from "../../lib/media/ffmpeg.js";
import { hasFfmpeg } from "./inputs.js";

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-ffmpeg-"));
});
afterAll(() => rm(directory, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const children = () => process.getActiveResourcesInfo().filter((resource) => resource === "ProcessWrap").length;
const text = async (bytes: Promise<Uint8Array>) => Buffer.from(await bytes).toString();

/** Runs until it is stopped, writing zeros, or writing nothing. */
const endless = ["-v", "error", "-f", "lavfi", "-i", "anullsrc", "-f", "s16le", "pipe:1"];
const silent = ["-v", "error", "-f", "lavfi", "-i", "anullsrc", "-f", "null", "-"];

describe.skipIf(!hasFfmpeg)("the formats that ffmpeg may read", () => {
  const probe = ["-v", "error", "-show_entries", "format=format_name", "-of", "csv=p=0"];
  const formatOf = (path: string) => text(runTool("ffprobe", [...probe, ...inputFile(path)], { name: path }));

  it("are containers of media", async () => {
    const extensions = "m4a mov mka webm ts mpg avi flv wma ogg opus wav w64 aiff au caf flac mp3 aac ac3 wv".split(
      " ",
    );
    const paths = extensions.map((extension) => file(`tone.${extension}`));
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "sine=duration=0.1:sample_rate=44100", ...paths]);
    for (const path of paths) expect(await formatOf(path), path).not.toBe("");
  });

  const playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n";
  it.each([
    ["an HLS playlist", "list.m3u8", playlist, "hls"],
    ["an HLS playlist with another name", "list.mp4", playlist, "hls"],
    ["a concat list", "concat.wav", "ffconcat version 1.0\nfile other.wav\n", "concat"],
    [
      "a DASH manifest",
      "manifest.mp4",
      '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:full:2011">' +
        "<Period></Period></MPD>\n",
      "dash",
    ],
    ["an SDP description", "session.wav", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n", "sdp"],
    ["a text", "text.wav", "Once upon a time, there was a text file.\n", ""],
  ])("are not %s", async (_, name, content, format) => {
    await writeFile(file(name), content);
    const refused = {
      code: "MEDIA_INVALID",
      message: expect.stringMatching(
        format === "" ? /taken are MP4\/MOV, .*GIF/ : new RegExp(`sees the format "${format}" .*; taken are MP4/MOV`),
      ),
    };
    await expect(formatOf(file(name))).rejects.toMatchObject(refused);
  });

  it("do not lead to another file: references of MP4 are off unless they are asked for", () => {
    const help = execFileSync("ffmpeg", ["-v", "error", "-h", "demuxer=mov"], { encoding: "utf8" });
    expect(help).toMatch(/-enable_drefs .*\(default false\)/);
  });
});

describe.skipIf(!hasFfmpeg)("a run of ffmpeg", () => {
  const drain = async (output: AsyncIterable<Uint8Array>) => {
    for await (const _ of output);
  };

  it("is stopped at its limit of bytes", async () => {
    await expect(runTool("ffmpeg", endless, { name: "a.wav", maxBytes: 1e6 })).rejects.toMatchObject({
      code: "MEDIA_INVALID",
      message: "a.wav: ffmpeg wrote more than the limit of 1000000 bytes",
    });
    await vi.waitFor(() => expect(children()).toBe(0));
  });

  it("is stopped at its limit of time, which does not count its reader's time", async () => {
    vi.stubEnv("CARACAL_FFMPEG_SECONDS", "0.5");
    for (const args of [silent, endless]) {
      await expect(drain(toolOutput("ffmpeg", args, { name: "a.wav" }))).rejects.toMatchObject({
        code: "MEDIA_INVALID",
        message: "a.wav: ffmpeg was not done with it after 0.5 s; CARACAL_FFMPEG_SECONDS raises the limit",
      });
    }
    vi.stubEnv("CARACAL_FFMPEG_SECONDS", "2");
    const version = toolOutput("ffmpeg", ["-version"], { name: "a.wav" });
    for await (const _ of version) await new Promise((resolve) => setTimeout(resolve, 2500));
    await vi.waitFor(() => expect(children()).toBe(0));
  });

  it("is one of a limited number, and waits its turn until it is aborted", async () => {
    vi.stubEnv("CARACAL_FFMPEG_PROCESSES", "2");
    const controller = new AbortController();
    const { signal } = controller;
    const running = [0, 1].map(() => drain(toolOutput("ffmpeg", silent, { name: "a", signal })));
    const waiting = new AbortController();
    const third = drain(toolOutput("ffmpeg", ["-version"], { name: "b", signal: waiting.signal }));
    const fourth = text(runTool("ffmpeg", ["-version"], { name: "c" }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(children()).toBe(2);
    waiting.abort(new Error("enough"));
    await expect(third).rejects.toMatchObject({ code: "ABORTED", message: "decoding b was aborted" });
    expect(children()).toBe(2);
    controller.abort();
    for (const run of running) await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    expect(await fourth).toMatch(/^ffmpeg version/);
    const many = Array.from({ length: 6 }, () => text(runTool("ffmpeg", ["-version"], { name: "d" })));
    expect((await Promise.all(many)).every((version) => version.startsWith("ffmpeg version"))).toBe(true);
    await vi.waitFor(() => expect(children()).toBe(0));
  });

  it("leaves its turn to the next when it cannot start", async () => {
    vi.stubEnv("CARACAL_FFMPEG_PROCESSES", "1");
    const long = runTool("ffmpeg", ["-v", "x".repeat(2 ** 22)], { name: "a" });
    await expect(long).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/^cannot run ffmpeg to decode a: .*E2BIG/),
    });
    vi.stubEnv("PATH", directory);
    const missing = { code: "MISSING_TOOL" };
    const attempts = [0, 1, 2].map(() => runTool("ffmpeg", ["-version"], { name: "a" }));
    for (const attempt of attempts) await expect(attempt).rejects.toMatchObject(missing);
  });

  it("keeps the end of a message without an end", async () => {
    const script = String.raw`head -c 1000000 /dev/zero | tr '\0' x >&2; printf 'why\nlast' >&2; exit 1`;
    await writeFile(file("ffmpeg"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    vi.stubEnv("PATH", `${directory}:${process.env.PATH}`);
    const lines: string[] = [];
    const run = runTool("ffmpeg", [], { name: "a", onMessage: (line) => lines.push(line) });
    await expect(run).rejects.toMatchObject({ code: "MEDIA_INVALID", message: expect.stringMatching(/last$/) });
    expect(lines.map((line) => line.length <= 2 ** 17 && line.slice(-5))).toEqual(["xxwhy", "last"]);
    await rm(file("ffmpeg"));
  });

  it("refuses settings that are no positive numbers", async () => {
    for (const variable of ["CARACAL_FFMPEG_PROCESSES", "CARACAL_FFMPEG_SECONDS"]) {
      vi.stubEnv(variable, "many");
      await expect(runTool("ffmpeg", ["-version"], { name: "a" })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: `${variable} must be a positive number, got "many"`,
      });
      vi.unstubAllEnvs();
    }
  });
});
