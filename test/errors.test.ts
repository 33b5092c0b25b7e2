import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CaracalError, errorCodes, throwIfAborted } from "../lib/errors.js";

const url = (path: string) => new URL(`../${path}`, import.meta.url);
const read = (path: string) => readFileSync(url(path), "utf8");
const { errorPage }: { errorPage(codes: typeof errorCodes): string } = await import(
  url("scripts/lib/errorPage.mjs").href
);

describe("error codes", () => {
  test("docs/errors.md is up to date; otherwise run `node scripts/docs.mjs`", () => {
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
