// Random calls of every operation, right and wrong, drawn from the contracts. They run in a process of their own. When
// it dies or hangs, or a call breaks a promise, the call is printed with the command that repeats it.
//   node test/fuzz/operations.mjs [--cuda] [CALL | FIRST-LAST]
// CARACAL_FUZZ_SECONDS limits the time, CARACAL_FUZZ_SEED chooses the calls. Needs the compiled library (npx tsc).
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { drawn } from "./drawn.mjs";

const seconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 5);
const seed = Number(process.env.CARACAL_FUZZ_SEED ?? 1);
const args = process.argv.slice(2);
const cuda = args.includes("--cuda");
const range = args
  .find((arg) => /^\d+(-\d+)?$/.test(arg))
  ?.split("-")
  .map(Number);
if (cuda && process.env.CARACAL_TEST_GPU !== "1") {
  process.env.CARACAL_CUDA_LIBRARY ??= fileURLToPath(
    new URL("../../build/Release/libcaracal_vgpu.so", import.meta.url),
  );
  process.env.CARACAL_VGPU_CHECK ??= "initcheck,racecheck";
}
/** A call that takes longer has hung: the slowest take a few seconds under a sanitizer. */
const hang = 60_000;
const maxFindings = 40;

const folder = mkdtempSync(join(tmpdir(), "caracal-fuzz-"));
const current = () => Number(readFileSync(join(folder, "call"), "utf8"));

/** Runs calls from `first` on in a process. Returns the number of the last one, and why the process ended early. */
function runFrom(first, last, left, { onFinding, onCounts }) {
  const options = JSON.stringify({ folder, seed, cuda, first, last, seconds: left });
  const child = fork(fileURLToPath(new URL("worker.mjs", import.meta.url)), [options]);
  let before = -1;
  let hung = false;
  const watch = setInterval(() => {
    const number = current();
    hung = number === before;
    if (hung) child.kill("SIGKILL");
    before = number;
  }, hang);
  child.on("message", ({ counts, number, wrong }) => {
    if (counts) return onCounts(counts);
    onFinding(number, wrong);
    if (totals.findings >= maxFindings) child.kill();
  });
  return new Promise((resolve) =>
    child.on("exit", (code, signal) => {
      clearInterval(watch);
      const death = code === 0 ? undefined : hung ? "does not end" : `ends the process (${signal ?? `code ${code}`})`;
      resolve({ number: current(), death });
    }),
  );
}

function report(number, lines) {
  const { call } = drawn(seed, number, cuda);
  const command = `CARACAL_FUZZ_SEED=${seed} node test/fuzz/operations.mjs ${cuda ? "--cuda " : ""}${number}`;
  console.log(`${call.operation}: ${lines.join("\n  ")}\n  ${JSON.stringify(call)}\n  ${command}`);
}

const totals = { calls: 0, ran: 0, refused: 0, codes: {}, findings: 0 };
function add({ calls, operations }) {
  totals.calls += calls;
  for (const codes of Object.values(operations))
    for (const [code, n] of Object.entries(codes)) totals.codes[code] = (totals.codes[code] ?? 0) + n;
}

const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
let first = range?.[0] ?? 0;
const last = range ? (range[1] ?? range[0]) : Number.MAX_SAFE_INTEGER;
while (first <= last && elapsed() < seconds && totals.findings < maxFindings) {
  let counts = { calls: 0, operations: {} };
  const onFinding = (number, lines) => {
    totals.findings++;
    report(number, lines);
  };
  const onCounts = (latest) => {
    counts = latest;
  };
  const { number, death } = await runFrom(first, last, seconds - elapsed(), { onFinding, onCounts });
  add(counts);
  if (death && totals.findings < maxFindings) onFinding(number, [death]);
  first = number + 1;
}
rmSync(folder, { recursive: true });

const { ok = 0, ...refused } = totals.codes;
const sum = Object.values(refused).reduce((a, b) => a + b, 0);
console.log(
  `${totals.calls} calls in ${elapsed().toFixed(1)} s (${Math.round(totals.calls / elapsed())} per second), seed ${seed}: ` +
    `${ok} ran, ${sum} were refused ${JSON.stringify(refused)}, ${totals.findings} findings`,
);
process.exitCode = totals.findings > 0 ? 1 : 0;
