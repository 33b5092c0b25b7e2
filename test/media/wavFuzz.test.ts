import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { CaracalError } from "../../lib/errors.js";
import { loadAudio } from "../../lib/media/audio.js";
import { pcm16 } from "../../lib/media/wav.js";
import { fmtChunk, riff, riffChunk, sine } from "./inputs.js";

/** With CARACAL_FUZZ_SECONDS, the search goes on for that time; otherwise for a number of files. */
const seconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 0);
const rounds = 1000;

const pcm = pcm16(sine(440, 16000, 0.05));
const list = riffChunk("LIST", Buffer.from("INFOISFT\x04\x00\x00\x00abc\x00", "latin1"));
const bigEndian = true;
const ds64 = Buffer.alloc(28);
ds64.writeBigUInt64LE(BigInt(pcm.length), 8);

const wholeFiles = [
  riff([fmtChunk({ tag: 1, bits: 16 }), riffChunk("data", pcm), list]),
  riff([list, fmtChunk({ tag: 1, bits: 24, channels: 2 }), riffChunk("data", pcm)]),
  riff([fmtChunk({ tag: 3, bits: 32, sampleRate: 44100 }), riffChunk("data", Buffer.alloc(1600))]),
  riff([
    fmtChunk({ tag: 0, subFormat: 3, bits: 64, channels: 6, speakers: 0x3f }),
    riffChunk("data", Buffer.alloc(1920)),
  ]),
  riff([fmtChunk({ tag: 0, subFormat: 6, bits: 8 }), riffChunk("data", pcm)]),
  riff([fmtChunk({ tag: 7, bits: 8 }), riffChunk("data", pcm, { size: 0 })]),
  riff([fmtChunk({ tag: 0x11, bits: 4, frameBytes: 256 }), riffChunk("data", pcm)]),
  riff([fmtChunk({ tag: 1, bits: 16 }, bigEndian), riffChunk("data", pcm, { bigEndian })], "RIFX"),
  riff([riffChunk("ds64", ds64), fmtChunk({ tag: 1, bits: 16 }), riffChunk("data", pcm, { size: 0xffffffff })], "RF64"),
];

/** A reproducible random number in [0, n) for each call. */
function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

/** Sizes, counts and tags at which readers fail. */
const numbers = [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 64, 255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff];
const largeNumbers = [...numbers, 0x10000, 0x7ffffff0, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff];

function damaged(whole: Buffer, random: (n: number) => number): Buffer {
  const headerBytes = Math.min(whole.length, 120);
  // Most changes fall into the headers, where they matter.
  const place = () => random(random(4) === 0 ? whole.length : headerBytes);
  let bytes = Buffer.from(whole);
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const at = Math.min(place(), Math.max(0, bytes.length - 4));
    switch (bytes.length < 8 ? -1 : random(7)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at]! ^= 1 << random(8);
        break;
      case 2:
        bytes.writeUInt16LE(numbers[random(numbers.length)]!, at);
        break;
      case 3:
        bytes.writeUInt32LE(largeNumbers[random(largeNumbers.length)]!, at);
        break;
      case 4:
        bytes = bytes.subarray(0, place());
        break;
      case 5:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(40))]);
        break;
      case 6: {
        const from = place();
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(from, from + random(64)), bytes.subarray(at)]);
      }
    }
  }
  return bytes;
}

/** Decodes a file, and returns a code, "samples", or what is wrong. */
async function outcomeOf(bytes: Buffer): Promise<string> {
  try {
    const samples = await loadAudio(bytes);
    if (!samples.every(Number.isFinite)) return "not finite";
    // The lowest rate makes 16 samples of each of the file, and the smallest sample is one byte.
    return samples.length <= 16 * bytes.length ? "samples" : `${samples.length} samples`;
  } catch (error) {
    return error instanceof CaracalError ? error.code : String((error as Error).stack);
  }
}

test("a damaged WAV file gives samples or a CaracalError, and takes no memory", {
  timeout: seconds * 1000 + 60_000,
}, async () => {
  const empty = await mkdtemp(join(tmpdir(), "caracal-fuzz-"));
  vi.stubEnv("PATH", empty); // codings that only ffmpeg decodes give MISSING_TOOL
  const counts = new Map<string, number>();
  const memory = process.memoryUsage().rss;
  const end = performance.now() + seconds * 1000;
  try {
    for (let round = 0; seconds > 0 ? performance.now() < end : round < rounds; round++) {
      const bytes = damaged(wholeFiles[round % wholeFiles.length]!, generator(round));
      const outcome = await outcomeOf(bytes);
      const where = `round ${round}: ${bytes.toString("base64")}`;
      expect(["samples", "MEDIA_INVALID", "MISSING_TOOL"], where).toContain(outcome);
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      if (round % 100 === 0) expect(process.memoryUsage().rss - memory, where).toBeLessThan(2 ** 29);
    }
  } finally {
    vi.unstubAllEnvs();
    await rm(empty, { recursive: true });
  }
  if (seconds > 0) return console.log(Object.fromEntries(counts));
  for (const outcome of ["samples", "MEDIA_INVALID", "MISSING_TOOL"])
    expect(counts.get(outcome), outcome).toBeGreaterThan(50);
});
