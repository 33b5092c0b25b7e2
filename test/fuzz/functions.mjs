// The functions of the addon that are not operations: their arguments in order, as contracts, and a valid call of each.
// Those that would stop the devices that other calls use get wrong handles only.
import { i32, product, rows, tensor } from "./values.mjs";

const dtypes = ["f32", "f16", "bf16", "f8e4m3", "i32", "u8"];
const arrays = {
  f32: "Float32Array",
  f16: "Uint16Array",
  bf16: "Uint16Array",
  f8e4m3: "Uint8Array",
  i32: "Int32Array",
  u8: "Uint8Array",
};
const dtypeBytes = { f32: 4, f16: 2, bf16: 2, f8e4m3: 1, i32: 4, u8: 1 };
const device = { odd: "device" };
const values = (dtype, shape) => ({ array: arrays[dtype], length: product(shape) });

/** Name → [argument kinds by name, random → { args, outputs }]. */
const functions = {
  tensorFrom: [
    { device: "handle", dtype: "choice", shape: "integer[]", values: "value" },
    (r) => {
      const [dtype, shape] = [r.pick(...dtypes), r.shape(0, 3)];
      return { args: { device, dtype, shape, values: values(dtype, shape) }, outputs: [[dtype, shape]] };
    },
  ],
  zeros: [
    { device: "handle", dtype: "choice", shape: "small[]" },
    (r) => {
      const [dtype, shape] = [r.pick(...dtypes), r.shape(0, 3)];
      return { args: { device, dtype, shape }, outputs: [[dtype, shape]] };
    },
  ],
  view: [
    { tensor: "tensor", first: "integer", shape: "integer[]" },
    (r) => {
      const [dtype, shape, first] = [r.pick(...dtypes), r.shape(0, 3), r.int(0, 9)];
      return {
        args: { tensor: tensor(r, dtype, [first + product(shape)]), first, shape },
        outputs: [[dtype, shape]],
      };
    },
  ],
  read: [
    { tensor: "tensor", asFloat32: "boolean", result: "value" },
    (r) => {
      const [dtype, shape, asFloat32] = [r.pick(...dtypes), r.shape(0, 3), r.chance(0.5)];
      const bytes = product(shape) * (asFloat32 ? 4 : dtypeBytes[dtype]);
      return { args: { tensor: tensor(r, dtype, shape), asFloat32, result: { array: "ArrayBuffer", length: bytes } } };
    },
  ],
  write: [
    { tensor: "tensor", values: "value" },
    (r) => {
      const [dtype, shape] = [r.pick(...dtypes), r.shape(0, 3)];
      return {
        args: { tensor: { ...tensor(r, dtype, shape), storage: "own" }, values: values(dtype, shape) },
        writes: true,
      };
    },
  ],
  ready: [{ tensor: "tensor" }, (r) => ({ args: { tensor: tensor(r, rows(r), r.shape(0, 2)) } })],
  clearError: [{ tensor: "tensor" }, (r) => ({ args: { tensor: i32(r, [1, 2]) } })],
  describe: [{ tensor: "tensor" }, (r) => ({ args: { tensor: tensor(r, r.pick(...dtypes), r.shape(0, 3)) } })],
  dispose: [{ tensor: "tensor" }, (r) => ({ args: { tensor: { ...tensor(r, "f32", [3]), storage: "mapped" } } })],
  mapTensor: [
    { device: "handle", file: "handle", offset: "integer", dtype: "choice", shape: "integer[]" },
    (r) => {
      const [dtype, shape] = [r.pick(...dtypes), r.shape(0, 3)];
      return { args: { device, file: { odd: "file" }, offset: r.int(0, 99), dtype, shape }, outputs: [[dtype, shape]] };
    },
  ],
  mapFile: [
    { path: "value" },
    (r) => ({
      args: { path: r.pick("/nonexistent", "/", "/dev/null", "\0") },
      allowed: ["IO_ERROR", "INVALID_ARGUMENT"],
    }),
  ],
  lockFile: [
    { fd: "descriptor" },
    (r) => ({ args: { fd: r.pick(-1, 2 ** 31, 2 ** 31 - 1) }, allowed: ["INVALID_ARGUMENT"] }),
  ],
  deviceInfo: [{ device: "handle" }, () => ({ args: { device } })],
  deviceMemory: [{ device: "handle" }, () => ({ args: { device } })],
  synchronize: [{ device: "handle" }, () => ({ args: { device } })],
  replay: [{ graph: "handle" }, () => ({ args: { graph: { odd: "graph" } } })],
  openCpu: [{ options: "value" }, (r) => ({ args: { options: { odd: r.pick("{}", "proxy") } } })],
  ...Object.fromEntries(
    ["closeDevice", "beginRecording", "endRecording", "beginFork", "endFork", "disposeGraph"].map((name) => [
      name,
      [
        { handle: "wrong" },
        (r) => ({
          args: { handle: { odd: r.pick("file", "null", "{}", "1.5", "symbol") } },
          allowed: ["INVALID_ARGUMENT"],
        }),
      ],
    ]),
  ),
};

export const functionContracts = Object.entries(functions).map(([name, [fields]]) => ({
  name,
  positional: true,
  codes: ["mapTensor", "lockFile"].includes(name) ? ["IO_ERROR"] : [],
  fields: Object.entries(fields).map(([field, kind]) => ({
    name: field,
    kind,
    inout: name === "write" && field === "tensor",
  })),
}));
export const functionRecipes = Object.fromEntries(Object.entries(functions).map(([name, [, draw]]) => [name, draw]));
