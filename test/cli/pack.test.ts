import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { packCommand } from "../../lib/cli/pack.js";
import { synthesize } from "../../lib/synth/synthesize.js";
import { scratch } from "../checkpoint/files.js";
import { outputOf } from "./output.js";

const folder = scratch();
const model = join(folder, "model");
beforeAll(() => synthesize(model));
afterEach(() => {
  process.exitCode = undefined;
});

test("caracal pack writes the packed weights of every module, once", async () => {
  const text = await outputOf(packCommand(), model);
  expect(text).toMatch(/^language model: .*\/model\/caracal-packed\/\S+\.packed: written$/m);
  expect(text).toMatch(/^vision encoder: .*\/vision\/caracal-packed\/\S+\.packed: written$/m);
  expect(readdirSync(join(model, "caracal-packed"))).toHaveLength(2);
  expect(await outputOf(packCommand(), model)).toBe(text.replaceAll(": written", ": is up to date"));
  expect(process.exitCode).toBeUndefined();
});

test("caracal pack --to FOLDER fails where it cannot write", async () => {
  const to = join(folder, "packed");
  const notes = JSON.parse(await outputOf(packCommand(), model, "--to", to, "--json")) as { outcome: string }[];
  expect(new Set(notes.map(({ outcome }) => outcome))).toEqual(new Set(["written"]));
  expect(readdirSync(to)).toHaveLength(2 * notes.length);
  mkdirSync(join(folder, "no"));
  writeFileSync(join(folder, "no", "folder"), "");
  const text = await outputOf(packCommand(), model, "--to", join(folder, "no", "folder"));
  expect(text).toMatch(/^language model: .*: not written: it cannot be written \(EEXIST\)$/m);
  expect(process.exitCode).toBe(1);
});
