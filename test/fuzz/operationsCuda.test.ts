// The random calls of operations.test.ts on the CUDA backend.
import { expect, test } from "vitest";
import { cuda } from "../support/devices.js";
import { fuzz } from "./run.js";

test.skipIf(!cuda)("random calls of every operation run, or are refused with the right code", () => {
  const { ran, refused, findings } = fuzz(["--cuda"]);
  expect(findings).toBe(0);
  expect(ran).toBeGreaterThan(20);
  expect(refused).toBeGreaterThan(20);
});
