import { addon, guarded, guardedAsync, loadedAddon } from "../native/addon.js";
import type { CodeDType, DType } from "./dtype.js";
import { PackedWeight } from "./packedWeight.js";
import type { Device, MappedFile, NativeArray, Shape } from "./tensor.js";

// Packed weights of the CPU backend in files. The files themselves are the business of lib/model/packed.

/** @internal What a file says of a packed weight, besides where its bytes are. */
export interface PackedForm {
  readonly layout: string;
  readonly dtype: DType | CodeDType;
  readonly shape: Shape;
  /** Those of a Conv1d. */
  readonly groups: number;
  /** The elements that a scale of q4 or q8 is for, and the scales' dtype; 0 for other dtypes. */
  readonly scaleGroup: number;
  readonly scaleDtype: DType;
}

/**
 * @internal The version of the bytes that packing makes (`kPackedLayoutVersion`).
 * @throws {CaracalError} `NATIVE_LOAD_FAILED`
 */
export const packedLayoutVersion = (): number => loadedAddon().addon.packedLayoutVersion;

/** @internal The form of a packed weight, and its bytes. */
export function packedForm(weight: NativeArray): PackedForm & { readonly bytes: number } {
  const { dtype, shape } = weight;
  const { layout } = weight as PackedWeight;
  return { layout, dtype, shape, ...guarded(() => addon().packedInfo(weight.handle)) };
}

/**
 * @internal A read-only packed weight that shares the memory of a file.
 * @throws {CaracalError} `INVALID_ARGUMENT` for a form that no packing operation makes, or a device that is no CPU;
 *   `IO_ERROR` when the weight does not fit in the file
 */
export function mapPacked(device: Device, file: MappedFile, offset: number, form: PackedForm): PackedWeight {
  const { layout, dtype, shape, groups, scaleGroup, scaleDtype } = form;
  const handle = guarded(() =>
    addon().mapPacked(
      device.handle,
      file.handle,
      offset,
      layout,
      dtype as DType,
      shape,
      groups,
      scaleGroup,
      scaleDtype,
    ),
  );
  return new PackedWeight(device, handle);
}

/**
 * @internal Writes the bytes of a packed weight to an open file and frees its memory: it cannot be used any more.
 * @throws {CaracalError} `IO_ERROR`, or the error of the operation that failed to pack it
 */
export async function movePacked(weight: NativeArray, fd: number, offset: number): Promise<void> {
  await guardedAsync(guarded(() => addon().writePacked(weight.handle, fd, offset)));
}
