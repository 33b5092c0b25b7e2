// Every operation with each of its dimensions, each two of them, and all of them 0: it computes what is left, or refuses
// it, on every backend.
import { describe, expect, test } from "vitest";
import { CaracalError } from "../../lib/errors.js";
import { operationFields } from "../../lib/native/operations.js";
import { backends } from "../support/devices.js";
import { cases, type Sizes } from "./sizeCases.js";
import { Make } from "./sizeTensors.js";

test("every operation is among the cases", () => {
  const { machinePeaks: _, ...others } = operationFields; // which measures for seconds
  expect([...new Set(cases.map(({ operation }) => operation))].sort()).toEqual(Object.keys(others).sort());
});

/** The sizes with one, two, or all of them 0. */
function* zeroed(sizes: Sizes<string>): Generator<[names: string[], Sizes<string>]> {
  const names = Object.keys(sizes);
  const zero = (some: readonly string[]): [string[], Sizes<string>] => [
    [...some],
    { ...sizes, ...Object.fromEntries(some.map((name) => [name, 0])) },
  ];
  for (const [i, name] of names.entries()) {
    yield zero([name]);
    for (const other of names.slice(i + 1)) yield zero([name, other]);
  }
  yield zero(names);
}

describe.each(backends)("sizes of 0 on $name", (device) => {
  const make = new Make(device);

  test.each(cases.map((c, i) => [`${i} ${c.operation}`, c] as const))("%s", async (_, { run, sizes, summed = [] }) => {
    for (const [names, some] of zeroed(sizes)) {
      const outputs = await Promise.all(
        device.scope(() => {
          try {
            return [run(make, some)].flat().map((tensor) => tensor.toFloat32Array());
          } catch (error) {
            return [Promise.reject(error)];
          }
        }),
      ).catch((error: unknown) => {
        expect(error, names.join()).toBeInstanceOf(CaracalError);
        expect(["SHAPE_MISMATCH", "INVALID_ARGUMENT", "INDEX_OUT_OF_RANGE"]).toContain((error as CaracalError).code);
        expect((error as CaracalError).message).not.toMatch(/NaN|undefined/);
        return [];
      });
      for (const values of outputs) {
        expect(
          values.every((v) => Number.isFinite(v)),
          `${names.join()}: ${values.slice(0, 8)}`,
        ).toBe(true);
        if (names.some((name) => summed.includes(name)))
          expect(
            values.every((v) => v === 0),
            names.join(),
          ).toBe(true);
      }
    }
    expect(await [run(make, sizes)].flat().at(0)?.toFloat32Array()).toBeDefined(); // the device still works
  });
});
