import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import { listOf, parseInteger, parseNumber, parsePositive } from "../../lib/cli/options.js";

describe("option values", () => {
  test.each<[string, (text: string) => unknown, string, unknown]>([
    ["a number", parseNumber, "0.5", 0.5],
    ["a negative number", parseNumber, "-1e3", -1000],
    ["a whole number", parseInteger, "-7", -7],
    ["a positive whole number", parsePositive, "12", 12],
    ["a list", listOf(parsePositive), "1,2,4", [1, 2, 4]],
  ])("%s is parsed", (_, parse, text, value) => expect(parse(text)).toEqual(value));

  test.each<[string, (text: string) => unknown, string[]]>([
    ["a number", parseNumber, ["", " ", "x", "1x", "Infinity", "NaN"]],
    ["a whole number", parseInteger, ["", " ", "1.5", "one", "1e300"]],
    ["a positive whole number", parsePositive, ["", "0", "-1", "1.5", "x"]],
    ["a list", listOf(parsePositive), ["", "1,", "1,x", "1;2"]],
  ])("what is not %s is refused", (_, parse, texts) => {
    for (const text of texts) expect(() => parse(text), JSON.stringify(text)).toThrow(InvalidArgumentError);
  });
});
