// lib/native/operations.ts is generated from the contracts of the addon.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { errorCodes } from "../../lib/errors.js";
import { addon } from "../../lib/native/addon.js";
import { nativeErrorCodes } from "../../lib/native/operations.js";

const url = (path: string) => new URL(`../../${path}`, import.meta.url);
const { operationsSource }: { operationsSource(contracts: unknown): string } = await import(
  url("scripts/lib/contracts.mjs").href
);
const native = addon() as unknown as { contracts(): unknown };

test("the file describes the contracts of the addon; otherwise run `npm run build`", () => {
  expect(readFileSync(url("lib/native/operations.ts"), "utf8")).toBe(operationsSource(native.contracts()));
});

test("every code that native code throws is documented", () => {
  expect(nativeErrorCodes.length).toBeGreaterThan(10);
  expect(Object.keys(errorCodes)).toEqual(expect.arrayContaining([...nativeErrorCodes]));
});
