import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CaracalError, errorCodes, shown, throwIfAborted } from "../lib/errors.js";

const url = (path: string) => new URL(`../${path}`, import.meta.url);
const read = (path: string) => readFileSync(url(path), "utf8");
const { errorPage }: { errorPage(codes: typeof errorCodes): string } = await import(
  url("scripts/lib/errorPage.mjs").href
);

describe("error codes", () => {
  test("docs/errors.md is up to date; otherwise run `npm run docs`", () => {
    expect(read("docs/errors.md")).toBe(errorPage(errorCodes));
  });

  test.each(Object.entries(errorCodes))("%s says in whole sentences when it occurs and what to do", (code, text) => {
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
    for (const sentences of [text.when, text.fix]) expect(sentences).toMatch(/^[A-Z`][^|\n]+\.$/);
  });

  test("the native code throws only these", () => {
    const native = Array.from(read("native/core/error.h").matchAll(/\bk\w+ = "([A-Z_]+)"/g), ([, code]) => code);
    expect(native.length).toBeGreaterThan(10);
    expect(Object.keys(errorCodes)).toEqual(expect.arrayContaining(native));
  });
});

describe("throwIfAborted", () => {
  test("passes without a signal, and with one that is not aborted", () => {
    throwIfAborted(undefined, "loading");
    throwIfAborted(new AbortController().signal, "loading");
  });

  test("throws ABORTED with the signal's reason as the cause", () => {
    const run = () => throwIfAborted(AbortSignal.abort("enough"), "loading");
    expect(run).toThrow(CaracalError);
    expect(run).toThrow(expect.objectContaining({ code: "ABORTED", message: "loading was aborted", cause: "enough" }));
  });
});

describe("a value in a message", () => {
  const throwing = () => {
    throw new Error("boo");
  };
  test.each<[unknown, string]>([
    ["Hi\n", '"Hi\\n"'],
    ["x".repeat(140_000), `"${"x".repeat(80)}"… (140000 characters)`],
    [5, "5"],
    [-0.5, "-0.5"],
    [5n, "5n"],
    [10n ** 100n, `1${"0".repeat(79)}…`],
    [undefined, "undefined"],
    [null, "null"],
    [Symbol("s"), "Symbol(s)"],
    [throwing, "a function"],
    [new Array(1e9), "a list of 1000000000"],
    [Buffer.alloc(140_000), "Buffer of 140000 bytes"],
    [new ArrayBuffer(8), "ArrayBuffer of 8 bytes"],
    [new Blob([]), "an object of class Blob"],
    [{ role: "user", content: "Hi" }, "an object with role, content"],
    [Object.fromEntries(Array.from("abcdefghij", (key) => [key, 1])), "an object with a, b, c, d, e, f, g, h, …"],
    [{}, "an empty object"],
    [Object.create(null), "an empty object"],
    [new Proxy(new Blob([]), {}), "a proxy of an object of class Blob"],
    [new Proxy({}, {}), "a proxy of an object"],
    [Object.create(new Blob([])), "an object that inherits from an object of class Blob"],
    [new Proxy({}, { getPrototypeOf: throwing }), "an object that cannot be read"],
  ])("%#", (value, text) => {
    expect(shown(value)).toBe(text);
  });
});
