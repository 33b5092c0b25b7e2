import { readFileSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import type { PackedCacheNote } from "../../lib/model/packed/cache.js";
import { VisionEncoder } from "../../lib/model/vision/encoder.js";
import type { Device } from "../../lib/tensor/tensor.js";

/** Functions for tests with the packed weights of a directory's vision encoder, by default in `folder`. */
export function packedVision(device: () => Device, directory: string, folder: string) {
  /** Loads the encoder, and returns what became of its packed weights. @param packedCache null for no such option */
  async function open(packedCache: string | boolean | null = folder, from = directory): Promise<PackedCacheNote> {
    const notes: PackedCacheNote[] = [];
    const onPackedCache = (note: PackedCacheNote) => notes.push(note);
    const options = { device: device(), onPackedCache, ...(packedCache !== null && { packedCache }) };
    const encoder = await VisionEncoder.open(from, options);
    encoder[Symbol.dispose]();
    expect(notes.length).toBeLessThan(2);
    return notes[0]!;
  }
  /** The file, which is as it has to be. */
  async function filled(): Promise<string> {
    const { file } = await open();
    expect(await open()).toMatchObject({ file, outcome: "mapped" });
    return file;
  }
  return { open, filled };
}

/** Changes a bit of a file. */
export function flip(file: string, byte: number): void {
  const bytes = readFileSync(file);
  bytes[byte]! ^= 4;
  writeFileSync(file, bytes);
}
