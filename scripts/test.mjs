// npm test [-- vitest arguments]: builds the addon and the virtual GPU if they changed, then runs the tests. Without
// arguments it runs all tests, those of CUDA kernels again in each mode of the virtual GPU, where every kernel must be
// launched, and those of the packages.
// npm run test:quick: runs the tests that need no CUDA device.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies } from "./lib/build.mjs";
import { checkKernels, kernelModules } from "./lib/kernels.mjs";
import { fail, needNode, root } from "./lib/steps.mjs";

const args = process.argv.slice(2);
const quick = args[0] === "--quick";

needNode();
installDependencies();
if (!quick) process.env.CARACAL_CUDA ??= "on"; // builds the kernels too, where nvcc is found
buildAddon();
if (!quick) buildVirtualGpu();
buildTypeScript();

const test = (options, env) => runScript("node_modules/vitest/vitest.mjs", ["run", ...options], env);

/** Runs a script, and exits if it fails. */
function runScript(path, args, env = {}) {
  const { status } = spawnSync(process.execPath, [join(root, path), ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (status !== 0) process.exit(status ?? 1);
}

/** Fails if the tests of a mode did not launch every kernel, except those that only measure a machine. */
function requireKernels(folder) {
  const kernels = kernelModules()
    .filter(({ name }) => name !== "machine_peaks")
    .flatMap(({ entries }) => entries);
  for (const mode of readdirSync(folder)) {
    const launched = new Set(readFileSync(join(folder, mode), "utf8").split("\n"));
    const missing = kernels.filter((kernel) => !launched.has(kernel));
    if (missing.length > 0) fail(`in mode ${mode} no test of test/ops launches ${missing.join(", ")} on CUDA: add one`);
  }
}

if (quick) {
  test(["--project", "types", "--project", "cpu", ...args.slice(1)]);
} else if (args.length > 0) {
  await checkKernels(); // test/cuda compares the registers
  test(args);
} else {
  await checkKernels();
  const folder = mkdtempSync(join(tmpdir(), "caracal-kernels-"));
  test(["--reporter=dot"], { CARACAL_TEST_MODES: folder });
  requireKernels(folder);
  rmSync(folder, { recursive: true });
  runScript("scripts/test-packages.mjs", []);
}
