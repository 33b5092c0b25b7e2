// The helpers of npm start, npm test and npm run build on a machine that lacks a tool.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";

const steps = new URL("../../scripts/lib/steps.mjs", import.meta.url).href;

const empty = mkdtempSync(join(tmpdir(), "caracal-path-"));
afterAll(() => rmSync(empty, { recursive: true }));

/** Runs a script with an empty PATH. */
function bare(code: string) {
  const { CXX: _, ...env } = process.env;
  const script = `import * as steps from ${JSON.stringify(steps)}; ${code}`;
  const args = ["--input-type=module", "-e", script];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...env, PATH: empty } });
}

describe("a missing tool", () => {
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

  test("a tool that is installed is not reported", () => {
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

describe("Node.js", () => {
  const { engines } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const oldest: string = engines.node.replace(">=", "");
  const [major, minor] = oldest.split(".").map(Number) as [number, number];

  test.each([`${major - 1}.99.0`, `${major}.${minor - 1}.9`])("%s is too old", (version) => {
    const { status, stderr } = bare(`steps.needNode(${JSON.stringify(version)});`);
    expect(status).toBe(1);
    expect(stderr).toBe(
      `caracal: Node.js ${version} is too old: ${oldest} or newer is needed. Install it from https://nodejs.org\n`,
    );
  });

  test.each([`${oldest}.0`, `${major + 1}.0.0`, process.versions.node])("%s is new enough", (version) => {
    expect(bare(`steps.needNode(${JSON.stringify(version)});`)).toMatchObject({ status: 0, stderr: "" });
  });

  test("the version in the README and in .nvmrc is that of package.json", () => {
    const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");
    expect(read("README.md")).toContain(`Node.js ≥ ${oldest}`);
    expect(read(".nvmrc").trim()).toBe(String(major));
  });
});
