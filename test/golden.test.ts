import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { goldenPath } from "./support/golden.js";

const lines = readFileSync(new URL("golden/SHA256SUMS", import.meta.url), "utf8")
  .trim()
  .split("\n");
const sums = lines.map((line) => line.split("  ") as [digest: string, name: string]);

describe("the golden files", () => {
  test("are those of test/golden/SHA256SUMS", () => {
    const files = readdirSync(new URL("golden/", import.meta.url)).filter((name) => !/^(README|SHA256SUMS)/.test(name));
    expect(files.sort()).toEqual(sums.map(([, name]) => name).sort());
  });

  test.each(sums.map(([digest, name]) => [name, digest]))("%s is unchanged", (name, expected) => {
    const found = createHash("sha256")
      .update(readFileSync(goldenPath(name)))
      .digest("hex");
    const message = `test/golden/${name} changed. Golden files come from the published implementations and must not be edited or regenerated: restore it with \`git checkout test/golden/${name}\``;
    expect(found, message).toBe(expected);
  });
});
