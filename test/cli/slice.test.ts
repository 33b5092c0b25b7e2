import { join } from "node:path";
import { expect, test } from "vitest";
import { sliceCommand } from "../../lib/cli/slice.js";
import { scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { outputOf } from "./output.js";

const folder = scratch();
const tiny = await tinyDirectory(3);

test("says what it wrote", async () => {
  const target = join(folder, "command");
  const text = await outputOf(sliceCommand(), tiny, target, "--layers", "1", "--experts", "1");
  expect(text).toMatch(
    /command: 1 layer of 1 expert and 1 zero expert, of which the router picks 2, 0\.\d MB of language model\n$/,
  );
  const json = JSON.parse(await outputOf(sliceCommand(), tiny, target, "--zero-experts", "0", "--force", "--json"));
  const kept = { layers: 2, experts: 8, zeroExperts: 0, topk: 3 };
  expect(json).toEqual({ directory: target, ...kept, bytes: expect.any(Number), resumed: 0, unused: [] });
});

test("refuses bad options", async () => {
  const command = (...args: string[]) => outputOf(sliceCommand(), tiny, join(folder, "never"), ...args);
  await expect(command("--layers", "0")).rejects.toThrow(/Expected a whole number of at least 1/);
  await expect(command("--experts", "64")).rejects.toThrow(/experts must be at most 8, as many as/);
  await expect(command("--expert", "64")).rejects.toThrow(/unknown option '--expert'/);
});
