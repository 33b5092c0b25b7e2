import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { oldestNode, version } from "../lib/version.js";

test("lib/version.ts says what package.json says", () => {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  expect([version, `>=${oldestNode}`]).toEqual([manifest.version, manifest.engines.node]);
});
