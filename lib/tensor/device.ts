import { CaracalError } from "../errors.js";
import {
  addon,
  type DeviceHandle,
  type FileHandle,
  guarded,
  guardedAsync,
  type MemoryStatistics,
} from "../native/addon.js";
import { checkOptionNames } from "../options.js";
import { type DType, toArray, type Values } from "./dtype.js";
import { NativeArray, type Shape, Tensor } from "./tensor.js";

export interface DeviceOptions {
  /** Which backend: `"auto"` (the default) takes the best usable one; `device.why` says what was passed over. */
  readonly backend?: "auto" | "cpu" | "cuda";
  /** CPU threads; the default is what the process may use (affinity and cgroup quota). */
  readonly threads?: number;
  /** CPU instruction set; the default is the best this processor has. `CARACAL_CPU` sets it from outside. */
  readonly isa?: "scalar" | "avx2" | "avx512";
  /** Which GPU, as the driver counts them; the default is 0. */
  readonly ordinal?: number;
  /** Bytes of GPU memory that this device may take; the default is all there is. */
  readonly memoryLimit?: number;
  /**
   * Whether a GPU's memory is kept for later tensors of about the same size; default true. With false every tensor has
   * an allocation of exactly its bytes, freed with it: slow, but compute-sanitizer and the virtual GPU then see accesses
   * past a tensor's end, and reads of what nobody wrote.
   */
  readonly cacheMemory?: boolean;
}

const deviceOptionNames = {
  backend: true,
  threads: true,
  isa: true,
  ordinal: true,
  memoryLimit: true,
  cacheMemory: true,
} as const;

/** Why a backend was passed over. */
export interface BackendNote {
  readonly backend: "cuda";
  readonly code: string;
  readonly message: string;
}

/** A checkpoint file mapped into memory; tensors made from it are read from disk as they are touched. */
export interface MappedFile {
  readonly path: string;
  /** @internal */
  readonly handle: FileHandle;
}

/**
 * Where tensors live and operations run. Operations are queued in order and run off the event loop; only reading a
 * tensor waits. A device may be opened any number of times, in any worker thread; tensors of different devices do
 * not mix.
 */
export class Device implements AsyncDisposable {
  /** Backends that were tried and passed over, with the reason. */
  readonly why: readonly BackendNote[];
  readonly backend: "cpu" | "cuda";
  /** For people: `cpu avx2, 2 threads`. */
  readonly name: string;
  /** Whether a virtual GPU stands in for one: results are right, times mean nothing. */
  readonly virtual: boolean;
  /** CPU threads and instruction set; undefined on a GPU. */
  readonly threads: number | undefined;
  readonly isa: string | undefined;
  readonly #handle: DeviceHandle;
  readonly #scopes: NativeArray[][] = [];
  #forked = false;
  #disposed = false;

  private constructor(handle: DeviceHandle, why: readonly BackendNote[] = []) {
    this.#handle = handle;
    this.why = why;
    const info = addon().deviceInfo(handle);
    this.backend = info.backend;
    this.name = `${info.backend} ${info.description}`;
    this.virtual = info.virtual;
    this.threads = info.threads;
    this.isa = info.isa;
  }

  /**
   * Opens a device: with `"auto"` a GPU where one can be used, else the CPU, and `why` says what the GPU lacked. A
   * virtual GPU is for tests, and only opened when it is asked for with `"cuda"`.
   * @throws `NATIVE_LOAD_FAILED` when the addon cannot be loaded; with `"cuda"`, `NO_DRIVER`, `DRIVER_TOO_OLD`,
   *   `NO_DEVICE` or `ARCH_UNSUPPORTED` for a GPU that cannot be used; `UNSUPPORTED` for an instruction set that this
   *   processor has not, or a build without CUDA kernels; `INVALID_ARGUMENT` for a bad option.
   */
  static async open(options: DeviceOptions = {}): Promise<Device> {
    checkOptionNames("Device.open", options, deviceOptionNames);
    const { backend = "auto", threads, isa, ordinal, memoryLimit, cacheMemory } = options;
    if (backend !== "auto" && backend !== "cpu" && backend !== "cuda")
      throw new CaracalError(
        "INVALID_ARGUMENT",
        `backend must be "auto", "cpu" or "cuda", got ${JSON.stringify(backend)}`,
      );
    const openCuda = () => new Device(guarded(() => addon().openCuda({ ordinal, memoryLimit, cacheMemory })));
    if (backend === "cuda") return openCuda();
    const why: BackendNote[] = [];
    if (backend === "auto") {
      try {
        const device = openCuda();
        if (!device.virtual) return device;
        device.dispose();
        const message = `${device.name} is for tests: ask for it with backend: "cuda"`;
        why.push({ backend: "cuda", code: "UNSUPPORTED", message });
      } catch (error) {
        if (!(error instanceof CaracalError) || error.code === "INVALID_ARGUMENT") throw error;
        why.push({ backend: "cuda", code: error.code, message: error.message });
      }
    }
    return new Device(
      guarded(() => addon().openCpu({ threads, isa })),
      why,
    );
  }

