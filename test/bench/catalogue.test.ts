import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { nameOf } from "../../bench/case.js";
import { catalogue } from "../../bench/cases/index.js";
import { addon } from "../../lib/native/addon.js";
import type { Operations } from "../../lib/native/operations.js";
import * as ops from "../../lib/ops/index.js";

describe.each(["f32", "bf16"] as const)("the catalogue with %s activations", (activations) => {
  const cases = catalogue(activations);

  test("names every case once", () => {
    const names = cases.map(nameOf);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  test("measures functions of `ops` and one network, the cases of each in one run", () => {
    for (const { op } of cases.filter(({ op }) => op !== "sileroVad"))
      expect(ops).toHaveProperty(op, expect.any(Function));
    const runs = cases.map(({ op }) => op).filter((op, i, all) => op !== all[i - 1]);
    expect(runs).toHaveLength(new Set(runs).size);
  });

  test("states work that is possible", () => {
    for (const c of cases)
      for (const { work } of [c, c.part ?? c]) {
        expect(work.bytes, nameOf(c)).toBeGreaterThan(0);
        if (c.unit !== "scalar") expect(work.flops, nameOf(c)).toBeGreaterThan(0);
      }
  });
});

test("sizes do not depend on the activations, but that f32 ones also meet bf16 weights", () => {
  const [f32, bf16] = [catalogue("f32").map(nameOf), catalogue("bf16").map(nameOf)];
  const added = f32.filter((name) => name.endsWith(", bf16 weights"));
  expect(f32.filter((name) => !added.includes(name))).toEqual(bf16);
  for (const name of added) expect(bf16).toContain(name.replace(", bf16 weights", ""));
  for (const op of ["conv1d", "convTranspose1d", "lstm"]) expect(added.join()).toContain(op);
});

/** Native operations without a case, and why. */
const withoutCase: Readonly<Record<string, string>> = {
  activation: "fused wherever the model applies one; alone it moves bytes as `add` does",
  addRmsNorm: "`rmsNorm` with one more input and output",
  cast: "moves bytes as `add` does",
  cmvn: "moves bytes as `add` does, on few rows",
  codecEmbedding: "a few rows per frame of speech",
  concatRows: "copies",
  copyRows: "copies",
  dequantizeAffine: "runs while a model loads",
  dequantizeFp8: "runs while a checkpoint is converted",
  foldWeightNorm: "runs while a model loads",
  gatherRows: "gathers rows as `embedding` does",
  machinePeaks: "measures the machine",
  magnitude: "moves bytes as `add` does",
  maskRows: "clears rows",
  mul: "moves bytes as `add` does",
  packConv1d: "runs while a model loads",
  packConvTranspose1d: "runs while a model loads",
  packWeights: "runs while a model loads",
  promptEmbedding: "gathers rows as `embedding` does, a few tables at a time",
  quantizeAffine: "runs while a checkpoint is converted",
  quantizeFp8: "runs while a checkpoint is converted",
  repetitionPenalty: "touches as many logits as the history has ids",
  resizeBicubic: "runs once per image, before the encoder",
  splice: "copies",
  splitColumns: "copies",
  transpose: "copies",
};

test("every native operation has a case, or a reason not to", () => {
  const folder = new URL("../../native/ops/", import.meta.url);
  const headers = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".h"));
  const native = headers.flatMap((name) =>
    Array.from(
      readFileSync(new URL(name, folder), "utf8").matchAll(/\bkName = "(\w+)"/g),
      ([, operation]) => operation!,
    ),
  );
  expect(native.length).toBeGreaterThan(40);
  for (const name of native) expect(addon()[name as keyof Operations<never>], name).toBeInstanceOf(Function);
  const measured = new Set(catalogue("bf16").map(({ op }) => op));
  expect(native.filter((name) => !measured.has(name)).sort()).toEqual(Object.keys(withoutCase).sort());
});
