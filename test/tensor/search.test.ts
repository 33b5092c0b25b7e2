import { expect, test } from "vitest";
import { instancesIn } from "../../lib/tensor/search.js";

class Found {}

test("finds instances in lists and objects, also in those that refer to each other", () => {
  const [a, b] = [new Found(), new Found()];
  const circular: Record<string, unknown> = { a, deep: { list: [1, null, b, a] } };
  circular.self = circular;
  expect(instancesIn(circular, Found)).toEqual(new Set([a, b]));
  expect(instancesIn(a, Found)).toEqual(new Set([a]));
});

test("finds nothing in text and numbers, whose elements it does not list", () => {
  const listed: unknown[] = [];
  const { values } = Object;
  Object.values = (value: object) => {
    listed.push(value);
    return values(value);
  };
  try {
    const elements = [Object("text"), new Float32Array(3), new DataView(new ArrayBuffer(3))];
    expect(instancesIn(elements, Found)).toEqual(new Set());
    expect(listed).toEqual([elements]);
  } finally {
    Object.values = values;
  }
});

test("refuses a list that is too long to be copied", () => {
  expect(() => instancesIn(new Array(2 ** 24 + 1), Found)).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT" }),
  );
});
