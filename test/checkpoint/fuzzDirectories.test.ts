import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { tinyDirectory } from "../model/tinyModel.js";

interface Line {
  readonly number: number;
  readonly changes?: readonly string[];
  readonly outcome?: string;
  readonly inUse?: number;
}

const seconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 5);
const silence = 90_000;

test("a model directory with random changes is answered or refused, and never ends or hangs the process", {
  timeout: 1000 * seconds + 2 * silence,
}, async () => {
  const script = fileURLToPath(new URL("./fuzzDirectories.mjs", import.meta.url));
  const child = spawn(process.execPath, [script, await tinyDirectory()], { stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const watchdog = setTimeout(() => child.kill("SIGKILL"), silence);
  const exit = new Promise((done) => child.on("exit", (status, signal) => done({ status, signal })));
  const lines: Line[] = [];
  for await (const line of createInterface(child.stdout)) {
    watchdog.refresh();
    lines.push(JSON.parse(line));
  }
  clearTimeout(watchdog);
  const last = JSON.stringify(lines.slice(-2));
  expect(await exit, `${last}\n${errors}`).toEqual({ status: 0, signal: null });
  const [whole, ...outcomes] = lines.filter(({ outcome }) => outcome !== undefined);
  expect(whole).toMatchObject({ outcome: "answered" });
  const leaks = outcomes.filter(({ inUse }) => inUse !== whole!.inUse);
  expect(leaks, "memory that a change left behind").toEqual([]);
  expect(outcomes.length).toBeGreaterThan(3);
  console.log(
    `${outcomes.length} changed model directories, ${outcomes.filter((o) => o.outcome === "answered").length} answered`,
  );
});
