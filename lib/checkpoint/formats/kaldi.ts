import { invalid, plural, quote } from "../problems.js";
import { BoundedFile, decodeUtf8 } from "./file.js";

/** A row-major matrix. */
export interface KaldiMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

/** The statistics of the published features take 4 kB. */
const maxBytes = 64 << 10;

/**
 * Reads a Kaldi matrix file, in text (`[ 1 2 … ]`, one row per line) or binary form (`\0B`, then a float or double
 * matrix).
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the file is neither, or is ragged, truncated or compressed
 */
export function readKaldiMatrix(path: string): Promise<KaldiMatrix> {
  return BoundedFile.use(path, async (file) => {
    if (file.size > maxBytes) throw invalid(path, `has ${file.size} bytes; expected a matrix of at most ${maxBytes}`);
    const bytes = await file.read(0, file.size, "the matrix");
    return bytes[0] === 0 && bytes[1] === 0x42 ? parseBinary(bytes, path) : parseText(decodeUtf8(bytes, path), path);
  });
}

function parseBinary(bytes: Buffer, path: string): KaldiMatrix {
  const type = bytes.toString("latin1", 2, 5);
  const itemBytes = { "FM ": 4, "DM ": 8 }[type];
  if (!itemBytes) throw invalid(path, `Kaldi type ${quote(type.trim())}; expected an uncompressed matrix, FM or DM`);
  const dataStart = 15; // after two sizes, each an int32 that follows its own length in bytes
  if (bytes.length < dataStart || bytes[5] !== 4 || bytes[10] !== 4) throw invalid(path, "damaged Kaldi matrix header");
  const rows = bytes.readInt32LE(6);
  const cols = bytes.readInt32LE(11);
  if (rows < 0 || cols < 0 || rows * cols * itemBytes !== bytes.length - dataStart) {
    throw invalid(
      path,
      `the header says [${rows}, ${cols}] of ${itemBytes} bytes each, but ${bytes.length - dataStart} bytes follow`,
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
  if (ragged >= 0)
    throw invalid(path, `row ${ragged} has ${plural(rows[ragged]!.length, "number")}, row 0 has ${cols}`);
  return { rows: rows.length, cols, data: Float64Array.from(rows.flat()) };
}

function parseNumber(word: string, path: string): number {
  const value = Number(word);
  if (!/^[-+.\deE]+$/.test(word) || Number.isNaN(value)) throw invalid(path, `${quote(word)} is not a number`);
  return value;
}
