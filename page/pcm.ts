// Sound as the protocol has it: 16 bits, little-endian, mono, in base64.

/** Rates of the session, in Hz: what the model hears, which is not resampled, and what it speaks. */
export const inputRate = 16000;
export const outputRate = 24000;
/** Samples that are sent at once: 32 ms, which are a step of the server's detector of speech. */
export const inputChunk = 512;

export function pcm16(samples: Float32Array): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  for (const [i, sample] of samples.entries()) {
    const value = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
    view.setInt16(2 * i, value, true);
  }
  return new Uint8Array(view.buffer);
}

/** Samples in [-1, 1). A byte that is left over is not read. */
export function ofPcm16(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // Functions take so many arguments at most.
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

export function ofBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
