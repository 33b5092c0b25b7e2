import { BoundedFile, decodeUtf8, invalid, quote } from "./file.js";

/** A row-major matrix. */
export interface KaldiMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

/** Cepstral mean and variance normalisation, `(x − mean) · istd`, per feature. */
export interface Cmvn {
  readonly mean: Float64Array;
  readonly istd: Float64Array;
}

const maxBytes = 4 << 20;

/**
 * Reads a Kaldi matrix file, text (`[ 1 2 … ]`, one row a line) or binary (`\0B` and a float or double matrix).
 * Throws `CHECKPOINT_INVALID` when it is neither, ragged, truncated or compressed.
 */
export function readKaldiMatrix(path: string): Promise<KaldiMatrix> {
  return BoundedFile.use(path, async (file) => {
    if (file.size > maxBytes) throw invalid(path, `has ${file.size} bytes; expected a small matrix`);
    const bytes = await file.read(0, file.size, "the matrix");
    return bytes[0] === 0 && bytes[1] === 0x42 ? parseBinary(bytes, path) : parseText(decodeUtf8(bytes, path), path);
  });
}

/**
 * The normalisation that Kaldi's global statistics `[2, D + 1]` mean: row 0 holds sums and the frame count, row 1
 * sums of squares. `mean = s₁/n`, `istd = 1 / max(ε, sqrt(s₂/n − mean²))` with ε = 2⁻²³, as the published feature
 * code computes it.
 */
export function cmvnFromStats({ rows, cols, data }: KaldiMatrix, file: string): Cmvn {
  if (rows !== 2 || cols < 2) throw invalid(file, `expected CMVN statistics [2, features + 1], got [${rows}, ${cols}]`);
  const count = data[cols - 1]!;
  if (!(count > 0) || !data.every(Number.isFinite))
    throw invalid(file, "CMVN sums must be finite, their count above 0");
  const mean = data.slice(0, cols - 1).map((sum) => sum / count);
  const variance = mean.map((m, i) => data[cols + i]! / count - m * m);
  const worst = variance.findIndex((v, i) => v < -1e-6 * (1 + mean[i]! ** 2));
  if (worst >= 0) throw invalid(file, `the variance of feature ${worst} is negative (${variance[worst]})`);
  return { mean, istd: variance.map((v) => 1 / Math.max(2 ** -23, Math.sqrt(Math.max(0, v)))) };
}

function parseBinary(bytes: Buffer, path: string): KaldiMatrix {
  const type = bytes.toString("latin1", 2, 5);
  const itemBytes = { "FM ": 4, "DM ": 8 }[type];
  if (!itemBytes) throw invalid(path, `Kaldi type ${quote(type.trim())}; expected an uncompressed matrix, FM or DM`);
  const dataStart = 15; // two sizes follow, each an int32 after its own length in bytes
  if (bytes.length < dataStart || bytes[5] !== 4 || bytes[10] !== 4) throw invalid(path, "damaged Kaldi matrix header");
  const rows = bytes.readInt32LE(6);
  const cols = bytes.readInt32LE(11);
  if (rows < 0 || cols < 0 || rows * cols * itemBytes !== bytes.length - dataStart) {
    throw invalid(
      path,
      `says [${rows}, ${cols}] of ${itemBytes} bytes each, but holds ${bytes.length - dataStart} bytes`,
    );
  }
  const read = itemBytes === 4 ? (at: number) => bytes.readFloatLE(at) : (at: number) => bytes.readDoubleLE(at);
  return { rows, cols, data: Float64Array.from({ length: rows * cols }, (_, i) => read(dataStart + i * itemBytes)) };
}

function parseText(text: string, path: string): KaldiMatrix {
  const body = /^\s*\[([^[\]]*)\]\s*$/.exec(text)?.[1];
  if (body === undefined) throw invalid(path, "not a Kaldi matrix: expected [ numbers ]");
  const lines = body
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const rows = lines.map((line) => line.split(/\s+/).map((word) => parseNumber(word, path)));
  const cols = rows[0]?.length ?? 0;
  const ragged = rows.findIndex((row) => row.length !== cols);
  if (ragged >= 0) throw invalid(path, `row ${ragged} has ${rows[ragged]!.length} numbers, row 0 has ${cols}`);
  return { rows: rows.length, cols, data: Float64Array.from(rows.flat()) };
}

function parseNumber(word: string, path: string): number {
  const value = Number(word);
  if (!/^[-+.\deE]+$/.test(word) || Number.isNaN(value)) throw invalid(path, `${quote(word)} is not a number`);
  return value;
}
