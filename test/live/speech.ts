import { readFileSync } from "node:fs";

/** The samples of samples/speech.wav, whose header takes 44 bytes. */
export function speech(): Float32Array {
  const bytes = readFileSync(new URL("../../samples/speech.wav", import.meta.url));
  return Float32Array.from({ length: (bytes.length - 44) >> 1 }, (_, i) => bytes.readInt16LE(44 + 2 * i) / 32768);
}