  get memory(): MemoryStatistics {
    return guarded(() => addon().deviceMemory(this.#handle));
  }

  /**
   * Copies values into a new tensor. Floats are converted to `dtype`; a `Uint16Array` holds raw bf16 or f16, a
   * `Uint8Array` u8 or raw f8e4m3.
   * @throws `SHAPE_MISMATCH` when the counts differ, `DTYPE_MISMATCH` when the array cannot hold the dtype.
   */
  tensor<const S extends Shape, D extends DType = "f32">(values: Values, shape: S, dtype?: D): Tensor<NoInfer<D>, S> {
    const type = (dtype ?? "f32") as D;
    return new Tensor<D, S>(
      this,
      guarded(() => addon().tensorFrom(this.#handle, type, shape, toArray(type, values))),
    );
  }

  /** A tensor of zeros. */
  zeros<const S extends Shape, D extends DType = "f32">(shape: S, dtype?: D): Tensor<NoInfer<D>, S> {
    return new Tensor<D, S>(
      this,
      guarded(() => addon().zeros(this.#handle, dtype ?? "f32", shape)),
    );
  }

  /** Maps a file read-only. @throws `IO_ERROR`. */
  mapFile(path: string): MappedFile {
    return { path, handle: guarded(() => addon().mapFile(path)) };
  }

  /** A tensor whose bytes are those of a mapped file from `offset` on. @throws `IO_ERROR` past the file's end. */
  mapped<const S extends Shape, D extends DType>(file: MappedFile, offset: number, shape: S, dtype: D): Tensor<D, S> {
    return new Tensor<D, S>(
      this,
      guarded(() => addon().mapTensor(this.#handle, file.handle, offset, dtype, shape)),
    );
  }

  /**
   * Runs `fn` and disposes every tensor made on this device meanwhile, except those in its result (a tensor, or an
   * array or plain object of tensors). `fn` is synchronous: operations only queue.
   * @throws `INVALID_ARGUMENT` when `fn` returns a promise.
   */
  scope<T>(fn: () => T): T {
    const made: NativeArray[] = [];
    this.#scopes.push(made);
    let result: T | undefined;
    try {
      const value = fn();
      if (value instanceof Promise) {
        value.catch(() => {}); // its tensors are gone, so it is likely to fail
        throw new CaracalError(
          "INVALID_ARGUMENT",
          "scope: the function must not be async, since its tensors are disposed when it returns; await outside",
        );
      }
      result = value;
      return result;
    } finally {
      this.#scopes.pop();
      const kept = tensorsIn(result);
      const outer = this.#scopes.at(-1);
      for (const t of made) {
        if (!kept.has(t)) t.dispose();
        else outer?.push(t);
      }
    }
  }

  /**
   * Runs `fn`, and lets its operations run beside those that are queued after it, where the device can: on a GPU, on a
   * second stream. Order is kept where it matters: an operation that needs a result of the fork waits for it, and so
   * does one that writes in place what the fork reads. `fn` is synchronous; a fork within a fork is part of it.
   */
  fork<T>(fn: () => T): T {
    if (this.#forked) return fn();
    guarded(() => addon().beginFork(this.#handle));
    this.#forked = true;
    try {
      return fn();
    } finally {
      this.#forked = false;
      guarded(() => addon().endFork(this.#handle));
    }
  }

  /** @internal */
  get handle(): DeviceHandle {
    return this.#handle;
  }

  /** @internal Tensors that `fn` makes are left to it, whatever scope it is called in. */
  outOfScope<T>(fn: () => T): T {
    this.#scopes.push([]);
    try {
      return fn();
    } finally {
      this.#scopes.pop();
    }
  }

  /** @internal */
  track(tensor: NativeArray): void {
    this.#scopes.at(-1)?.push(tensor);
  }

  /** Resolves when every operation queued so far is done. */
  async synchronize(): Promise<void> {
    await guardedAsync(guarded(() => addon().synchronize(this.#handle)));
  }

  /** Drops what is queued, waits for the operation that runs, and stops the threads. Pending reads reject with `DISPOSED`. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    addon().closeDevice(this.#handle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }
}

/** Disposes every tensor and packed weight in a value: a tensor, or an array or plain object of them. */
export function disposeAll(value: unknown): void {
  for (const t of tensorsIn(value)) t.dispose();
}

function tensorsIn(root: unknown): Set<NativeArray> {
  const tensors = new Set<NativeArray>();
  const seen = new Set<object>(); // objects may refer to one another in circles
  const visit = (value: unknown) => {
    if (value === null || typeof value !== "object" || ArrayBuffer.isView(value) || seen.has(value)) return;
    seen.add(value);
    if (value instanceof NativeArray) tensors.add(value);
    else for (const v of Object.values(value)) visit(v);
  };
  visit(root);
  return tensors;
}
