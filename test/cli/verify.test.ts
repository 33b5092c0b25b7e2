import { basename, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { verifyCommand } from "../../lib/cli/verify.js";
import { scratch } from "../checkpoint/files.js";
import { goldenPath } from "../support/golden.js";
import { alteredGolden } from "../verify/altered.js";
import { outputOf } from "./output.js";

const folder = scratch();
const verify = (...args: string[]) => outputOf(verifyCommand(), "--device", "cpu", ...args);

afterEach(() => {
  process.exitCode = undefined;
});

test("every tensor is printed, and the exit code is 0 if all pass", async () => {
  const out = await verify(goldenPath("vision_merge1"), goldenPath("preprocess.json"));
  expect(out).toMatch(/^vision_merge1\.safetensors {2}\(vision\)$/m);
  expect(out).toMatch(/^ {2}pass {2}layer0\.attn\.output +relative error \d\.\de-\d, tolerance 1\.0e-5$/m);
  expect(out).toMatch(/^ {2}pass {2}interleave +mismatches 0, tolerance 0/m);
  expect(out).toMatch(/^2 files on cpu .*: all pass$/m);
  expect(process.exitCode ?? 0).toBe(0);
});

test("a failure gives exit code 1, and the other files are verified all the same", async () => {
  const broken = alteredGolden(folder, "audio_encoder", { tensor: "expected.encoder", bytes: (data) => data.fill(0) });
  const out = await verify(broken, join(folder, "nothing.safetensors"), goldenPath("audio_features"));
  expect(out).toMatch(/^ {2}FAIL {2}encoder/m);
  expect(out).toMatch(/^ {2}FAIL {2}CHECKPOINT_INVALID: .*nothing\.safetensors/m);
  expect(out).toMatch(/^ {2}pass {2}spliced/m);
  expect(out).toMatch(/^3 files on .*: 2 FAIL$/m);
  expect(process.exitCode).toBe(1);
});

test("--json prints one document", async () => {
  const { passed, files } = JSON.parse(await verify("--json", "--activations", "bf16", goldenPath("audio_encoder")));
  expect(passed).toBe(true);
  expect(basename(files[0].file)).toBe("audio_encoder.safetensors");
  expect(files[0].tensors[0]).toMatchObject({ measure: "relative error", passed: true });
});

test("at least one file is required", async () => {
  await expect(verify()).rejects.toThrow(/missing required argument 'files'/);
});
