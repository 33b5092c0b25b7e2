// Measures how a clip becomes frames, beside another build of the library:
//
//   node bench/video.mjs [other checkout …] [--clip FILE] [--runs N]
//
// Each run samples the clip at 2 frames/s, resizes the frames on the CPU backend, and is a process of its own. Printed
// are the CPU time of Node.js with ffmpeg, the peak memory of Node.js, and the longest stop of the event loop. Without
// --clip, ffmpeg makes 10 s of 1080p H.264, with a key frame every second as phones write it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const script = fileURLToPath(import.meta.url);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { clip: { type: "string" }, runs: { type: "string", default: "5" }, measure: { type: "string" } },
});

if (values.measure) await measure(resolve(values.measure), values.clip);
else compare([dirname(dirname(script)), ...positionals]);

function compare(checkouts) {
  const folder = mkdtempSync(join(tmpdir(), "caracal-bench-"));
  try {
    const clip = values.clip ?? makeClip(join(folder, "clip.mp4"));
    for (let run = 0; run < Number(values.runs); run++) {
      for (const checkout of checkouts) {
        const args = ["-f", "%U %S", "-o", join(folder, "time"), process.execPath, script, "--measure", checkout];
        const line = execFileSync("/usr/bin/time", [...args, "--clip", clip], { encoding: "utf8" });
        const [user, system] = execFileSync("cat", [join(folder, "time")], { encoding: "utf8" })
          .split(" ")
          .map(Number);
        console.log(`${checkout}: ${(user + system).toFixed(2)} s of CPU, ${line.trim()}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function makeClip(file) {
  const source = "testsrc2=size=1920x1080:rate=30:duration=10,noise=alls=8:allf=t";
  const codec = ["-c:v", "libx264", "-preset", "veryfast", "-g", "30", "-bf", "0", "-pix_fmt", "yuv420p"];
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", source, ...codec, file]);
  return file;
}

async function measure(checkout, clip) {
  const load = (path) => import(`${checkout}/dist/lib/${path}`);
  const { openVideo } = await load("media/video.js");
  const { Device } = await load("tensor/tensor.js");
  const { resizeBicubic } = await load("ops/image.js");
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const before = process.resourceUsage();
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last - 2);
    last = performance.now();
  }, 2);
  const start = performance.now();
  const video = await openVideo(clip);
  const indices = Array.from({ length: Math.floor((video.frameCount / video.fps) * 2) }, (_, i) =>
    Math.round((i * video.fps) / 2),
  );
  for await (const { width, height, data } of video.frames(indices)) {
    const pixels = device.tensor(data, [height, width, 3], "u8");
    const resized = resizeBicubic(pixels, [448, 784]);
    await resized.ready();
    pixels.dispose();
    resized.dispose();
  }
  clearInterval(timer);
  const seconds = ((performance.now() - start) / 1000).toFixed(2);
  const peak = process.resourceUsage().maxRSS;
  const added = `${((peak - before.maxRSS) / 1024).toFixed(0)} MB above the start`;
  const memory = `${(peak / 1024).toFixed(0)} MB of Node.js, ${added}`;
  console.log(`${seconds} s for ${indices.length} frames, ${memory}, ${longest.toFixed(0)} ms at most of the loop`);
  device.dispose();
}
