import { CaracalError, type ErrorCode } from "../errors.js";
import { type Loaded, loadAddon } from "./load.js";
import { type CodeDType, codeDtypes, type DType, dtypes, layouts, type Operations } from "./operations.js";

declare const handleBrand: unique symbol;
/** A native object, opaque to TypeScript. */
export interface Handle<Kind extends string> {
  readonly [handleBrand]: Kind;
}
export type TensorHandle = Handle<"tensor">;
export type DeviceHandle = Handle<"device">;
export type FileHandle = Handle<"file">;
export type GraphHandle = Handle<"graph">;
export type MergeTableHandle = Handle<"merges">;
export type WordEncoderHandle = Handle<"encoder">;

/** What a tensor is. */
export interface Description {
  readonly dtype: DType | CodeDType;
  /** `"rows"`, or what the weight is packed for. */
  readonly layout: (typeof layouts)[number];
  readonly shape: number[];
}

/** The memory of a device, in bytes. */
export interface MemoryStatistics {
  /** Bytes of all tensors and temporaries. */
  readonly inUse: number;
  /** The maximum of `inUse` so far. */
  readonly peak: number;
  /** Freed bytes that are kept for later tensors of the same size. */
  readonly cached: number;
}

/** Native operations take their arguments in the order of `operationFields`, and return their output, or a list of them. */
type NativeOperations = {
  readonly [Name in keyof Operations<never>]: (...args: readonly unknown[]) => TensorHandle | readonly TensorHandle[];
};

interface Addon extends NativeOperations {
  openCpu(options: { threads?: number | undefined; isa?: string | undefined }): Promise<DeviceHandle>;
  openCuda(options: {
    ordinal?: number | undefined;
    memoryLimit?: number | undefined;
    cacheMemory?: boolean | undefined;
  }): Promise<DeviceHandle>;
  deviceInfo(device: DeviceHandle): {
    backend: "cpu" | "cuda";
    description: string;
    virtual: boolean;
    isa?: string;
    threads?: number;
    capacity: number;
  };
  deviceMemory(device: DeviceHandle): MemoryStatistics;
  synchronize(device: DeviceHandle): Promise<void>;
  /** Refuses further operations at once. */
  closeDevice(device: DeviceHandle): Promise<void>;
  beginRecording(device: DeviceHandle): void;
  endRecording(device: DeviceHandle): GraphHandle;
  replay(graph: GraphHandle): void;
  disposeGraph(graph: GraphHandle): void;
  beginFork(device: DeviceHandle): void;
  endFork(device: DeviceHandle): void;
  tensorFrom(device: DeviceHandle, dtype: DType, shape: readonly number[], values: ArrayBufferView): TensorHandle;
  zeros(device: DeviceHandle, dtype: DType, shape: readonly number[]): TensorHandle;
  view(tensor: TensorHandle, firstElement: number, shape: readonly number[]): TensorHandle;
  /** Writes the indices of dtype and layout, the rank and the shape into `description`. */
  describe(tensor: TensorHandle): void;
  readonly description: Float64Array;
  dispose(tensor: TensorHandle): void;
  /** Fills `result`, of exactly the bytes of the elements. Nobody else may know it until then. */
  read(tensor: TensorHandle, asFloat32: boolean, result: ArrayBuffer): Promise<void>;
  write(tensor: TensorHandle, values: ArrayBufferView): void;
  ready(tensor: TensorHandle): Promise<void>;
  clearError(tensor: TensorHandle): void;
  mapFile(path: string): FileHandle;
  mapTensor(
    device: DeviceHandle,
    file: FileHandle,
    offset: number,
    dtype: DType,
    shape: readonly number[],
  ): TensorHandle;
  mapPacked(
    device: DeviceHandle,
    file: FileHandle,
    offset: number,
    layout: string,
    dtype: DType,
    shape: readonly number[],
    groups: number,
    scaleGroup: number,
    scaleDtype: DType,
  ): TensorHandle;
  packedInfo(tensor: TensorHandle): { bytes: number; groups: number; scaleGroup: number; scaleDtype: DType };
  writePacked(tensor: TensorHandle, fd: number, offset: number): Promise<void>;
  readonly packedLayoutVersion: number;
  /** A table with room for `count` merges. */
  mergeTable(byteIds: Int32Array, count: number): MergeTableHandle;
  /** Adds the left, right and joined ids of merges, best first. */
  addMerges(table: MergeTableHandle, merges: Int32Array): void;
  wordEncoder(table: MergeTableHandle): WordEncoderHandle;
  /** Returns null when it did `limit` steps; then it continues in a call without text. */
  encodeWords(encoder: WordEncoderHandle, limit: number, text?: string, ends?: Int32Array): Int32Array | null;
  /** Takes the lock of an open file until it is closed. `held`: another opening of it has the lock. */
  lockFile(fd: number): "taken" | "held" | "unsupported";
  readonly bestIsa: string;
  /** The number of CUDA kernels in the build; 0 if it was built without them. */
  readonly cudaKernels: number;
  readonly buildTool: string;
}

let loaded: (Loaded & { readonly addon: Addon }) | undefined;

/**
 * The native addon, with the place that it comes from.
 * @throws {CaracalError} `NATIVE_LOAD_FAILED` as `loadAddon`
 */
export function loadedAddon(): Loaded & { readonly addon: Addon } {
  loaded ??= loadAddon() as Loaded & { readonly addon: Addon };
  return loaded;
}

/** The native addon. Errors as `loadedAddon`. */
export const addon = (): Addon => loadedAddon().addon;

const allDtypes = [...dtypes, ...codeDtypes];

/** The dtype, layout and shape of a tensor, even of a disposed one. */
export function describe(tensor: TensorHandle): Description {
  const { addon } = loadedAddon();
  addon.describe(tensor);
  const { description } = addon;
  const shape: number[] = [];
  for (let i = 0; i < description[2]!; i++) shape.push(description[3 + i]!);
  return { dtype: allDtypes[description[0]!]!, layout: layouts[description[1]!]!, shape };
}

/** Runs a native call. Its errors become `CaracalError`s with a JavaScript stack. */
export function guarded<T>(fn: () => T): T {
  try {
    return fn();
  } catch (e) {
    throw fromNative(e);
  }
}

/** Waits for a native promise. Its errors become `CaracalError`s with a JavaScript stack. */
export async function guardedAsync<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (e) {
    throw fromNative(e);
  }
}

function fromNative(e: unknown): unknown {
  if (!(e instanceof Error) || e instanceof CaracalError || !("code" in e)) return e;
  const details = "details" in e ? (e.details as Readonly<Record<string, unknown>>) : {};
  return new CaracalError(e.code as ErrorCode, e.message, details, { cause: e });
}
