import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { CaracalError } from "../errors.js";
import { checkedFloats, checkOption, type OptionRule, refuseValue } from "../options.js";

const headerBytes = 44;

/**
 * The header of a mono 16-bit WAV file. Without `dataBytes`, or with 4 GiB or more, the length is marked as unknown, as
 * usual for a streamed WAV.
 */
export function wavHeader(sampleRate: number, dataBytes = Number.POSITIVE_INFINITY): Uint8Array {
  const unknown = 0xffffffff;
  const isKnown = headerBytes - 8 + dataBytes < unknown;
  const header = Buffer.alloc(headerBytes);
  header.write("RIFF", 0, "latin1");
  header.writeUInt32LE(isKnown ? headerBytes - 8 + dataBytes : unknown, 4);
  header.write("WAVEfmt ", 8, "latin1");
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20); // PCM
  header.writeUInt16LE(1, 22); // mono
  header.writeUInt32LE(sampleRate, 24);
  header.writeUInt32LE(sampleRate * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36, "latin1");
  header.writeUInt32LE(isKnown ? dataBytes : unknown, 40);
  return header;
}

/** Float samples as 16-bit little-endian PCM, clipped to [−1, 1]. */
export function pcm16(samples: Float32Array): Uint8Array {
  const bytes = new Uint8Array(samples.length * 2);
  writePcm16(samples, bytes, 0);
  return bytes;
}

function writePcm16(samples: Float32Array, bytes: Uint8Array, at: number): void {
  const values = new Int16Array(bytes.buffer, bytes.byteOffset + at, samples.length); // platforms are little-endian
  for (let i = 0; i < samples.length; i++) {
    const clipped = Math.min(1, Math.max(-1, samples[i]! || 0));
    values[i] = Math.floor(clipped * 32767 + 0.5); // V8 does this far faster than Math.round
  }
}

/** The bytes per second, two per sample, have 32 bits in a header. */
const maxHeaderRate = 2 ** 31 - 1;
const headerRate: OptionRule = {
  accepts: (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= maxHeaderRate,
  expected: `a positive integer up to ${maxHeaderRate}`,
};

/**
 * A whole mono 16-bit WAV file, at once: a minute of 24 kHz takes about 10 ms.
 * @param samples in [−1, 1]; values beyond are clipped
 * @param sampleRate in Hz
 * @throws {CaracalError} `INVALID_ARGUMENT` for samples of another kind or NaN, or a rate that a header cannot hold
 */
export function encodeWav(samples: Float32Array, sampleRate: number): Uint8Array {
  const values = checkedFloats("encodeWav", "samples", samples);
  checkOption("encodeWav", "sampleRate", sampleRate, headerRate);
  for (let i = 0; i < values.length; i++)
    if (Number.isNaN(values[i])) refuseValue("encodeWav", `samples[${i}]`, "a number in [-1, 1]", Number.NaN);
  const file = new Uint8Array(headerBytes + values.length * 2);
  file.set(wavHeader(sampleRate, values.length * 2));
  writePcm16(values, file, headerBytes);
  return file;
}

/**
 * Writes a mono 16-bit WAV file as samples arrive. The file is readable at any time; `close` writes the final length to
 * the header.
 */
export class WavWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #sampleRate: number;
  #dataBytes = 0;

  private constructor(path: string, file: FileHandle, sampleRate: number) {
    this.#path = path;
    this.#file = file;
    this.#sampleRate = sampleRate;
  }

  /**
   * Creates the file, replacing an existing one.
   * @throws {CaracalError} `IO_ERROR` when `path` cannot be written, or is that of a FIFO
   */
  static async create(path: string, sampleRate: number): Promise<WavWriter> {
    const file = await guarded(path, () => openForWriting(path));
    const writer = new WavWriter(path, file, sampleRate);
    await writer.#write(wavHeader(sampleRate), 0);
    return writer;
  }

  /** Seconds written so far. */
  get seconds(): number {
    return this.#dataBytes / 2 / this.#sampleRate;
  }

  async write(samples: Float32Array): Promise<void> {
    const at = headerBytes + this.#dataBytes;
    this.#dataBytes += samples.length * 2;
    await this.#write(pcm16(samples), at);
  }

  async close(): Promise<void> {
    try {
      await this.#write(wavHeader(this.#sampleRate, this.#dataBytes), 0);
    } finally {
      await this.#file.close();
    }
  }

  async #write(bytes: Uint8Array, at: number): Promise<void> {
    await guarded(this.#path, async () => {
      let done = 0;
      while (done < bytes.length) {
        done += (await this.#file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      }
    });
  }
}

/** Creates or empties a file. A FIFO is refused: opening it would wait for a reader, and it has no positions. */
async function openForWriting(path: string): Promise<FileHandle> {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK);
  if (!(await file.stat()).isFIFO()) return file;
  await file.close();
  throw new Error("it is not a regular file");
}

async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new CaracalError("IO_ERROR", `cannot write ${path}: ${(cause as Error).message}`, { path }, { cause });
  }
}
