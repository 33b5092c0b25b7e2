import { CaracalError } from "../../errors.js";
import { audioTokenSeconds } from "../audio/framing.js";
import { timestampText } from "../vision/frames.js";

/** A piece of an audio-visual sequence: a visual unit (by index), some audio tokens, or an audio boundary. */
export type InterleavedPiece =
  | { readonly type: "unit"; readonly unit: number }
  | { readonly type: "audioStart" }
  | { readonly type: "audio"; readonly tokens: number }
  | { readonly type: "audioEnd" };

/**
 * Audio and video in step with the clock: chunks of `intervalSeconds`, each with its units and then its audio. Video
 * that outlasts the audio comes first; audio that outlasts the video goes to the last chunk. At 12.5 audio tokens per
 * second a 1 s chunk takes 12, every second one 13. "Sequential" mode of LongCat-Flash-Omni's published code.
 *
 * @throws {CaracalError} `INVALID_ARGUMENT` when a chunk would not hold whole units
 */
export function interleaveSequential(options: {
  units: number;
  audioTokens: number;
  unitsPerSecond?: number;
  intervalSeconds?: number;
}): InterleavedPiece[] {
  const { units, audioTokens, unitsPerSecond = 1, intervalSeconds = 1 } = options;
  const unitsPerChunk = unitsPerSecond * intervalSeconds;
  if (!(Number.isInteger(unitsPerChunk) && unitsPerChunk >= 1)) {
    throw new CaracalError("INVALID_ARGUMENT", `a chunk must hold whole visual units, got ${unitsPerChunk}`, options);
  }
  const videoChunks = Math.ceil(units / unitsPerSecond / intervalSeconds);
  const audioChunks = Math.ceil((audioTokens * audioTokenSeconds) / intervalSeconds);
  const chunks = Math.min(videoChunks, audioChunks);
  const silentUnits = Math.max(0, videoChunks - audioChunks) * unitsPerChunk;
  const pieces: InterleavedPiece[] = unitPieces(0, Math.min(silentUnits, units));
  let audioLeft = audioTokens;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const first = silentUnits + chunk * unitsPerChunk;
    pieces.push(...unitPieces(first, Math.min(first + unitsPerChunk, units)));
    const tokens = chunk === chunks - 1 ? audioLeft : chunkTokens(chunk, intervalSeconds);
    if (chunk === 0) pieces.push({ type: "audioStart" });
    pieces.push({ type: "audio", tokens });
    audioLeft -= tokens;
  }
  if (chunks > 0) pieces.push({ type: "audioEnd" });
  return pieces;
}

/**
 * Audio spread over the units: floor(audio / units) tokens after each, the remainder after the last. Used when the
 * number of frames was capped, so that units no longer follow the clock.
 */
export function interleaveAverage(options: { units: number; audioTokens: number }): InterleavedPiece[] {
  const { units, audioTokens } = options;
  if (audioTokens === 0) return unitPieces(0, units);
  const share = Math.floor(audioTokens / units);
  const pieces = unitPieces(0, units).flatMap((piece, unit): InterleavedPiece[] => {
    const tokens = unit === units - 1 ? audioTokens - share * (units - 1) : share;
    return [piece, ...(unit === 0 ? [{ type: "audioStart" } as const] : []), { type: "audio", tokens }];
  });
  return [...pieces, { type: "audioEnd" }];
}

function unitPieces(from: number, to: number): InterleavedPiece[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => ({ type: "unit", unit: from + i }));
}

/** Audio tokens of an inner chunk: the whole part, plus one whenever the fractions have added up to a token. */
export function chunkTokens(chunk: number, intervalSeconds: number): number {
  const exact = intervalSeconds / audioTokenSeconds;
  let period = 1; // denominator of the exact binary fraction, as Python's as_integer_ratio
  while (!Number.isInteger(exact * period)) period *= 2;
  const extra = period > 1 && (chunk + 1) % period === 0 ? 1 : 0;
  return Math.floor(exact) + extra;
}

/** The text form of a sequence: time stamps, `<|image_pad|>` × tokens of each unit, `<|audio_pad|>` × audio tokens. */
export function interleavedText(
  pieces: readonly InterleavedPiece[],
  units: readonly { readonly seconds: number; readonly tokens: number }[],
): string {
  const text = (piece: InterleavedPiece): string => {
    switch (piece.type) {
      case "unit": {
        const { seconds, tokens } = units[piece.unit]!;
        return timestampText(seconds) + "<|image_pad|>".repeat(tokens);
      }
      case "audioStart":
        return "<|audio|>";
      case "audio":
        return "<|audio_pad|>".repeat(piece.tokens);
      case "audioEnd":
        return "<|/audio|>";
    }
  };
  return pieces.map(text).join("");
}
