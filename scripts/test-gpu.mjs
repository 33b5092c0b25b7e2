// npm run test:gpu [-- FILE]: runs the tests and benchmarks of the CUDA backend on the GPU of this machine and writes
// one report to FILE, by default gpu-report.json. Exits with 1 if any of them failed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies } from "./lib/build.mjs";
import { needNode, root } from "./lib/steps.mjs";

needNode();
installDependencies();
process.env.CARACAL_CUDA ??= "on";
buildAddon();
buildVirtualGpu(); // some tests inject faults into its driver
buildTypeScript();

const [file = "gpu-report.json"] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "caracal-gpu-"));
const env = { ...process.env, CARACAL_TEST_GPU: "1" };

/** Runs node. Its output is shown, or with `json` parsed and added to the report. */
function step(name, args, { json = false } = {}) {
  process.stderr.write(`caracal: ${name}\n`);
  const stdio = ["ignore", json ? "pipe" : "inherit", "inherit"];
  const { status, stdout } = spawnSync(process.execPath, args, { cwd: root, env, stdio, maxBuffer: 1 << 28 });
  const report = { command: args.map((arg) => arg.replace(`${root}/`, "")).join(" "), status };
  if (!json) return report;
  try {
    return { ...report, output: JSON.parse(stdout.toString()) };
  } catch {
    return { ...report, output: stdout.toString() };
  }
}

const cli = "bin/caracal.mjs";
const golden = readdirSync(join(root, "test/golden"))
  .filter((name) => name.endsWith(".safetensors"))
  .map((name) => `test/golden/${name}`);
const results = join(folder, "tests.json");
const tests = step("tests", [
  "node_modules/vitest/vitest.mjs",
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${results}`,
  ...["test/ops", "test/tensor", "test/model", "test/verify", "test/cuda", "test/bench"],
]);
const report = {
  doctor: step("doctor", [cli, "doctor", "--json"], { json: true }),
  tests: { ...tests, output: JSON.parse(readFileSync(results, "utf8")) },
  verify: step("golden files", [cli, "verify", "--device", "cuda", "--json", ...golden], { json: true }),
  operations: step("operations", [cli, "bench", "ops", "--device", "cuda", "--json"], { json: true }),
  layouts: step("layouts", [cli, "bench", "moe", "--device", "cuda", "--scale", "4", "--json"], { json: true }),
};
rmSync(folder, { recursive: true });
writeFileSync(file, `${JSON.stringify(report, null, 1)}\n`);
const failed = Object.entries(report).filter(([, { status }]) => status !== 0);
for (const [name, { command }] of failed) process.stderr.write(`caracal: ${name} failed: node ${command}\n`);
process.stderr.write(`caracal: the report is ${file}\n`);
process.exit(failed.length > 0 ? 1 : 0);
