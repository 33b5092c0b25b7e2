/** How sound is written: PCM of 16 bits, little-endian, at 24 kHz (16 kHz is an addition of this server), or G.711 at 8 kHz. */
export type AudioFormat =
  | { readonly type: "audio/pcm"; readonly rate: 24000 | 16000 }
  | { readonly type: "audio/pcmu" }
  | { readonly type: "audio/pcma" };

/** Samples per second. */
export const rateOf = (format: AudioFormat): number => (format.type === "audio/pcm" ? format.rate : 8000);

/** Bytes per second. */
export const byteRateOf = (format: AudioFormat): number => (format.type === "audio/pcm" ? 2 * format.rate : 8000);
