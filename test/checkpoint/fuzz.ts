import { writeFileSync } from "node:fs";
import { expect } from "vitest";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import { CaracalError } from "../../lib/errors.js";
import { uniform } from "../support/numbers.js";

/** How long each test looks for a failure. */
export const fuzzSeconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 5);

/** Byte values at which sizes and offsets tend to break. */
const edges = [0x00, 0x01, 0x7f, 0x80, 0xff];

/** `bytes` with one to four random edits. `random` returns numbers in [-1, 1). */
function mutate(bytes: Buffer, random: () => number): Buffer {
  const at = (length: number) => Math.floor(((random() + 1) / 2) * length);
  let out = Buffer.from(bytes);
  for (let n = 1 + at(4); n > 0; n--) {
    const i = at(out.length);
    const kind = at(7);
    if (kind === 0) out = out.subarray(0, i);
    else if (kind === 1) out = Buffer.concat([out.subarray(0, i), out.subarray(i + 1 + at(8))]);
    else if (kind === 2) out = Buffer.concat([out.subarray(0, i), out.subarray(i, i + at(64)), out.subarray(i)]);
    else if (kind === 3) out.subarray(i, i + 1 + at(8)).fill(edges[at(edges.length)]!);
    else if (kind === 4)
      out[i] = 0x30 + at(10); // a digit, since shapes and offsets are text
    else if (out.length > 0) out[i] = kind === 5 ? at(256) : out[i]! ^ (1 << at(8));
  }
  return out;
}

/** Opens the bytes as a file and expects every tensor found to be inside it. */
export function opening(path: string, open: (path: string) => Promise<readonly TensorEntry[]>) {
  return async (bytes: Buffer): Promise<void> => {
    writeFileSync(path, bytes);
    for (const { offset, byteLength } of await open(path)) {
      expect(offset >= 0 && byteLength >= 0 && offset + byteLength <= bytes.length).toBe(true);
    }
  };
}

/**
 * Attempts random mutations of `seeds` for `milliseconds`. Each must succeed or throw `CHECKPOINT_INVALID`, quickly and
 * without leaking memory.
 */
export async function fuzz(
  seeds: readonly Buffer[],
  attempt: (bytes: Buffer) => void | Promise<void>,
  milliseconds = 1000 * fuzzSeconds,
): Promise<{ opened: number; refused: number }> {
  const random = uniform(20240917);
  const memory = process.memoryUsage().rss;
  const counts = { opened: 0, refused: 0 };
  for (const end = performance.now() + milliseconds; performance.now() < end; ) {
    const bytes = mutate(seeds[Math.floor(((random() + 1) / 2) * seeds.length)]!, random);
    const start = performance.now();
    try {
      await attempt(bytes);
      counts.opened++;
    } catch (error) {
      if (!(error instanceof CaracalError) || error.code !== "CHECKPOINT_INVALID") {
        throw new Error(`not a CHECKPOINT_INVALID, for ${bytes.toString("base64")}`, { cause: error });
      }
      counts.refused++;
    }
    expect(performance.now() - start).toBeLessThan(5000);
  }
  expect(process.memoryUsage().rss - memory).toBeLessThan(300 << 20);
  if (process.env.CARACAL_FUZZ_SECONDS) console.log(counts);
  return counts;
}
