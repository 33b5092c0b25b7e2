import { join } from "node:path";
import { expect, test } from "vitest";
import { quantizeCommand } from "../../lib/cli/quantize.js";
import { scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { outputOf } from "./output.js";

const folder = scratch();
const tiny = await tinyDirectory(3);

test("prints a table of errors", async () => {
  const target = join(folder, "command");
  const output = await outputOf(
    quantizeCommand(),
    tiny,
    target,
    "--format",
    "int4",
    "--group",
    "32",
    "--device",
    "cpu",
  );
  expect(output).toMatch(/command: int4, [\d.]+ MB of language model instead of [\d.]+ MB\n/);
  expect(output).toMatch(
    /mlp\.experts\.gate_proj +16 +\d\.\d\d % +\d+\.\d+ % +model\.layers\.\d\.mlp\.experts\.\d\.gate/,
  );
  expect(output).toMatch(/lm_head +1 /);
});

test("prints JSON", async () => {
  const target = join(folder, "command-json");
  const found = JSON.parse(
    await outputOf(quantizeCommand(), tiny, target, "--format", "fp8", "--device", "cpu", "--json"),
  );
  expect(found).toMatchObject({ directory: target, resumed: 0 });
  expect(found.errors).toHaveLength(2 * (10 + 6 + 24));
});

test("refuses bad options", async () => {
  const command = (...args: string[]) => outputOf(quantizeCommand(), tiny, join(folder, "never"), ...args);
  await expect(command("--format", "int4", "--group", "48")).rejects.toThrow(/Expected 32, 64 or 128/);
  await expect(command("--format", "int3")).rejects.toThrow(/Allowed choices are fp8, int8, int4/);
  await expect(command()).rejects.toThrow(/format must be/);
});
