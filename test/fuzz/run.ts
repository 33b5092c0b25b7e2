import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

/** What a run of operations.mjs counted. */
interface Counts {
  readonly ran: number;
  readonly refused: number;
  readonly findings: number;
}

/** Runs operations.mjs in a process of its own and shows what it prints: its counts, and every finding. */
export function fuzz(args: readonly string[]): Counts {
  const script = fileURLToPath(new URL("operations.mjs", import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, ...args], { encoding: "utf8" });
  console.log(stdout);
  const counts = /: (\d+) ran, (\d+) were refused .* (\d+) findings/.exec(stdout);
  expect(counts, `${stderr} (exit status ${status})`).not.toBeNull();
  const [ran, refused, findings] = counts!.slice(1).map(Number) as [number, number, number];
  return { ran, refused, findings };
}
