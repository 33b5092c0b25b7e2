import { inspect } from "node:util";
import {
  addon,
  type DeviceHandle,
  describe,
  guarded,
  guardedAsync,
  type MemoryStatistics,
  type TensorHandle,
} from "../native/addon.js";
import { aFunction, checkObject, checkOption, checkPath, isObject } from "../options.js";
import { newArrayBuffer } from "./buffer.js";
import { type CodeDType, type DType, dtypeBytes, type RawArray, rawArray, typedArray, type Values } from "./dtype.js";
import {
  type BackendNote,
  type DeviceList,
  type DeviceOptions,
  listDevices,
  type MappedFile,
  openDevice,
} from "./open.js";
import { endedBy, Scopes } from "./scopes.js";
import { instancesIn } from "./search.js";
import {
  checkedReshape,
  checkedShape,
  checkSlice,
  type Elements,
  elements,
  type Holding,
  type Row,
  type Shape,
} from "./shape.js";

export type { MappedFile, Row, Shape };

/** The base of tensors and packed weights: native memory on a device, with its dtype and shape in the type. */
export abstract class NativeArray<D extends DType | CodeDType = DType | CodeDType, S extends Shape = Shape>
  implements Disposable
{
  readonly dtype: D;
  readonly shape: S;
  readonly device: Device;
  readonly #handle: TensorHandle;
  #disposed = false;

  /** @hidden It stays in the declarations, because `new Tensor()` would compile without it. */
  constructor(device: Device, handle: TensorHandle) {
    this.device = device;
    const { dtype, shape } = describe(handle);
    this.dtype = dtype as D;
    this.shape = Object.freeze(shape) as readonly number[] as S;
    this.#handle = handle;
    device.track(this);
  }

  /** Says no of proxies of tensors and of objects that inherit from one, since they have no native memory. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return isObject(value) && #handle in value && Function.prototype[Symbol.hasInstance].call(NativeArray, value);
  }

  /** @internal The native object, which the addon refuses once it is disposed. */
  get handle(): TensorHandle {
    return this.#handle;
  }

  /** The number of elements. */
  get size(): number {
    return elements(this.shape);
  }

  /** The size of the elements in bytes, without the scales of a packed weight. */
  get byteLength(): number {
    return this.size * dtypeBytes[this.dtype];
  }

  /** Whether it was disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Waits for the operations that compute the elements, without reading them.
   * @throws {CaracalError} `DISPOSED` when this or its device was disposed, or the error of the operation that failed
   */
  async ready(): Promise<void> {
    await guardedAsync(guarded(() => addon().ready(this.#handle)));
  }

  /** Frees the memory once no queued operation needs it. Later calls do nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    addon().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Dtype and shape, for `Object.prototype.toString` and debuggers. */
  get [Symbol.toStringTag](): string {
    return `${this.constructor.name}<${this.dtype}, [${this.shape.join(", ")}]>`;
  }

  /** For people, without the elements: `Tensor<f32, [2, 3]> on cpu avx2, 2 threads`. */
  toString(): string {
    return `${this[Symbol.toStringTag]} on ${this.device.name}${this.#disposed ? ", disposed" : ""}`;
  }

  /** @internal What `console.log` shows. */
  [inspect.custom](): string {
    return this.toString();
  }
}

/**
 * A tensor on a device: row-major and contiguous, with its dtype and shape in the type. Literal dimensions are checked
 * by the compiler, and dimensions of type `number` at run time.
 *
 * A tensor holds native memory. Free it with `using`, `dispose()` or a `device.scope()`; the garbage collector frees
 * forgotten tensors. It is safe to dispose a tensor that queued operations still read: they keep its memory until they
 * are done.
 */
export class Tensor<D extends DType = DType, S extends Shape = Shape> extends NativeArray<D, S> {
  // Makes the class nominal, so that a packed weight is not assignable to it.
  declare protected readonly tensorBrand: true;

  /**
   * Reads the elements, converted to f32. Waits for the operations that compute them.
   * @throws {CaracalError} `DISPOSED` when the tensor or its device was disposed, `OUT_OF_MEMORY` when there is no room
   *   for the result, `IO_ERROR` when the tensor's mapped file was cut short or written to, or the error of the operation
   *   that failed to compute the tensor
   */
  async toFloat32Array(): Promise<Float32Array> {
    const buffer = newArrayBuffer(this.size * 4);
    await this.#fill(buffer, true);
    return new Float32Array(buffer);
  }

  /**
   * Reads the elements as they are stored: `Float32Array`, `Int32Array`, `Uint8Array`, or `Uint16Array` for bf16 and
   * f16.
   * @throws {CaracalError} as `toFloat32Array`
   */
  async read(): Promise<RawArray[D]> {
    const buffer = newArrayBuffer(this.byteLength);
    await this.#fill(buffer, false);
    return rawArray(this.dtype, buffer);
  }

  /**
   * Overwrites the elements, after the queued operations and before later ones. Views of the same rows change too.
   * `values` are those of `Device.tensor`, and may be modified once this returns.
   * @throws {CaracalError} `SHAPE_MISMATCH` or `DTYPE_MISMATCH` when the values do not fit, `DISPOSED` when the tensor
   *   was disposed, `INVALID_ARGUMENT` for a tensor of a mapped file or during a capture, `OUT_OF_MEMORY` when there is
   *   no room for the copy
   */
  write(values: Values): void {
    guarded(() => addon().write(this.handle, typedArray("write", this.dtype, values, this.shape)));
  }

  /**
   * Clears the error of a failed operation that writes this tensor in place, after the queued operations: later
   * operations read the elements as they are. This is for the owner of a cache, who knows which rows are valid, since
   * the failed operation may have written all of its rows, some or none. A tensor whose memory could not be allocated
   * keeps its error.
   * @throws {CaracalError} `DISPOSED` when the tensor or its device was disposed
   */
  clearError(): void {
    guarded(() => addon().clearError(this.handle));
  }

  /**
   * A view of the same elements with another shape.
   * @throws {CaracalError} `SHAPE_MISMATCH` when the numbers of elements differ, `INVALID_ARGUMENT` when the shape is
   *   not an array of dimensions, `DISPOSED` when the tensor was disposed
   */
  reshape<const T extends Shape>(shape: T & Holding<T, Elements<S>>): Tensor<D, T> {
    return this.#view<T>(0, checkedReshape(this.shape, shape));
  }

  /**
   * A view of the rows `[start, end)` of the leading dimension.
   * @throws {CaracalError} `SHAPE_MISMATCH` when the tensor has no such rows, `INVALID_ARGUMENT` when start or end is
   *   not an integer, `DISPOSED` when it was disposed
   */
  slice(start: number, end: number = this.shape[0] ?? 0): Tensor<D, readonly [number, ...Row<S>]> {
    checkSlice(this.shape, start, end);
    const row = this.shape.slice(1);
    return this.#view(start * elements(row), [end - start, ...row]);
  }

  async #fill(result: ArrayBuffer, asFloat32: boolean): Promise<void> {
    await guardedAsync(guarded(() => addon().read(this.handle, asFloat32, result)));
  }

  #view<T extends Shape>(firstElement: number, shape: Shape): Tensor<D, T> {
    return new Tensor<D, T>(
      this.device,
      guarded(() => addon().view(this.handle, firstElement, shape)),
    );
  }
}

/**
 * A processor with its memory, which holds tensors and runs operations. Operations are queued in order and run outside
 * of the event loop; only reading a tensor waits for them. Devices can be opened any number of times, in any worker
 * thread, but an operation cannot combine tensors of different `Device` objects.
 */
export class Device implements AsyncDisposable {
  /** The backends that `open` passed over, with the reasons. */
  readonly why: readonly BackendNote[];
  readonly backend: "cpu" | "cuda";
  /** A description for people: `cpu avx2, 2 threads`. */
  readonly name: string;
  /** Whether the GPU is the virtual one for tests. Its results are right, but its times are meaningless. */
  readonly virtual: boolean;
  /** The number of CPU threads; undefined on a GPU. */
  readonly threads: number | undefined;
  /** The CPU instruction set; undefined on a GPU. */
  readonly isa: string | undefined;
  readonly #handle: DeviceHandle;
  readonly #scopes = new Scopes<NativeArray>(NativeArray);
  #forked = false;
  #disposed: Promise<void> | undefined;

  private constructor(handle: DeviceHandle, why: readonly BackendNote[]) {
    this.#handle = handle;
    this.why = why;
    const info = guarded(() => addon().deviceInfo(handle));
    this.backend = info.backend;
    this.name = `${info.backend} ${info.description}`;
    this.virtual = info.virtual;
    this.threads = info.threads;
    this.isa = info.isa;
  }

  /**
   * Opens a device, on a thread of its own: a GPU's driver may take a second. With `"auto"` it is a GPU if one can be used, else the CPU, and `why` says why not a GPU. The
   * virtual GPU is for tests and is opened only with `"cuda"`.
   * @throws {CaracalError} `NATIVE_LOAD_FAILED` when the addon cannot be loaded; `NO_DRIVER`, `DRIVER_TOO_OLD`,
   *   `NO_DEVICE` or `ARCH_UNSUPPORTED` when `"cuda"` was requested and no GPU can be used; `UNSUPPORTED` for an
   *   instruction set that the processor lacks, or when `"cuda"` was requested of a build without CUDA kernels;
   *   `OUT_OF_MEMORY` when the system refuses the threads; `DEVICE_FAULT` when the GPU fails; `INVALID_ARGUMENT` for an
   *   invalid or unknown option
   */
  static async open(options: DeviceOptions = {}): Promise<Device> {
    const { handle, why } = await openDevice(options);
    return new Device(handle, why);
  }

  /** As of tensors: no proxy is a device. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return isObject(value) && #handle in value;
  }

  /**
   * Describes the devices that can be opened, each of which is open for a moment, and says why no GPU can be used.
   * @throws {CaracalError} `NATIVE_LOAD_FAILED` when the addon cannot be loaded; `OUT_OF_MEMORY` when the system refuses
   *   the CPU's threads
   */
  static async list(): Promise<DeviceList> {
    return listDevices();
  }

  /** The memory of the device. @throws {CaracalError} `DISPOSED` when the device was disposed */
  get memory(): MemoryStatistics {
    return guarded(() => addon().deviceMemory(this.#handle));
  }

  /**
   * Copies values into a new tensor. Numbers and floating-point arrays are converted to `dtype`; a `Uint16Array` holds
   * raw bf16 or f16, an `Int32Array` i32, and a `Uint8Array` u8 or raw f8e4m3. The copy is made before this returns, on
   * the event loop: 64 MiB of f32 take 5 ms into memory that the device has already, and 20 ms to tenths of a second
   * into memory that the system must find first. `upload` copies in pieces, and `mapped` takes tensors from a file.
   * @throws {CaracalError} `SHAPE_MISMATCH` when the numbers of elements differ or the shape is invalid,
   *   `DTYPE_MISMATCH` when the array cannot hold the dtype, `INVALID_ARGUMENT` for another dtype, a number that an
   *   integer dtype cannot hold, or memory that is shared with other threads, `OUT_OF_MEMORY` when the device cannot hold the tensor, `DISPOSED` when it was disposed
   */
  tensor<const S extends Shape, D extends DType = "f32", const V extends Values = Values>(
    values: V,
    shape: S & Holding<S, V["length"]>,
    dtype?: D,
  ): Tensor<NoInfer<D>, S> {
    const type = (dtype ?? "f32") as D;
    const size = checkedShape("tensor", shape);
    return new Tensor<D, S>(
      this,
      guarded(() => addon().tensorFrom(this.#handle, type, size, typedArray("tensor", type, values, size))),
    );
  }

  /** Creates a tensor of zeros. @throws {CaracalError} as `tensor` */
  zeros<const S extends Shape, D extends DType = "f32">(shape: S, dtype?: D): Tensor<NoInfer<D>, S> {
    const size = checkedShape("zeros", shape);
    return new Tensor<D, S>(
      this,
      guarded(() => addon().zeros(this.#handle, dtype ?? "f32", size)),
    );
  }

  /**
   * Maps a file read-only. If it is cut short or written to later, its tensors, and what is computed from them, fail with
   * `IO_ERROR`.
   * @throws {CaracalError} `IO_ERROR` when it cannot be opened or mapped, is empty, or is not a regular
   *   file; `OUT_OF_MEMORY` when there is no address space; `INVALID_ARGUMENT` for what is no path
   */
  mapFile(path: string): MappedFile {
    checkPath("Device.mapFile", "path", path);
    return { path, handle: guarded(() => addon().mapFile(path)) };
  }

  /**
   * Creates a tensor of the elements that start `offset` bytes into a mapped file. It is read-only: `write` and
   * operations that write in place refuse it and its views.
   * @throws {CaracalError} `IO_ERROR` when the tensor does not fit in the file, otherwise as `tensor`
   */
  mapped<const S extends Shape, D extends DType>(file: MappedFile, offset: number, shape: S, dtype: D): Tensor<D, S> {
    checkObject("Device.mapped", "file", file);
    const size = checkedShape("mapped", shape);
    return new Tensor<D, S>(
      this,
      guarded(() => addon().mapTensor(this.#handle, file.handle, offset, dtype, size)),
    );
  }

  /**
   * Runs `fn` and disposes all tensors that it creates on this device, except those in its result (a tensor, or an
   * array or plain object of tensors). `fn` is synchronous, since operations are only queued.
   * @throws {CaracalError} `INVALID_ARGUMENT` when `fn` is not a function, or returns a promise
   */
  scope<T>(fn: () => T): T {
    return this.#scopes.run(fn);
  }

  /**
   * Runs `fn` and lets its operations run in parallel with later ones if the device can: on a GPU they use a second
   * stream. An operation that reads a result of the fork, or writes in place a tensor that the fork reads, waits for
   * the fork. `fn` is synchronous. A fork within a fork is part of the outer one. On a GPU, a fork runs in parallel up
   * to the first `Graph.replay` in it.
   * @throws {CaracalError} `DISPOSED` when the device was disposed, `INVALID_ARGUMENT` when `fn` is not a function
   */
  fork<T>(fn: () => T): T {
    checkOption("Device.fork", "fn", fn, aFunction);
    if (this.#forked) return fn();
    guarded(() => addon().beginFork(this.#handle));
    this.#forked = true;
    return endedBy(fn, () => {
      this.#forked = false;
      guarded(() => addon().endFork(this.#handle));
    });
  }

  /** @internal */
  get handle(): DeviceHandle {
    return this.#handle;
  }

  /** @internal Runs `fn` without disposing the tensors that it creates, even within a scope. */
  outOfScope<T>(fn: () => T): T {
    return this.#scopes.suspend(fn);
  }

  /** @internal */
  track(tensor: NativeArray): void {
    this.#scopes.track(tensor);
  }

  /** Waits for all queued operations. @throws {CaracalError} `DISPOSED` when the device was disposed */
  async synchronize(): Promise<void> {
    await guardedAsync(guarded(() => addon().synchronize(this.#handle)));
  }

  /**
   * Refuses further operations, drops the queued ones and stops the threads. Pending reads are rejected with `DISPOSED`.
   * @returns a promise, the same each time, that is fulfilled once the running operation has ended
   */
  dispose(): Promise<void> {
    this.#disposed ??= guarded(() => addon().closeDevice(this.#handle));
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Disposes all tensors and packed weights in a value: a tensor, or an array or plain object of tensors.
 * @throws {CaracalError} `INVALID_ARGUMENT` for a value of more than 2^20 objects
 */
export function disposeAll(value: unknown): void {
  for (const t of instancesIn(value, NativeArray)) t.dispose();
}
