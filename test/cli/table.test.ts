import { describe, expect, test } from "vitest";
import { alignColumns, formatTable } from "../../lib/cli/table.js";

describe("formatTable", () => {
  const header = ["kernel", "ms", "×"];
  const rows = [
    ["gemm", 1234.5, 0.01234],
    ["router", 5, undefined],
  ];

  test("aligns numbers right and text left, with a dash for what is unknown", () => {
    expect(formatTable(header, rows).split("\n")).toEqual([
      "kernel    ms      ×",
      "------  ----  -----",
      "gemm    1235  0.012",
      "router     5      –",
    ]);
  });

  test("prints Markdown", () => {
    expect(formatTable(header, rows, true).split("\n")).toEqual([
      "| kernel |   ms |     × |",
      "| ------ | ---: | ----: |",
      "| gemm   | 1235 | 0.012 |",
      "| router |    5 |     – |",
    ]);
  });

  test.each([
    [3, "3"],
    [123.4, "123"],
    [12.34, "12.3"],
    [1.234, "1.23"],
    [0.01234, "0.012"],
    [-12.34, "-12.3"],
    [Number.NaN, "–"],
    [Number.POSITIVE_INFINITY, "–"],
  ])("prints %d as %s", (value, text) => {
    expect(
      formatTable(["x"], [[value]])
        .split("\n")[2]!
        .trim(),
    ).toBe(text);
  });

  test("keeps a column left if any cell is text, and prints no control characters", () => {
    expect(formatTable(["x"], [["a\u001b"], [1]]).split("\n")).toEqual(["x", "--", "a\uFFFD", "1"]);
    expect(formatTable(["name"], [])).toBe("name\n----");
  });
});

test("alignColumns pads to the widest cell, and trims the ends of lines", () => {
  expect(
    alignColumns(
      [
        ["a", "10", "x"],
        ["bcd", "5", ""],
      ],
      [1],
    ),
  ).toEqual(["a    10  x", "bcd   5"]);
  expect(alignColumns([])).toEqual([]);
});
