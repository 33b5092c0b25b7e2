// What every kernel does at the model's sizes, in exact integers: any change is seen here. After one that is meant:
//   npx caracal bench counters --json > test/cuda/counters.json
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { countedCases } from "../../lib/bench/counters/cases.js";
import { type CountedOp, CountingDevice, count, kernelCompiler } from "../../lib/bench/counters/count.js";
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
      ? `the kernels are made by nvcc ${kernelCompiler()}, the counters are ${recorded.compiler}'s`
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
    const name = ({ op, size }: { op: string; size: string }) => `${op} ${size}`;
    const before = recorded.operations.find((r) => name(r) === name(c));
    const now = await count(counting!, c);
    expect(now.kernels).toEqual(before?.kernels);
  });
  // What the recorded figures must not become, whoever records them anew.
  test.each(recorded.operations)("limits of $op $size", ({ op, kernels, coalescing, wavefronts = 1 }) => {
    expect(kernels.filter(({ spilledBytes }) => spilledBytes !== 0)).toEqual([]);
    expect(coalescing).toBeLessThanOrEqual(op === "permutation" ? 1.52 : 1.02); // a permutation scatters
    expect(wavefronts).toBeLessThanOrEqual(1.05);
  });
  test("every recorded operation is still counted", () => {
    const names = new Set(countedCases().map(({ op, size }) => `${op} ${size}`));
    expect(recorded.operations.filter(({ op, size }) => !names.has(`${op} ${size}`))).toEqual([]);
  });
});
