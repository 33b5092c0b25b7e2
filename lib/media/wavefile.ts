import { createRequire } from "node:module";

/** The part of wavefile that is used, typed here because TypeScript 6 rejects the library's own declarations. */
export interface WaveFile {
  /** "8", "16", "24", "32", "32f", "64"; "8a", "8m", "4" for A-law, µ-law, IMA ADPCM. */
  readonly bitDepth: string;
  readonly fmt: { readonly numChannels: number; readonly sampleRate: number };
  fromBuffer(bytes: Uint8Array): void;
  fromALaw(): void;
  fromMuLaw(): void;
  fromIMAADPCM(): void;
  getSamples(interleaved: true, output: Float64ArrayConstructor): Float64Array;
}

export const { WaveFile } = createRequire(import.meta.url)("wavefile") as { WaveFile: new () => WaveFile };
