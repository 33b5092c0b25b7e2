import { CaracalError } from "../errors.js";
import { checkOption, checkOptions, plainView, refuseValue } from "../options.js";
import { type Steps, Turns } from "../turns.js";
import { deviceRule } from "./check.js";
import type { DType, Values } from "./dtype.js";
import type { Shape } from "./shape.js";
import type { Device, Tensor } from "./tensor.js";

/** Options of `upload`. */
export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
}
const uploadOptions = { signal: true } satisfies Record<keyof UploadOptions, true>;

/** @internal The elements that are copied at a stretch, in half a millisecond; more when the system must find memory. */
export const pieceElements = 2 ** 18;

/**
 * `Device.tensor` for large arrays: it copies the values in pieces, between which the event loop has its turns. They
 * must not change until it resolves. The tensor belongs to no `device.scope`.
 *
 * @param values a TypedArray, as for `Device.tensor`
 * @throws {CaracalError} as `Device.tensor`; `INVALID_ARGUMENT` during a capture, or for a list or an unknown option;
 *   `ABORTED`
 */
export async function upload<const S extends Shape, D extends DType = "f32">(
  device: Device,
  values: Exclude<Values, readonly number[]>,
  shape: S,
  dtype?: D,
  options: UploadOptions = {},
): Promise<Tensor<NoInfer<D>, S>> {
  checkOption("upload", "device", device, deviceRule);
  checkOptions("upload", options, uploadOptions);
  if (!ArrayBuffer.isView(values)) refuseValue("upload", "values", "a TypedArray", values);
  const plain = plainValues(values);
  const tensor = device.outOfScope(() => device.zeros(shape, dtype));
  try {
    const [expected, actual] = [tensor.size, plain.length];
    if (actual !== expected) {
      const message = `upload: shape [${shape.join(", ")}] has ${expected} elements, got ${actual} values`;
      throw new CaracalError("SHAPE_MISMATCH", message, { argument: "values", expected, actual });
    }
    await new Turns("copying values", options.signal).during(writeSteps(tensor, plain));
    return tensor;
  } catch (error) {
    tensor.dispose();
    throw error;
  }
}

type Array = Exclude<Values, readonly number[]>;

/** The array itself if no tensor takes its class: the first write refuses it. */
function plainValues(values: Array): Array {
  for (const type of [Float32Array, Float64Array, Int32Array, Uint16Array, Uint8Array]) {
    const view = plainView(values, type);
    if (view) return view;
  }
  return values;
}

function* writeSteps(tensor: Tensor, values: Array): Steps<void> {
  const size = values.length;
  for (let at = 0; at === 0 || at < size; at += pieceElements) {
    if (values.length !== size) {
      const message = `upload: the values became ${values.length} of ${size} meanwhile: keep them until it resolves`;
      throw new CaracalError("INVALID_ARGUMENT", message, {
        argument: "values",
        expected: size,
        actual: values.length,
      });
    }
    const end = Math.min(size, at + pieceElements);
    using piece = elementsOf(tensor, at, end);
    piece.write(values.subarray(at, end));
    yield;
  }
}

/** @internal A view of the elements `[start, end)` in row-major order, which no `device.scope` disposes. */
export function elementsOf<D extends DType>(tensor: Tensor<D>, start: number, end: number): Tensor<D> {
  return tensor.device.outOfScope(() => {
    using flat = tensor.reshape([tensor.size]);
    return flat.slice(start, end);
  });
}
