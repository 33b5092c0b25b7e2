import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import {
  fileEndingIn,
  integerIn,
  listOf,
  numberIn,
  parseAboveZero,
  parseCount,
  parseInteger,
  parseNonNegative,
  parsePositive,
  parseProbability,
  parseRegExp,
} from "../../lib/cli/options.js";

describe("option values", () => {
  test.each<[string, (text: string) => unknown, string, unknown]>([
    ["a number", numberIn({}), "0.5", 0.5],
    ["a negative number", numberIn({}), "-1e3", -1000],
    ["a number of at least 0", parseNonNegative, "0", 0],
    ["a number above 0", parseAboveZero, "1e-9", 1e-9],
    ["a probability", parseProbability, "1", 1],
    ["a whole number", parseInteger, "-7", -7],
    ["a whole number of at least 0", parseCount, "0", 0],
    ["a positive whole number", parsePositive, "12", 12],
    ["a number in a range", numberIn({ above: -1, max: 1 }), "-0.5", -0.5],
    ["a whole number in a range", integerIn({ min: 2, max: 3 }), "3", 3],
    ["a list", listOf(parsePositive), "1,2,4", [1, 2, 4]],
    ["a regular expression", parseRegExp, "a|b", /a|b/],
    ["a file name", fileEndingIn(".svg"), "a/B.SVG", "a/B.SVG"],
  ])("%s is parsed", (_, parse, text, value) => expect(parse(text)).toEqual(value));

  test.each<[string, (text: string) => unknown, string[], string]>([
    ["a number", numberIn({}), ["", " ", "x", "1x", "Infinity", "NaN"], "Expected a number."],
    ["a number of at least 0", parseNonNegative, ["", "-1e-9", "NaN"], "Expected a number of at least 0."],
    ["a number above 0", parseAboveZero, ["", "0", "-1"], "Expected a number above 0."],
    ["a probability", parseProbability, ["0", "2", "1.01", "-1", "x"], "Expected a number above 0 and at most 1."],
    ["a whole number", parseInteger, ["", " ", "1.5", "one", "1e300"], "Expected a whole number."],
    ["a whole number of at least 0", parseCount, ["-1", "0.5"], "Expected a whole number of at least 0."],
    ["a positive whole number", parsePositive, ["", "0", "-1", "1.5", "x"], "Expected a whole number of at least 1."],
    ["in a range", integerIn({ min: 2, max: 3 }), ["1", "4"], "Expected a whole number of at least 2 and at most 3."],
    ["a number with a maximum", numberIn({ max: 1 }), ["1.5"], "Expected a number of at most 1."],
    ["a list", listOf(parsePositive), ["1,x", "x"], "Item 'x' of the list: Expected a whole number of at least 1."],
    [
      "a complete list",
      listOf(parsePositive),
      ["", "1,"],
      "Item '' of the list: Expected a whole number of at least 1.",
    ],
    [
      "a file name",
      fileEndingIn(".svg"),
      ["x.png", "svg"],
      "Expected a file name that ends in .svg, since no other format is written.",
    ],
  ])("what is not %s is refused", (_, parse, texts, message) => {
    for (const text of texts)
      expect(() => parse(text), JSON.stringify(text)).toThrow(new InvalidArgumentError(message));
  });

  test("what is not a regular expression is refused with the reason", () => {
    expect(() => parseRegExp("[")).toThrow(/^Expected a regular expression: .*Unterminated character class\.$/);
    expect(() => parseRegExp("[")).toThrow(InvalidArgumentError);
  });
});
