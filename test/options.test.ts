import { describe, expect, test } from "vitest";
import { checkOptionNames } from "../lib/options.js";

interface Options {
  threads?: number;
  backend?: string;
}
const known = { threads: true, backend: true };

describe("option names", () => {
  test("known ones pass, in any number, undefined ones included", () => {
    checkOptionNames<Options>("f", undefined, known);
    checkOptionNames<Options>("f", {}, known);
    checkOptionNames<Options>("f", { threads: 1, backend: "cpu" }, known);
  });

  test("a misspelt one is refused with the nearest", () => {
    const misspelt = { theads: 1 } as Options;
    expect(() => checkOptionNames("Device.open", misspelt, known)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: 'Device.open has no option "theads": did you mean "threads"? It takes threads, backend',
        details: { option: "theads", nearest: "threads", known: ["threads", "backend"] },
      }),
    );
  });

  test("a message can call the names fields", () => {
    expect(() => checkOptionNames("part 0", { theads: 1 } as Options, known, "field")).toThrow(
      expect.objectContaining({
        message: 'part 0 has no field "theads": did you mean "threads"? It takes threads, backend',
        details: { field: "theads", nearest: "threads", known: ["threads", "backend"] },
      }),
    );
  });

  test("a name of any length makes a short message", () => {
    const long = { ["x".repeat(140_000)]: 1 } as Options;
    expect(() => checkOptionNames("f", long, known)).toThrow(
      /^f has no option "x{80}"… \(140000 characters\): did you/,
    );
  });

  test("names that every object has are no options", () => {
    const hostile = JSON.parse('{"toString": 1}') as Options;
    expect(() => checkOptionNames("f", hostile, known)).toThrow(/"toString"/);
  });
});
