import { join } from "node:path";
import { expect, test } from "vitest";
import { synthCommand } from "../../lib/cli/synth.js";
import { scratch } from "../checkpoint/files.js";
import { outputOf } from "./output.js";

const folder = scratch();

test("caracal synth --json prints one document", async () => {
  const directory = join(folder, "json");
  const result = JSON.parse(await outputOf(synthCommand(), directory, "--json", "--seed", "3", "--matrices", "f8e4m3"));
  expect(result).toMatchObject({ preset: "tiny", matrices: "f8e4m3", seed: 3, directory });
});

test("caracal synth says what it wrote, and refuses to replace it", async () => {
  const directory = join(folder, "text");
  const text = await outputOf(synthCommand(), directory);
  expect(text).toBe(`${directory}: preset tiny, 1.0 M parameters, 2.3 MB\n`);
  await expect(outputOf(synthCommand(), directory)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await outputOf(synthCommand(), directory, "--force")).toBe(text);
});

test("caracal synth refuses bad options", async () => {
  const run = (...args: string[]) => outputOf(synthCommand(), join(folder, "x"), ...args);
  await expect(run("--seed", "one")).rejects.toMatchObject({
    exitCode: 1,
    message: expect.stringMatching(/Expected a whole number/),
  });
  await expect(run("--seed", "-1")).rejects.toMatchObject({
    exitCode: 1,
    message: expect.stringMatching(/a whole number of at least 0/),
  });
  await expect(run("--preset", "huge")).rejects.toMatchObject({
    exitCode: 1,
    message: expect.stringMatching(/Allowed choices are tiny, mini/),
  });
});
