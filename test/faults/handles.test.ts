// The addon refuses native objects of the wrong kind and of other addons; reading them would crash the process.
import { fileURLToPath } from "node:url";
import { types } from "node:util";
import { describe, expect, test } from "vitest";
import { addon, guarded } from "../../lib/native/addon.js";
import { Device } from "../../lib/tensor/tensor.js";
import { loadCompiled } from "../support/compiled.js";
import { code } from "../support/errors.js";

const device = await Device.open({ backend: "cpu", threads: 1 });
/** The functions of the addon, without their types. */
const native = addon() as unknown as Readonly<Record<string, (...args: unknown[]) => unknown>>;

const other = loadCompiled(new URL("./otherAddon.cc", import.meta.url), (library) => {
  const module = { exports: {} as Readonly<Record<"untagged" | "tagged", unknown>> };
  process.dlopen(module, library);
  return module.exports;
});

native.beginRecording!(device.handle);
const handles = {
  tensor: device.tensor([1, 2], [2]).handle,
  device: device.handle,
  graph: native.endRecording!(device.handle),
  file: device.mapFile(fileURLToPath(import.meta.url)).handle,
} as const;
const strangers = { ...other, "a plain object": {}, "a function": () => {}, null: null, "a number": 1 };

const uses: Record<keyof typeof handles, Record<string, (handle: unknown) => unknown>> = {
  tensor: {
    clearError: (handle) => native.clearError!(handle),
    view: (handle) => native.view!(handle, 0, [1]),
    write: (handle) => native.write!(handle, new Float32Array(2)),
    activation: (handle) => native.activation!(handle, "relu"),
  },
  device: {
    deviceInfo: (handle) => native.deviceInfo!(handle),
    zeros: (handle) => native.zeros!(handle, "f32", [1]),
    synchronize: (handle) => native.synchronize!(handle),
  },
  graph: { replay: (handle) => native.replay!(handle) },
  file: { mapTensor: (handle) => native.mapTensor!(device.handle, handle, 0, "u8", [1]) },
};
const cases = Object.entries(uses).flatMap(([kind, functions]) =>
  Object.entries(functions).map(([name, use]) => ({ kind, name, use })),
);

describe.each(cases)("$name", ({ kind, use }) => {
  test(`takes a ${kind}`, () => {
    use(handles[kind as keyof typeof handles]);
  });

  test.each(Object.entries({ ...handles, ...strangers }).filter(([name]) => name !== kind))(
    "refuses: %s",
    (_, value) => {
      expect(() => guarded(() => use(value))).toThrowError(code("INVALID_ARGUMENT"));
    },
  );
});

test("every handle of this test is a native object", () => {
  for (const handle of [...Object.values(handles), other.tagged, other.untagged])
    expect(types.isExternal(handle)).toBe(true);
});
