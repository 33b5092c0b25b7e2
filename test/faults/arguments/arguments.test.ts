// The calls run in a process of their own, with the compiled library: one that hangs or ends it is found, too.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));

test("no argument makes a function of the public API throw another error than its own, hang or end the process", () => {
  const folder = mkdtempSync(join(tmpdir(), "caracal-arguments-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [worker, folder], {
    cwd: folder, // "x" is the name of a file that can be written
    encoding: "utf8",
    timeout: 600_000,
    maxBuffer: 2 ** 28,
  });
  const last = signal && `ended by ${signal} in ${readFileSync(join(folder, "call"), "utf8").trim()}`;
  expect({ status, last }, `${stdout.slice(0, 10_000)}\n${stderr}`).toEqual({ status: 0, last: null });
}, 630_000);
