// Exact counters of every kernel at the model's sizes, so that no change goes unnoticed. After an intended one, run:
//   npm run build && node scripts/generate.mjs check
//   npx caracal bench counters --json > test/cuda/counters.json && npm run format
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { nameOf } from "../../bench/case.js";
import { type CountedOp, count, countedCases } from "../../bench/counters/count.js";
import { CountingDevice } from "../../bench/counters/device.js";
import { kernelCompiler } from "../../bench/counters/kernels.js";
import { CaracalError } from "../../lib/errors.js";
import { addon } from "../../lib/native/addon.js";

interface Recorded {
  readonly compiler: string;
  readonly operations: readonly CountedOp[];
}
const recorded = JSON.parse(readFileSync(new URL("counters.json", import.meta.url), "utf8")) as Recorded;
const why =
  addon().cudaKernels === 0
    ? "the build has no kernels"
    : kernelCompiler() !== recorded.compiler
      ? `nvcc ${kernelCompiler()} compiled the kernels, ${recorded.compiler} the recorded ones`
      : "";
if (why) console.warn(`counters are not compared: ${why}`);

const counting = why
  ? undefined
  : await CountingDevice.open().catch((error) => {
      if (!(error instanceof CaracalError && error.code === "UNSUPPORTED")) throw error;
      console.warn(`counters are not compared: ${error.message}`);
      return undefined;
    });
afterAll(() => counting?.[Symbol.asyncDispose]());

describe.skipIf(!counting)("counters", () => {
  test.each(countedCases())("$op $size", async (c) => {
    const before = recorded.operations.find((r) => nameOf(r) === nameOf(c));
    const now = await count(counting!, c);
    expect(now).toEqual(before);
  });
  // Limits that newly recorded counters must keep as well.
  test.each(recorded.operations)("limits of $op $size", ({ op, kernels, coalescing, wavefronts = 1 }) => {
    expect(kernels.filter(({ spilledBytes }) => spilledBytes !== 0)).toEqual([]);
    expect(coalescing).toBeLessThanOrEqual(op === "permutation" ? 1.52 : 1.02); // a permutation scatters
    expect(wavefronts).toBeLessThanOrEqual(1.05);
  });
  // With few rows every byte of the weights is read once. What moves again are the rows, which every block reads.
  test.each(
    recorded.operations.filter(({ op, size }) => /q[48]$/.test(size) && /^linear M=1 |× 8 rows/.test(`${op} ${size}`)),
  )("$op $size moves no more than codes, scales, biases, rows and results", ({ traffic, kernels: [kernel] }) => {
    expect(traffic).toBeGreaterThanOrEqual(1);
    expect(traffic).toBeLessThan(1.05);
    expect(kernel?.kernel).toMatch(/_tensor_small_bf16_q[48]$/);
  });
  test("every recorded operation is still counted", () => {
    const names = new Set(countedCases().map(nameOf));
    expect(recorded.operations.filter((r) => !names.has(nameOf(r)))).toEqual([]);
  });
});
