import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { it } from "vitest";

/** The path of a real input beside the project. Tests that need it are skipped when it is absent. */
export function realInput(name: string): string {
  return join(import.meta.dirname, "../../../shared/inputs", name);
}

/** `it` for a test on a real input. When the file is absent, the test is skipped and its title says why. */
export function itWith(name: string, title: string, test: (path: string) => Promise<void>): void {
  const path = realInput(name);
  if (existsSync(path)) it(`${title} (${name})`, () => test(path));
  else it.skip(`${title} (needs ../shared/inputs/${name})`);
}

/** Whether ffmpeg is installed. Tests that use it to make their input are skipped without it. */
export const hasFfmpeg = (() => {
  try {
    execFileSync("ffmpeg", ["-version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** Whether this ffmpeg has an encoder. */
export const hasEncoder = (name: string) =>
  hasFfmpeg && execFileSync("ffmpeg", ["-v", "error", "-encoders"], { encoding: "utf8" }).includes(` ${name} `);

/** Runs ffmpeg, to make an input. */
export const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-y", ...args]);

/** Bytes of which the part from `from` to `to`, fractions of their length, is overwritten with noise or `value`. */
export function damaged(bytes: Uint8Array, from: number, to: number, value?: number): Buffer {
  const copy = Buffer.from(bytes);
  let state = 1;
  for (let i = Math.floor(bytes.length * from); i < Math.floor(bytes.length * to); i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    copy[i] = value ?? state >>> 24;
  }
  return copy;
}

/** A sine wave of `frequency` Hz. */
export function sine(frequency: number, sampleRate: number, seconds: number, amplitude = 0.5): Float32Array {
  return Float32Array.from(
    { length: Math.round(sampleRate * seconds) },
    (_, i) => amplitude * Math.sin((2 * Math.PI * frequency * i) / sampleRate),
  );
}

/** Root mean square of the samples, without `margin` samples at both ends. */
export function rms(samples: Float32Array, margin = 1000): number {
  const inner = samples.subarray(margin, samples.length - margin);
  return Math.sqrt(inner.reduce((sum, sample) => sum + sample * sample, 0) / inner.length);
}

/** A RIFF chunk, padded to an even length. `size` is what its header says, its length by default. */
export function riffChunk(id: string, body: Uint8Array, options: { size?: number; bigEndian?: boolean } = {}): Buffer {
  const header = Buffer.alloc(8);
  header.write(id, "latin1");
  const size = options.size ?? body.length;
  if (options.bigEndian) header.writeUInt32BE(size, 4);
  else header.writeUInt32LE(size, 4);
  return Buffer.concat([header, body, Buffer.alloc(body.length % 2)]);
}

/** The fields of a WAV file's `fmt ` chunk. With a `subFormat` or `speakers`, the chunk is an extensible one. */
export interface WavFields {
  readonly tag: number;
  readonly bits: number;
  readonly channels?: number;
  readonly sampleRate?: number;
  readonly frameBytes?: number;
  readonly subFormat?: number;
  readonly speakers?: number;
}

export function fmtChunk(fields: WavFields, bigEndian = false): Buffer {
  const { tag, bits, channels = 1, sampleRate = 16000, subFormat, speakers = 0 } = fields;
  const { frameBytes = channels * Math.ceil(bits / 8) } = fields;
  const body = Buffer.alloc(subFormat === undefined ? 16 : 40);
  const u16 = (value: number, at: number) =>
    new DataView(body.buffer, body.byteOffset).setUint16(at, value, !bigEndian);
  const u32 = (value: number, at: number) =>
    new DataView(body.buffer, body.byteOffset).setUint32(at, value, !bigEndian);
  u16(subFormat === undefined ? tag : 0xfffe, 0);
  u16(channels, 2);
  u32(sampleRate, 4);
  u32(sampleRate * frameBytes, 8);
  u16(frameBytes, 12);
  u16(bits, 14);
  if (subFormat !== undefined) {
    u16(22, 16);
    u16(bits, 18);
    u32(speakers, 20);
    u16(subFormat, 24);
    body.write("000000001000800000aa00389b71", 26, "hex");
  }
  return riffChunk("fmt ", body, { bigEndian });
}

/** A RIFF file of chunks. */
export function riff(chunks: readonly Uint8Array[], id = "RIFF"): Buffer {
  return riffChunk(id, Buffer.concat([Buffer.from("WAVE"), ...chunks]), { bigEndian: id === "RIFX" });
}
