export { CaracalError, type ErrorCode } from "./errors.js";
export type { MemoryStatistics } from "./native/addon.js";
export * as ops from "./ops/index.js";
export {
  type BackendNote,
  Device,
  type DeviceOptions,
  disposeAll,
  type MappedFile,
  type Values,
} from "./tensor/device.js";
export { type DType, dtypeBytes, dtypes, type RawArray } from "./tensor/dtype.js";
export { PackedWeight, type Shape, Tensor } from "./tensor/tensor.js";
