// Where the new tokens of a batch lie in the KV cache: as numbers, and as the tensors that the attention operations take.
import type { Tensor } from "../../tensor/tensor.js";
import type { Ids, Matrix } from "../types.js";

/** The positions of a packed batch's new tokens, in the form that the attention operations take. T rows, B sequences. */
export interface CacheTensors {
  /** i32 `[T]`: positions within their sequences. */
  readonly positions: Ids;
  /** i32 `[T]`: rows of the cache, block · blockSize + offset. */
  readonly slots: Ids;
  /** i32 `[B, blocks of the longest sequence, or more]`. */
  readonly blockTable: Tensor<"i32", Matrix>;
  /** i32 `[B + 1]`: where each sequence's new rows begin in the batch. */
  readonly cuSeqlens: Ids;
  /** i32 `[B]`: sequence lengths, new rows included. */
  readonly seqLens: Ids;
}

/** @internal The values of `CacheTensors`, one field after another, and their shapes. */
export interface CacheNumbers {
  readonly values: Int32Array;
  /** T */
  readonly rows: number;
  /** B */
  readonly sequences: number;
  /** The width of the block table. */
  readonly width: number;
}

/** @internal The tensors of `CacheNumbers`, as views of one that holds the values. */
export function cacheTensors(values: Ids, { rows, sequences, width }: CacheNumbers): CacheTensors {
  let end = 0;
  const next = (length: number): Ids => {
    end += length;
    return values.slice(end - length, end);
  };
  return {
    positions: next(rows),
    slots: next(rows),
    blockTable: next(sequences * width).reshape([sequences, width]),
    cuSeqlens: next(sequences + 1),
    seqLens: next(sequences),
  };
}

/** @internal New rows of one sequence, from position `from` on. */
export interface PlacedRows {
  /** All blocks of the sequence. */
  readonly blocks: readonly number[];
  readonly rows: number;
  readonly from: number;
}

/** @internal Each row as the last one of a sequence. */
export function singleRows({ blocks, rows, from }: PlacedRows): PlacedRows[] {
  return Array.from({ length: rows }, (_, i) => ({ blocks, rows: 1, from: from + i }));
}

/** @internal The numbers for a batch. */
export function cacheNumbers(batch: readonly PlacedRows[], blockSize: number, minWidth: number): CacheNumbers {
  let [total, width] = [0, minWidth];
  for (const { blocks, rows } of batch) {
    total += rows;
    width = Math.max(width, blocks.length);
  }
  const values = new Int32Array(2 * total + batch.length * (width + 2) + 1);
  const slots = total;
  const table = slots + total;
  const starts = table + batch.length * width;
  const lengths = starts + batch.length + 1;
  let row = 0;
  for (let b = 0; b < batch.length; b++) {
    const { blocks, rows, from } = batch[b]!;
    for (let i = 0; i < blocks.length; i++) values[table + b * width + i] = blocks[i]!;
    for (let position = from; position < from + rows; position++, row++) {
      values[row] = position;
      values[slots + row] = blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
    }
    values[starts + b + 1] = row;
    values[lengths + b] = from + rows;
  }
  return { values, rows: total, sequences: batch.length, width };
}
