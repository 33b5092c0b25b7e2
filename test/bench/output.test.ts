import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Benchmark, output, outputOptions, timeLeft } from "../../bench/output.js";
import { code } from "../support/errors.js";

const folder = mkdtempSync(join(tmpdir(), "bench-output-"));
afterAll(() => rmSync(folder, { recursive: true }));

let stdout = "";
let stderr = "";
beforeEach(() => {
  [stdout, stderr] = ["", ""];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

/** A benchmark of the numbers 1 to 4, which does `before` each of them. */
const numbers = (before: (n: number) => void = () => {}): Benchmark<number> => ({
  total: 4,
  async *run(signal) {
    for (let n = 1; n <= 4; n++) {
      before(n);
      signal.throwIfAborted();
      yield n;
    }
  },
  line: (n) => `number ${n}`,
  summarise: (all) => ({
    note: "a note",
    warnings: ["something is odd"],
    json: { numbers: all },
    tables: [{ header: ["n"], rows: all.map((n) => [n]) }],
  }),
});

async function run(benchmark: Benchmark<number>, ...args: string[]): Promise<readonly number[] | undefined> {
  let results: readonly number[] | undefined;
  const command = outputOptions(new Command("numbers")).action(async () => {
    results = await output(command, benchmark);
  });
  await command.parseAsync(args, { from: "user" });
  return results;
}

/** Ctrl-C before the third number. */
const interrupted = numbers((n) => n === 3 && process.emit("SIGINT"));
const failing = numbers((n) => {
  if (n === 3) throw new Error("out of luck");
});

test("progress counts the results, and warnings follow the table", async () => {
  expect(await run(numbers())).toEqual([1, 2, 3, 4]);
  expect(stderr).toMatch(/^\[1\/4\] number 1 \(about \d+ s left\)\n.*\n.*\n\[4\/4\] number 4\n$/);
  expect(stdout).toBe("a note\n\nn\n-\n1\n2\n3\n4\n\nWarning: something is odd.\n");
});

test("--json has the warnings, and says that nothing is missing", async () => {
  await run(numbers(), "--json");
  expect(JSON.parse(stdout)).toEqual({ complete: true, warnings: ["something is odd"], numbers: [1, 2, 3, 4] });
});

describe("after Ctrl-C", () => {
  test("what was measured is printed, and the exit code is that of an interrupt", async () => {
    expect(await run(interrupted)).toBeUndefined();
    expect(stdout).toBe(
      "a note\n\nn\n-\n1\n2\n\nWarning: incomplete: 2 of 4 results were measured.\n\nWarning: something is odd.\n",
    );
    expect(process.exitCode).toBe(130);
  });

  test("--json says that it is incomplete", async () => {
    await run(interrupted, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ complete: false, numbers: [1, 2] });
  });

  test("a document keeps its table", async () => {
    const document = join(folder, "document.md");
    const text = "<!-- table: numbers -->\nold\n<!-- end of table -->\n";
    writeFileSync(document, text);
    await run(interrupted, "--write", document);
    expect(readFileSync(document, "utf8")).toBe(text);
    expect(stderr).toContain(`${document} was left as it is`);
    expect(stdout).toContain("| 2 |");
  });

  test("nothing is printed if nothing was measured", async () => {
    await expect(run(numbers(() => process.emit("SIGINT")))).rejects.toThrowError(code("ABORTED"));
    expect(stdout).toBe("");
    expect(process.exitCode).toBe(130);
  });
});

test("an error is thrown after what was measured was printed", async () => {
  await expect(run(failing)).rejects.toThrowError("out of luck");
  expect(stdout).toContain("n\n-\n1\n2\n\nWarning: incomplete: 2 of 4 results were measured.");
});

test.each([
  [1, 24, 10, "about 4 min left"],
  [12, 24, 30, "about 30 s left"],
  [23, 24, 230, "about 10 s left"],
  [24, 24, 240, ""],
])("after %d of %d in %d s: %s", (done, total, seconds, text) => expect(timeLeft(done, total, seconds)).toBe(text));
