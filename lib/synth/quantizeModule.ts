import type { TensorEntry } from "../checkpoint/entry.js";
import { CaracalError, printable } from "../errors.js";
import type { Activations } from "../ops/call.js";
import { dequantizeAffine, dequantizeFp8, quantizeAffine, quantizeFp8 } from "../ops/quantization.js";
import { transpose } from "../ops/rows.js";
import { type DType, rawArray } from "../tensor/dtype.js";
import type { Device, Tensor } from "../tensor/tensor.js";
import type { Turns } from "../turns.js";
import type { PlannedModule, SourceRows } from "./quantizePlan.js";
import { readStoredRows, storedBytes } from "./storedRows.js";

type Rows = Tensor<Activations, readonly [number, number]>;

/** The elements that are quantised at a time: memory is taken for them, whatever the size of the matrix. */
const chunkElements = 1 << 22;
const scaleBlock = 128;

/** Sums over the weights of a module. */
export interface QuantizationError {
  /** Of the squares of the differences between the weights and what is read back. */
  difference: number;
  /** Of the squares of the weights. */
  magnitude: number;
}

/** Where a module is quantised, and who is told. */
export interface Quantizing {
  readonly device: Device;
  readonly turns: Turns;
  readonly error: QuantizationError;
}

/** Yields the bytes of a module's tensors piece by piece: each time, the next bytes of every output. */
export async function* moduleBytes(
  { parts, format }: PlannedModule,
  context: Quantizing,
): AsyncGenerator<readonly Uint8Array[]> {
  for (const part of parts) {
    if (format === undefined && part.entry.dtype !== "f8e4m3" && !part.transposed) {
      for await (const bytes of storedBytes(part)) yield [bytes];
      continue;
    }
    const columns = part.entry.shape[1]!;
    const most = part.transposed
      ? part.rows
      : Math.max(1, Math.floor(chunkElements / columns / scaleBlock)) * scaleBlock;
    for (let at = 0; at < part.rows; at += most) {
      using rows = await readRows(part, part.from + at, Math.min(most, part.rows - at), context.device);
      yield await encode(rows, format, context).catch((error) => Promise.reject(named(error, part, at)));
    }
  }
}

/** An error of quantisation with the tensor that it is about. */
function named(error: unknown, { entry, from }: SourceRows, at: number): unknown {
  if (!(error instanceof CaracalError) || error.code !== "INVALID_ARGUMENT") return error;
  const rows = from + at > 0 ? `, of the rows from ${from + at} on` : "";
  const message = printable(`${entry.file}: tensor ${entry.name}${rows}: ${error.message}`);
  return new CaracalError("CHECKPOINT_INVALID", message, { entry }, { cause: error });
}

/** Rows of a matrix of the source, as f32 or bf16. */
async function readRows(part: SourceRows, from: number, rows: number, device: Device): Promise<Rows> {
  const { entry, scale } = part;
  if (entry.dtype !== "f8e4m3") return turned(await readTensor(entry, from, rows, device), part);
  // Whole blocks are read, since blocks share scales.
  const first = Math.floor(from / scaleBlock) * scaleBlock;
  const end = Math.min(Math.ceil((from + rows) / scaleBlock) * scaleBlock, entry.shape[0]!);
  using codes = (await readTensor(entry, first, end - first, device)) as object as Tensor<"f8e4m3", [number, number]>;
  const blocks = [Math.floor(first / scaleBlock), Math.ceil((end - first) / scaleBlock)] as const;
  using scales = (await readTensor(scale!, ...blocks, device)) as Tensor<"f32">;
  using all = dequantizeFp8(codes, { scale: scales, outDtype: "bf16" });
  return turned(all.slice(from - first, from - first + rows) as Rows, part);
}

function turned(rows: Rows, { transposed }: SourceRows): Rows {
  if (!transposed) return rows;
  using before = rows;
  return transpose(before);
}

async function readTensor(entry: TensorEntry, from: number, rows: number, device: Device): Promise<Rows> {
  const columns = entry.shape[1]!;
  const bytes = await readStoredRows({ entry, from, rows });
  const dtype = entry.dtype as DType;
  const values = rawArray(dtype, new Uint8Array(bytes).buffer); // a copy, which is aligned
  return device.tensor(values, [rows, columns] as const, dtype) as Tensor as Rows;
}

/** Quantises rows; returns the bytes of every output. */
async function encode(rows: Rows, format: PlannedModule["format"], context: Quantizing): Promise<Uint8Array[]> {
  if (format === undefined) return [asBytes(await rows.read())];
  const { device, turns, error } = context;
  const made = device.scope(() => {
    if (format === "fp8") {
      const { codes, scale } = quantizeFp8(rows);
      return { outputs: [codes, scale], back: dequantizeFp8(codes, { scale }) };
    }
    const { bits, group_size: group } = format;
    const { codes, scale, bias } = quantizeAffine(rows, { bits, group });
    return { outputs: [codes, scale, bias], back: dequantizeAffine(codes, { bits, scale, bias }) };
  });
  try {
    const [weights, back, ...outputs] = await Promise.all([
      rows.toFloat32Array(),
      made.back.toFloat32Array(),
      ...made.outputs.map((tensor) => tensor.read()),
    ]);
    await addErrors(error, weights!, back!, turns);
    return outputs.map(asBytes);
  } finally {
    for (const tensor of [...made.outputs, made.back]) tensor.dispose();
  }
}

async function addErrors(
  error: QuantizationError,
  weights: Float32Array,
  back: Float32Array,
  turns: Turns,
): Promise<void> {
  const piece = 1 << 16;
  for (let from = 0; from < weights.length; from += piece) {
    let [difference, magnitude] = [0, 0];
    const end = Math.min(from + piece, weights.length);
    for (let i = from; i < end; i++) {
      const w = weights[i]!;
      const d = w - back[i]!;
      difference += d * d;
      magnitude += w * w;
    }
    error.difference += difference;
    error.magnitude += magnitude;
    if (turns.due) await turns.next();
  }
}

function asBytes(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
