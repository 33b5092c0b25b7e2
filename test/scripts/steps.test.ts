// The scripts behind npm start, npm test and npm run build, as somebody meets them whose machine lacks something.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";

const steps = new URL("../../scripts/lib/steps.mjs", import.meta.url).href;

const empty = mkdtempSync(join(tmpdir(), "caracal-path-"));
afterAll(() => rmSync(empty, { recursive: true }));

/** Runs a line of script with nothing on the PATH. */
function bare(code: string) {
  const { CXX: _, ...env } = process.env;
  const script = `import * as steps from ${JSON.stringify(steps)}; ${code}`;
  const args = ["--input-type=module", "-e", script];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...env, PATH: empty } });
}

describe("a tool that is missing", () => {
  test.each([
    ["c++", /C\+\+20 compiler is missing.*sudo apt-get install g\+\+/],
    ["make", /make is missing.*sudo apt-get install make/],
    ["python3", /Python 3.*is missing.*sudo apt-get install python3/],
    ["cmake", /CMake is missing.*sudo apt-get install cmake/],
  ])("%s: one line with the command that installs it, and no stack", (tool, message) => {
    const { status, stdout, stderr } = bare(`steps.needTool(${JSON.stringify(tool)});`);
    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  test("a tool that is there is not asked for", () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `import * as s from ${JSON.stringify(steps)}; s.needTool("c++"); s.needTool("make");`,
      ],
      { encoding: "utf8" },
    );
    expect([status, stderr]).toEqual([0, ""]);
  });
});

test("a command that fails shows its output and the command", () => {
  const { status, stderr } = bare(
    `steps.run("did the thing", process.execPath, ["-e", "console.log('why it failed'); process.exit(3)"]);`,
  );
  expect(status).toBe(1);
  expect(stderr).toMatch(/why it failed[\s\S]*caracal: did the thing failed; the output is above/);
});
