import { CaracalError } from "../errors.js";
import { addon, guarded, guardedAsync, type NativeTensor, type TensorHandle } from "../native/addon.js";
import type { Device } from "./device.js";
import { type DType, dtypeBytes, type RawArray, toArray, type Values } from "./dtype.js";

export type Shape = readonly number[];

/** A shape without its leading dimension. */
export type Row<S extends Shape> = S extends readonly [number, ...infer R extends number[]] ? R : number[];

/** What tensors and packed weights share: native memory on a device, with a dtype and a shape in the type. */
export abstract class NativeArray<D extends DType = DType, S extends Shape = Shape> implements Disposable {
  readonly dtype: D;
  readonly shape: S;
  readonly device: Device;
  readonly #handle: TensorHandle;
  #disposed = false;

  /** @hidden Kept in the declarations, because without it `new Tensor()` would compile. */
  constructor(device: Device, native: NativeTensor) {
    this.device = device;
    this.dtype = native.dtype as D;
    this.shape = Object.freeze(native.shape) as readonly number[] as S;
    this.#handle = native.handle;
    device.track(this);
  }

  /** @internal The native handle; the addon refuses a disposed one. */
  get handle(): TensorHandle {
    return this.#handle;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((n, d) => n * d, 1);
  }

  /** Bytes of the elements. */
  get byteLength(): number {
    return this.size * dtypeBytes[this.dtype];
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Frees the memory once no queued operation needs it. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    addon().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get [Symbol.toStringTag](): string {
    return `${this.constructor.name}<${this.dtype}, [${this.shape.join(", ")}]>`;
  }
}

/**
 * A tensor on a device: row-major, contiguous, with its dtype and shape in the type. Literal dimensions are checked
 * by the compiler, `number` ones at run time.
 *
 * A tensor holds native memory. Free it with `using`, `dispose()` or a `device.scope()`; the garbage collector frees
 * what was forgotten. Disposing a tensor that queued operations still read is safe: they keep its bytes until they
 * are done.
 */
export class Tensor<D extends DType = DType, S extends Shape = Shape> extends NativeArray<D, S> {
  // Makes the class nominal: a packed weight is no tensor.
  declare protected readonly tensorBrand: true;

  /**
   * The elements as f32, whatever the dtype. Waits for the operations that compute them.
   * @throws CaracalError with the code of whatever went wrong in computing this tensor, or `DISPOSED`.
   */
  async toFloat32Array(): Promise<Float32Array> {
    return new Float32Array(await guardedAsync(guarded(() => addon().read(this.handle, true))));
  }

  /** The elements as they are stored: `Float32Array`, `Int32Array`, `Uint8Array`, or `Uint16Array` for bf16 and f16. */
  async read(): Promise<RawArray[D]> {
    const buffer = await guardedAsync(guarded(() => addon().read(this.handle, false)));
    return wrapRaw(this.dtype, buffer) as RawArray[D];
  }

  /**
   * Overwrites the elements, after the operations that are queued and before those to come; `values` as in
   * `Device.tensor`, and may be changed once this returns. Views of the same rows see it.
   * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DISPOSED`; `INVALID_ARGUMENT` for a tensor that is a mapped file, or
   *   while a graph is captured
   */
  write(values: Values): void {
    guarded(() => addon().write(this.handle, toArray(this.dtype, values)));
  }

  /**
   * Waits for the operations that compute the tensor, without reading it.
   * @throws as `toFloat32Array`
   */
  async ready(): Promise<void> {
    await guardedAsync(guarded(() => addon().ready(this.handle)));
  }

  /**
   * Forgets, after the operations that are queued, that one failed which was to write this tensor in place: what comes
   * later takes the bytes as they are. For whoever knows which rows are good, such as the owner of a cache: an
   * operation that failed wrote all of its rows, some, or none. A tensor that got no memory keeps its error.
   * @throws `DISPOSED`
   */
  clearError(): void {
    guarded(() => addon().clearError(this.handle));
  }

  /** The same bytes with another shape. @throws `SHAPE_MISMATCH` when the element counts differ. */
  reshape<const T extends Shape>(shape: T): Tensor<D, T> {
    const size = shape.reduce((n, d) => n * d, 1);
    if (size !== this.size)
      throw new CaracalError(
        "SHAPE_MISMATCH",
        `reshape: [${shape.join(", ")}] has ${size} elements, the tensor [${this.shape.join(", ")}] has ${this.size}`,
      );
    return this.#view<T>(0, shape);
  }

  /**
   * Rows `[start, end)` of the leading dimension, without a copy.
   * @throws `SHAPE_MISMATCH` when the rows are not there.
   */
  slice(start: number, end: number = this.shape[0] ?? 0): Tensor<D, readonly [number, ...Row<S>]> {
    const rows = this.shape[0];
    if (rows === undefined || !(start >= 0 && start <= end && end <= rows))
      throw new CaracalError("SHAPE_MISMATCH", `slice: rows [${start}, ${end}) of [${this.shape.join(", ")}]`);
    const rest = this.shape.slice(1);
    return this.#view(start * rest.reduce((n, d) => n * d, 1), [end - start, ...rest]);
  }

  #view<T extends Shape>(firstElement: number, shape: Shape): Tensor<D, T> {
    return new Tensor<D, T>(
      this.device,
      guarded(() => addon().view(this.handle, firstElement, shape)),
    );
  }
}

/**
 * A weight in the layout that a backend's matrix kernels read, made by `packWeight` and its kin: opaque, not readable,
 * and no tensor; operations that take weights take either.
 */
export class PackedWeight<D extends DType = DType, S extends Shape = Shape> extends NativeArray<D, S> {
  declare protected readonly packedBrand: true;
}

function wrapRaw(dtype: DType, buffer: ArrayBuffer): RawArray[DType] {
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer);
    case "i32":
      return new Int32Array(buffer);
    case "bf16":
    case "f16":
      return new Uint16Array(buffer);
    default:
      return new Uint8Array(buffer);
  }
}
